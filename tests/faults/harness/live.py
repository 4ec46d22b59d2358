"""Readers of streams in processes of their own: they can be stopped, and what they noted can be looked at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.faults.harness.store import Facts
from tests.faults.harness.waiting import until

_SCRIPT = Path(__file__).with_name("reader.py")


class Reader:
    """One of them; `urls` are tried in turn, and may be changed while it reads."""

    def __init__(self, place: Path, kind: str, urls: list[str], **subscription: Any) -> None:
        """`kind` is sse or ws; `subscription` what a WebSocket's takes."""
        self._urls = place / "urls"
        self._notes = place / "notes.jsonl"
        place.mkdir()
        self._notes.touch()
        self.move(*urls)
        command = [sys.executable, str(_SCRIPT), kind, str(self._urls), msgspec.json.encode(subscription).decode(),
                   str(self._notes)]  # fmt: skip
        self.process = subprocess.Popen(command)

    def move(self, *urls: str) -> None:
        """Where it asks from the next break on."""
        new = self._urls.with_suffix(".new")
        new.write_text("\n".join(urls))
        new.replace(self._urls)

    def notes(self, *types: str) -> list[dict[str, Any]]:
        """Whole lines that it has written, of these types of messages."""
        lines = self._notes.read_bytes().split(b"\n")[:-1]
        found = [msgspec.json.decode(line) for line in lines]
        return [one for one in found if not types or one["type"] in types]

    def events(self) -> list[dict[str, Any]]:
        return [one["event"] for one in self.notes("event")]

    def seqs(self) -> dict[str, list[int]]:
        """The numbers as they came, doubles and gaps included, by execution."""
        found: dict[str, list[int]] = defaultdict(list)
        for event in self.events():
            found[event["execution"]].append(event["seq"])
        return found

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def wait_connected(self, times: int = 1) -> dict[str, Any]:
        """The note of its last connection, once it has had so many (a WebSocket: and its subscription is taken)."""
        count = "subscribed" if self._is_socket else "connected"
        until(lambda: len(self.notes(count)) >= times, within_s=30, what=f"the reader is connected ({times})")
        return self.notes("connected")[-1]

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """SIGSTOP within, SIGCONT at the end."""
        os.kill(self.process.pid, signal.SIGSTOP)
        until(lambda: self._state() == "T", within_s=10, what="the reader stands still")
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def _is_socket(self) -> bool:
        return "ws" in self.process.args[2]  # type: ignore[index, operator]

    def _state(self) -> str:
        text = Path(f"/proc/{self.process.pid}/stat").read_text()
        return text.rpartition(")")[2].split()[0]


def gaps(reader: Reader, facts: Facts, *executions: str) -> list[str]:
    """S: what is wrong with what it read of these executions (of all, where none is named), each wholly."""
    seqs = reader.seqs()
    wanted = executions or tuple(facts.executions)
    return [
        f"S: {id} has {facts.executions[id]['last_seq']} events, the reader saw {_brief(seqs.get(id, []))}"
        for id in wanted
        if seqs.get(id) != list(range(1, facts.executions[id]["last_seq"] + 1))
    ]


def _brief(seqs: list[int]) -> str:
    return str(seqs if len(seqs) <= 60 else [*seqs[:30], "…", *seqs[-30:]])
