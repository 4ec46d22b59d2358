"""Fault 17: another process holds the database's lock; and two servers on one home."""

import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.faults.harness.api import Refused
from tests.faults.harness.ledger import Boot, Ledger
from tests.faults.harness.scene import Scene
from tests.faults.harness.server import Server, ServerDied
from tests.faults.harness.store import database

_HOLD = (
    "import sys, apsw\n"
    "connection = apsw.Connection(sys.argv[1])\n"
    "connection.set_busy_timeout(10_000)\n"
    "connection.execute('BEGIN EXCLUSIVE')\n"
    "print('held', flush=True)\n"
    "sys.stdin.read()\n"
)


@contextmanager
def exclusively(scene: Scene):
    """Within it, another process holds BEGIN EXCLUSIVE."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, database(scene.home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            holder.stdin.close()
            holder.wait()


def test_a_lock_held_by_another_process_is_waited_for_then_told(scene: Scene) -> None:
    gate = scene.gate("gate")
    running = [scene.api.start("faults/hold-inline", {"gate": gate.name})["id"] for _ in range(5)]
    done = scene.api.start("faults/one", wait_s=20)
    with exclusively(scene):
        gate.touch()
        with pytest.raises(Refused) as refused:
            scene.api.start("faults/one", key="meanwhile")
        assert refused.value.status == 503
        assert int(refused.value.headers["retry-after"]) >= 1
        assert refused.value.problem["code"] == "store_busy"
        assert scene.api.execution(done["id"])["status"] == "completed", "reads go on"
    assert scene.api.start_surely("faults/one", key="meanwhile", within_s=20)["id"]
    assert {scene.api.ended(id)["status"] for id in running} == {"completed"}, "results were kept meanwhile"
    scene.verdict()


def test_a_lock_that_is_soon_released_is_only_waited_for(scene: Scene) -> None:
    with exclusively(scene):
        pass
    assert scene.api.start("faults/one", wait_s=20)["status"] == "completed"
    scene.verdict()


def test_a_second_server_on_the_same_home_is_told_who_has_it(scene: Scene) -> None:
    boots = Ledger(scene.place / "second.jsonl", Boot)
    second = Server(home=scene.home, flows=scene.place / "flows", log=scene.place / "second.log", boots=boots)
    try:
        with pytest.raises(ServerDied) as died:
            second.start()
    finally:
        second.clean_up()
    assert died.value.status not in {0, None}
    assert str(scene.server.pid) in died.value.log
    assert scene.server.url in died.value.log
    assert "Traceback" not in died.value.log
    assert scene.api.start("faults/one", wait_s=20)["status"] == "completed"
    scene.verdict()
