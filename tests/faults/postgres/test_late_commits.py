"""Fault 23: a transaction commits late, with lower numbers than what others have committed since; no reader skips it."""

import threading
from typing import Any

import httpx2
import msgspec

from tests.faults.harness.api import API
from tests.faults.harness.cluster import SERVER, Cluster, Member
from tests.faults.harness.link import Act, Strike
from tests.faults.harness.stream import stream_client
from tests.faults.harness.waiting import until


class FeedReader:
    """Reads the events of all executions in a thread of its own, from its start on."""

    def __init__(self, member: Member) -> None:
        self.events: list[tuple[str, int]] = []
        self.connected = threading.Event()
        self._stopping = False
        self._member = member
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self.connected.wait(20)

    def of(self, execution: str) -> list[int]:
        return [seq for id, seq in list(self.events) if id == execution]

    def wait_for(self, execution: str, events: int) -> list[int]:
        """The numbers of its events as they came, once there are so many."""
        until(lambda: len(self.of(execution)) >= events, within_s=20, what=f"{events} events of {execution}")
        return self.of(execution)

    def stop(self) -> None:
        """It need not hear of the end of its connection; `join` returns when there is none any more."""
        self._stopping = True

    def join(self) -> None:
        self._thread.join(40)

    def _run(self) -> None:
        headers = {"Accept": "text/event-stream"}
        with (
            stream_client() as client,
            client.stream("GET", f"{self._member.url}{API}/events", headers=headers) as answer,
        ):
            answer.raise_for_status()
            self.connected.set()
            try:
                for line in answer.iter_lines():
                    if line.startswith("data:"):
                        event: dict[str, Any] = msgspec.json.decode(line[5:])
                        if "execution" in event:
                            self.events.append((event["execution"], event["seq"]))
                    if self._stopping:
                        return
            except httpx2.HTTPError:
                if not self._stopping:
                    raise


def test_what_is_committed_late_reaches_every_reader_in_order(cluster: Cluster) -> None:
    one, two = (cluster.member(name, *SERVER) for name in ("one", "two"))
    cluster.start(one, two)
    readers = [FeedReader(one), FeedReader(two)]
    gate = cluster.gate("gate")
    with cluster.new_api(one) as here, cluster.new_api(two) as there:
        late = here.start("faults/hold-inline", {"gate": gate.name})["id"]
        cluster.begun(late)
        followers = [cluster.follow(late, member) for member in (one, two)]
        until(lambda: all(follower.seqs for follower in followers), within_s=20, what="it is followed")
        stall = Strike(Act.STALL)
        one.link.rule = stall
        gate.touch()
        assert stall.struck.wait(20), "its end is written and not committed"
        since = [there.start("faults/chain", wait_s=20)["id"] for _ in range(5)]
        for reader in readers:
            for id in since:
                reader.wait_for(id, len(there.events(id)))
        one.link.rule = None
        one.link.release()
        assert here.ended(late)["status"] == "completed"
    facts = cluster.facts()
    for id in (late, *since):
        wanted = list(range(1, facts.executions[id]["last_seq"] + 1))
        for reader in readers:
            assert reader.wait_for(id, len(wanted)) == wanted
    for reader in readers:
        reader.stop()
    cluster.verdict()
    for reader in readers:
        reader.join()
