"""Fault 24: event streams opened and dropped by the hundred; a reader that stands still."""

import socket
import threading
import time
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from tests.faults.harness.api import API
from tests.faults.harness.live import Reader, gaps
from tests.faults.harness.processes import usage
from tests.faults.harness.scene import Scene
from tests.faults.harness.waiting import until

LATENCY_S = 0.5
"""What nine of ten other requests must stay below meanwhile, on a machine that is busy with other tests."""
MEMORY_KB = 150 * 1024
"""What a stopped reader of a long stream may cost at most."""


def storm(scene: Scene, execution: str, *, clients: int, rounds: int) -> None:
    """Connect, read a little, drop; over and over."""

    def one_client() -> None:
        parts = urlsplit(scene.server.url)
        request = (
            f"GET {API}/executions/{execution}/events HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Accept: text/event-stream\r\n\r\n"
        ).encode()
        for _ in range(rounds):
            with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
                connection.sendall(request)
                assert connection.recv(256).startswith(b"HTTP/1.1 200")

    threads = [threading.Thread(target=one_client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_storm_of_streams_leaves_others_alone_and_nothing_behind(scene: Scene) -> None:
    gate = scene.gate("gate")
    id = scene.api.start("faults/hold-inline", {"gate": gate.name})["id"]
    until(lambda: scene.effects.lines(kind="begin"), within_s=20, what="it runs")
    scene.api.start("faults/one", wait_s=20)
    before = usage(scene.server.pid)
    latencies: list[float] = []
    storming = threading.Thread(target=storm, args=(scene, id), kwargs={"clients": 50, "rounds": 10})
    storming.start()
    while storming.is_alive() or len(latencies) < 20:
        latencies.append(seconds_of_a_start(scene))
    storming.join()
    assert sorted(latencies)[int(len(latencies) * 0.9)] < LATENCY_S
    until(
        lambda: usage(scene.server.pid).descriptors <= before.descriptors + 5,
        within_s=30,
        what="the descriptors of dropped streams are given back",
    )
    after = usage(scene.server.pid)
    assert after.threads <= before.threads + 4
    assert after.memory_kb <= before.memory_kb + MEMORY_KB
    gate.touch()
    assert scene.api.ended(id)["status"] == "completed"
    scene.verdict()


@pytest.mark.parametrize("kind", ["sse", "ws"])
def test_a_reader_that_stands_still_is_cut_and_goes_on_where_it_was(stage: Scene, kind: str) -> None:
    """sse-starlette#89: a suspended reader hung the sender."""
    scene = stage
    scene.server.environment["PERDURE_STREAM_STALL"] = "2s"
    scene.server.start()
    id = scene.api.start("faults/babble", {"lines": 60_000, "width": 100})["id"]
    before = usage(scene.server.pid)
    with closing(Reader(scene.place / "reader", kind, [scene.server.url], execution=id, logs=True)) as reader:
        until(reader.events, within_s=30, what="it reads")
        port = reader.wait_connected()["port"]
        with reader.stopped():
            latencies = [seconds_of_a_start(scene) for _ in range(30)]
            assert sorted(latencies)[int(len(latencies) * 0.9)] < LATENCY_S
            assert scene.api.ended(id, within_s=60)["status"] == "completed"
            until(lambda: not holds_connection(scene, port), within_s=30, what="the reader is cut")
            assert usage(scene.server.pid).memory_kb <= before.memory_kb + MEMORY_KB
        until(reader.has_ended, within_s=60, what="it has read on to the end")
        assert len(reader.notes("connected")) >= 2
        assert not gaps(reader, scene.facts(), id)
    scene.verdict()


def seconds_of_a_start(scene: Scene) -> float:
    began = time.monotonic()
    assert scene.api.start("faults/one", wait_s=20)["status"] == "completed"
    return time.monotonic() - began


def holds_connection(scene: Scene, client_port: int) -> bool:
    """Whether the server still has its end of the connection from that port."""
    wanted = (f"{urlsplit(scene.server.url).port:04X}", f"{client_port:04X}")
    with open("/proc/net/tcp") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return any((row[1].rpartition(":")[2], row[2].rpartition(":")[2]) == wanted and row[3] == "01" for row in rows)


def test_streams_go_on_across_restarts_without_gap_or_double(scene: Scene) -> None:
    gate = scene.gate("gate")
    ids = [scene.api.start("faults/hold-inline", {"gate": gate.name})["id"] for _ in range(4)]
    followers = [scene.follow(id) for id in ids for _ in range(3)]
    until(lambda: all(follower.seqs for follower in followers), within_s=20, what="all read")
    for _ in range(2):
        scene.server.kill()
        scene.server.start()
    gate.touch()
    for id in ids:
        assert scene.api.ended(id)["status"] == "completed"
    for follower in followers:
        assert follower.ended.wait(20), follower.seqs
        assert follower.breaks >= 1
    scene.verdict()


def test_sockets_go_on_across_restarts_without_gap_or_double(scene: Scene) -> None:
    """A subscription to all executions, whose server is killed in the middle of their events, and again."""
    with closing(Reader(scene.place / "reader", "ws", [scene.server.url], namespace="faults", logs=True)) as reader:
        reader.wait_connected()
        for times in (1, 2, 3):
            ids = [scene.api.start(flow, {"items": [1, 2, 3]} if flow == "faults/fan" else {})["id"]
                   for flow in ("faults/chain", "faults/fan", "faults/one") for _ in range(10)]  # fmt: skip
            until(lambda ids=ids: any(event["execution"] in ids for event in reader.events()),  # type: ignore[misc]
                  within_s=20, what="it reads")  # fmt: skip
            scene.server.kill()
            scene.server.start()
            reader.move(scene.server.url)
            reader.wait_connected(times + 1)
        scene.settle()
        facts = scene.facts()
        until(lambda: not gaps(reader, facts), within_s=20, what=f"it has read all: {gaps(reader, facts)}")
        assert not reader.notes("reset")
    scene.verdict()
