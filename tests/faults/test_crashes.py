"""Faults 1, 2, 4: the engine dies at any moment, at every commit point, and in the middle of a node."""

from random import Random

import pytest

from perdure.store.sqlite.connection import open_writer
from tests.faults.harness.api import Lost, Refused
from tests.faults.harness.load import Load
from tests.faults.harness.processes import Process, alive
from tests.faults.harness.scene import Scene
from tests.faults.harness.server import ServerDied
from tests.faults.harness.store import database
from tests.faults.harness.waiting import until

FAULT_EXIT = 86
"""What a server exits with at a fault point."""


def crash_loop(scene: Scene, *, seed: int, crashes: int, threads: int = 3) -> None:
    """Kill -9 at random moments under mixed load, `crashes` times, and heal."""
    random = Random(seed)
    scene.server.start()
    load = Load(lambda: scene.server.url, scene.acknowledgements, seed=seed, threads=threads, ledger=scene.ledger)
    followed = 0
    try:
        for _ in range(crashes):
            load.wait_for(load.started + random.randrange(1, 60))
            if followed < 12:
                for one in scene.acknowledgements.lines(kind="start")[-2:]:
                    scene.follow(one.execution)
                    followed += 1
            scene.server.kill()
            scene.server.start()
    finally:
        load.stop()
    scene.verdict(within_s=90)


@pytest.mark.parametrize("seed", [1, 2])
def test_random_crashes_under_load_lose_nothing_and_repeat_nothing(stage: Scene, seed: int) -> None:
    crash_loop(stage, seed=seed, crashes=5)


@pytest.mark.parametrize("point", ["before_commit", "after_commit", "before_reply"])
@pytest.mark.parametrize("nth", [1, 3, 6, 10, 17])
def test_a_crash_at_a_commit_point_leaves_all_or_nothing(stage: Scene, point: str, nth: int) -> None:
    assert crash_at(stage, f"{point}:{nth}") == FAULT_EXIT
    stage.server.start()
    for number in range(4):
        stage.api.start_surely("faults/chain", {}, key=f"chain-{number}")
        stage.api.start_surely("faults/fan", {"items": [1, 2, 3]}, key=f"fan-{number}")
    facts = stage.verdict()
    assert len(facts.keys) == 8


def crash_at(scene: Scene, fault: str) -> int:
    """Start with a fault point and work until the server dies there; its exit status."""
    try:
        scene.server.start(fault=fault)
    except ServerDied as error:
        return error.status
    for number in range(100):
        try:
            scene.api.start("faults/chain", {}, key=f"chain-{number % 4}")
            scene.api.start("faults/fan", {"items": [1, 2, 3]}, key=f"fan-{number % 4}")
        except (Lost, Refused):
            break
    return scene.server.died()


@pytest.mark.parametrize("flow", ["faults/hold", "faults/hold-inline", "faults/hold-shell"])
def test_a_node_whose_engine_died_runs_again_under_a_new_epoch(scene: Scene, flow: str) -> None:
    gate = scene.gate("gate")
    shell = {"ledger": scene.ledger} if flow == "faults/hold-shell" else {}
    id = scene.api.start(flow, {"gate": gate.name, **shell})["id"]
    [first] = until(lambda: scene.effects.lines(kind="begin"), within_s=20, what="the node begins")
    nodes = [Process(first.pid, first.started)] if first.started else []
    started = scene.server.processes()
    scene.server.kill()
    until(lambda: not alive([*nodes, *started]), within_s=10, what="all that the dead engine started is dead")
    scene.server.start()
    until(lambda: len(scene.effects.lines(kind="begin", node="hold")) == 2, within_s=20, what="the node begins again")
    gate.touch()
    execution = scene.api.ended(id)
    assert execution["status"] == "completed"
    assert execution["recoveries"] == 1
    [run] = [run for run in scene.api.nodes(id) if run["node"] == "hold"]
    assert (run["status"], run["attempt"]) == ("completed", 1), "an interrupted attempt does not count as a try"
    types = [event["type"] for event in scene.api.events(id)]
    assert types.count("execution.interrupted") == 1
    assert types.count("node.completed") == (1 if flow == "faults/hold-shell" else 2)
    scene.verdict()


def test_all_executions_in_flight_go_on_at_once_after_a_crash(scene: Scene) -> None:
    """What ran in the engine runs there again: two hundred do not queue for the few processes of the pool."""
    gate = scene.gate("gate")
    ids = [scene.api.start("faults/hold-inline", {"gate": gate.name})["id"] for _ in range(200)]
    until(lambda: len(scene.effects.lines(kind="begin")) == 200, within_s=30, what="all run")
    scene.server.kill()
    scene.server.start()
    until(lambda: len(scene.effects.lines(kind="begin")) == 400, within_s=15, what="all run again")
    gate.touch()
    assert {scene.api.ended(id)["status"] for id in ids} == {"completed"}
    scene.verdict()


def test_a_grandchild_in_its_own_session_dies_with_the_engine(scene: Scene) -> None:
    names = {"faults/stubborn-grandchild": "grandchild", "faults/stubborn-daemon": "daemon"}
    for flow, name in names.items():
        scene.api.start(flow, {"name": name})
    left = [grandchild(scene, name) for name in names.values()]
    scene.server.kill()
    until(lambda: not alive(left), within_s=10, what="no grandchild is left")
    scene.server.environment["PERDURE_GRACE"] = "100ms"
    scene.server.start()
    for one in scene.api.executions():
        scene.api.cancel(one["id"])
    scene.verdict()


def grandchild(scene: Scene, name: str) -> Process:
    """The process that a node noted in a file of that name."""
    path = scene.gate(name)
    until(lambda: path.exists() and path.read_text().endswith("\n"), within_s=20, what=f"{name} has begun")
    pid, started = path.read_text().split("\n")[-2].split()
    return Process(int(pid), int(started))


def test_a_restart_leaves_finished_executions_as_they_are(scene: Scene) -> None:
    """n8n#23807: a restart overwrote success with crashed; prefect#16429: a terminal one later completed."""
    finished = [scene.api.start("faults/one", wait_s=20) for _ in range(20)]
    assert {one["status"] for one in finished} == {"completed"}
    for _ in range(3):
        scene.server.kill()
        scene.server.start()
        for before in finished:
            now = scene.api.execution(before["id"])
            assert {**before, "replayed": None} == {**now, "replayed": None}
    scene.verdict()


def test_recovery_does_not_need_the_row_of_the_worker_that_died(scene: Scene) -> None:
    """procrastinate#1518: the worker's row was pruned first, and its job became invisible."""
    gate = scene.gate("gate")
    id = scene.api.start("faults/hold-inline", {"gate": gate.name})["id"]
    until(lambda: scene.effects.lines(kind="begin"), within_s=20, what="the node begins")
    scene.server.kill()
    connection = open_writer(database(scene.home))
    connection.execute("DELETE FROM workers")
    connection.close()
    scene.server.start()
    gate.touch()
    assert scene.api.ended(id)["status"] == "completed"
    scene.verdict()


def test_a_crash_while_draining_loses_nothing(scene: Scene) -> None:
    """dbos-transact-py#804: a draining process claimed again, then died."""
    gate = scene.gate("gate")
    held = [scene.api.start("faults/hold-inline", {"gate": gate.name})["id"] for _ in range(5)]
    until(lambda: len(scene.effects.lines(kind="begin")) == 5, within_s=20, what="all nodes begin")
    scene.server.terminate()
    until(lambda: refuses(scene), within_s=20, what="the server refuses new work")
    begun = len(scene.effects.lines(kind="begin"))
    scene.server.kill()
    assert len(scene.effects.lines(kind="begin")) == begun, "a draining server begins nothing"
    scene.server.start()
    gate.touch()
    assert {scene.api.ended(id)["status"] for id in held} == {"completed"}
    scene.verdict()


def refuses(scene: Scene) -> bool:
    try:
        scene.api.start("faults/one")
    except (Lost, Refused):
        return True
    return False


def test_a_drained_server_hands_over_and_is_no_crash(scene: Scene) -> None:
    gate = scene.gate("gate")
    scene.server.stop()
    scene.server.environment["PERDURE_DRAIN"] = "200ms"
    scene.server.environment["PERDURE_GRACE"] = "200ms"
    scene.server.start()
    id = scene.api.start("faults/hold", {"gate": gate.name})["id"]
    until(lambda: scene.effects.lines(kind="begin"), within_s=20, what="the node begins")
    assert scene.server.stop() == 0
    facts = scene.facts()
    assert (facts.executions[id]["status"], facts.executions[id]["crashes"]) == ("interrupted", 0)
    scene.server.start()
    gate.touch()
    assert scene.api.ended(id)["status"] == "completed"
    scene.verdict()


def test_executions_cancelled_before_they_began_never_begin(scene: Scene) -> None:
    """dbos-transact-py#742: a stale list of pending ones was executed after ownership was cleared."""
    gate = scene.gate("gate")
    first = scene.api.start("faults/serial", {"gate": gate.name})["id"]
    waiting = [scene.api.start("faults/serial", {"gate": gate.name})["id"] for _ in range(30)]
    until(lambda: scene.effects.lines(kind="begin"), within_s=20, what="the first begins")
    for id in waiting[::2]:
        assert scene.api.cancel(id)["status"] == "cancelled"
    gate.touch()
    assert {scene.api.ended(id)["status"] for id in [first, *waiting[1::2]]} == {"completed"}
    assert not {effect.execution for effect in scene.effects.lines()} & set(waiting[::2])
    scene.verdict()
