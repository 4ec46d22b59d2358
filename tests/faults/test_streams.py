"""Fault 24: event streams opened and dropped by the hundred; a reader that stands still."""

import socket
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

from tests.faults.harness.api import API
from tests.faults.harness.processes import usage
from tests.faults.harness.scene import Scene
from tests.faults.harness.stream import read_stream, stream_client
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
        began = time.monotonic()
        assert scene.api.start("faults/one", wait_s=20)["status"] == "completed"
        latencies.append(time.monotonic() - began)
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


_READER = (
    "import os, signal, socket, sys\n"
    "host, port, path = sys.argv[1:]\n"
    "connection = socket.socket()\n"
    "connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)\n"
    "connection.connect((host, int(port)))\n"
    "connection.sendall(f'GET {path} HTTP/1.1\\r\\nHost: {host}:{port}\\r\\nAccept: text/event-stream\\r\\n\\r\\n'.encode())\n"
    "connection.recv(4096)\n"
    "print(connection.getsockname()[1], flush=True)\n"
    "os.kill(os.getpid(), signal.SIGSTOP)\n"
    "while connection.recv(65536): pass\n"
    "print('cut', flush=True)\n"
)


def test_a_reader_that_stands_still_is_cut_and_can_go_on(stage: Scene) -> None:
    """sse-starlette#89: a suspended reader hung the sender."""
    scene = stage
    scene.server.environment["PERDURE_STREAM_STALL"] = "2s"
    scene.server.start()
    id = scene.api.start("faults/babble", {"lines": 60_000, "width": 100})["id"]
    before = usage(scene.server.pid)
    parts = urlsplit(scene.server.url)
    path = f"{API}/executions/{id}/events"
    command = [sys.executable, "-c", _READER, str(parts.hostname), str(parts.port), path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
        try:
            assert reader.stdout is not None
            port = int(reader.stdout.readline())
            until(lambda: state(reader.pid) == "T", within_s=10, what="the reader stands still")
            ended = scene.api.ended(id, within_s=60)
            assert ended["status"] == "completed"
            assert usage(scene.server.pid).memory_kb <= before.memory_kb + MEMORY_KB
            until(lambda: not holds_connection(scene, port), within_s=30, what="the reader is cut")
        finally:
            reader.kill()
    with stream_client() as client:
        events = list(read_stream(client, scene.server.url, id, last="1000"))
    assert events[-1][0] == "end"
    seqs = [event["seq"] for name, event in events if name != "end"]
    last = scene.facts().executions[id]["last_seq"]
    assert seqs == list(range(1001, last + 1))
    scene.verdict()


def state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


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
