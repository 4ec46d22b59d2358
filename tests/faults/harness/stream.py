"""A reader of an event stream that takes it up again after every break."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import msgspec

from tests.faults.harness.api import API

_PAUSE_S = 0.2


class Follower:
    """Reads the events of one execution in a thread of its own, up to the stream's own end.

    `seqs` are the numbers as they came, doubles and gaps included; `breaks` counts how often it had to
    take the stream up again.
    """

    def __init__(self, url: Callable[[], str], execution: str) -> None:
        self.execution = execution
        self.seqs: list[int] = []
        self.types: list[str] = []
        self.breaks = 0
        self.begun = threading.Event()
        self.ended = threading.Event()
        self._url = url
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"follow {execution}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(20)

    def findings(self) -> list[str]:
        """What is wrong with what it read: the numbers are to be 1, 2, 3, …, and the last one an end."""
        if not self.ended.is_set():
            return [f"S: the stream of {self.execution} did not end; it came to {self.seqs[-1:]}"]
        found = []
        if self.seqs != list(range(1, len(self.seqs) + 1)):
            found.append(f"S: the stream of {self.execution} has gaps or doubles: {self.seqs[:200]}")
        return found

    def _run(self) -> None:
        with stream_client() as client:
            while not self._stopping.is_set() and not self.ended.is_set():
                try:
                    self._read(client)
                except httpx2.HTTPError:
                    self.breaks += 1
                    self._stopping.wait(_PAUSE_S)

    def _read(self, client: httpx2.Client) -> None:
        last = str(self.seqs[-1]) if self.seqs else "0"
        for name, event in read_stream(client, self._url(), self.execution, last=last):
            if name == "end":
                self.ended.set()
            if self._stopping.is_set() or self.ended.is_set():
                return
            self.seqs.append(event["seq"])
            self.types.append(event["type"])
            self.begun.set()
        self.breaks += 1
        self._stopping.wait(_PAUSE_S)


def stream_client() -> httpx2.Client:
    """Without certificates: loading them for every client costs more than all else here."""
    return httpx2.Client(timeout=httpx2.Timeout(30, connect=5), verify=False)


def read_stream(
    client: httpx2.Client, url: str, execution: str, *, last: str | None = None
) -> Iterator[tuple[str, Any]]:
    """(event name, data) of each message until the connection ends.

    Raises httpx2.HTTPError, also when the server refuses.
    """
    headers = {"Accept": "text/event-stream", **({} if last is None else {"Last-Event-ID": last})}
    with client.stream("GET", f"{url}{API}/executions/{execution}/events", headers=headers) as answer:
        answer.raise_for_status()
        name, data = "message", ""
        for line in answer.iter_lines():
            if line.startswith("event:"):
                name = line[6:].strip()
            elif line.startswith("data:"):
                data += line[5:].strip()
            elif not line and data:
                yield name, msgspec.json.decode(data)
                name, data = "message", ""
