"""Fault 27: nodes that ignore their cancellation are dead before it is said that they are."""

import pytest

from tests.faults.harness.api import TERMINAL
from tests.faults.harness.processes import Process, alive
from tests.faults.harness.scene import Scene
from tests.faults.harness.waiting import until

GRACE_MS = 300


@pytest.fixture
def impatient(stage: Scene) -> Scene:
    """A running server that gives stopped attempts little time."""
    stage.server.environment["PERDURE_GRACE"] = f"{GRACE_MS}ms"
    stage.server.start()
    return stage


def noted(scene: Scene, name: str) -> Process:
    path = scene.gate(name)
    until(lambda: path.exists() and path.read_text().endswith("\n"), within_s=20, what=f"{name} has begun")
    pid, started = path.read_text().split("\n")[-2].split()
    return Process(int(pid), int(started))


def cancel_and_wait(scene: Scene, id: str, processes: list[Process]):
    """Cancel; when the execution says that it is cancelled, its processes must be dead already."""
    assert alive(processes) == processes
    scene.api.cancel(id, reason="enough")

    def ended():
        found = scene.api.execution(id)
        if found["status"] not in TERMINAL:
            return None
        assert not alive(processes), f"{found['status']} while {processes} live"
        return found

    return until(ended, within_s=20, what="the execution is cancelled")


@pytest.mark.parametrize("force", [False, True])
def test_a_process_that_catches_everything_is_killed(impatient: Scene, force: bool) -> None:
    id = impatient.api.start("faults/stubborn-catch-everything")["id"]
    [first, *_] = until(lambda: impatient.effects.lines(kind="alive"), within_s=20, what="it runs")
    following = impatient.api.start("faults/stubborn-catch-everything")["id"]
    assert impatient.api.execution(following)["status"] == "pending"
    if force:
        impatient.api.cancel(id, force=True)
    cancelled = cancel_and_wait(impatient, id, [Process(first.pid, first.started)]) if not force else None
    cancelled = cancelled or impatient.api.ended(id)
    assert (cancelled["status"], cancelled["reason"]) == ("cancelled", None if force else "enough")
    until(lambda: impatient.effects.lines(execution=following), within_s=20, what="the slot is handed on")
    impatient.api.cancel(following, force=True)
    impatient.verdict()


@pytest.mark.parametrize("flow", ["faults/stubborn-shell", "faults/stubborn-grandchild", "faults/stubborn-daemon"])
def test_whatever_a_node_started_dies_with_it(impatient: Scene, flow: str) -> None:
    id = impatient.api.start(flow, {"name": "first", **_ledger(impatient, flow)})["id"]
    process = noted(impatient, "first")
    following = impatient.api.start(flow, {"name": "second", **_ledger(impatient, flow)})["id"]
    cancelled = cancel_and_wait(impatient, id, [process])
    assert cancelled["status"] == "cancelled"
    [run] = impatient.api.nodes(id)
    assert run["status"] == "cancelled"
    second = noted(impatient, "second")
    cancel_and_wait(impatient, following, [second])
    impatient.verdict()


def _ledger(scene: Scene, flow: str) -> dict[str, str]:
    return {"ledger": scene.ledger} if flow == "faults/stubborn-shell" else {}


def test_what_a_node_leaves_behind_does_not_outlive_it(impatient: Scene) -> None:
    id = impatient.api.start("faults/stubborn-leftover", {"name": "leftover"}, wait_s=20)["id"]
    left = noted(impatient, "leftover")
    execution = impatient.api.ended(id)
    assert not alive([left]), f"{execution['status']}, and its daemon lives"
    impatient.verdict()


def test_a_coroutine_that_swallows_its_cancellation_is_recorded_as_orphaned(impatient: Scene) -> None:
    id = impatient.api.start("faults/stubborn-catch-inline")["id"]
    until(lambda: impatient.effects.lines(execution=id), within_s=20, what="it runs")
    following = impatient.api.start("faults/stubborn-catch-inline")["id"]
    impatient.api.cancel(id)
    assert impatient.api.ended(id, within_s=20)["status"] == "cancelled"
    assert_orphaned(impatient, id)
    until(lambda: impatient.effects.lines(execution=following), within_s=20, what="the slot is handed on")
    impatient.api.cancel(following, force=True)
    impatient.verdict()


def test_a_thread_is_recorded_as_orphaned(impatient: Scene) -> None:
    gate = impatient.gate("gate")
    id = impatient.api.start("faults/stubborn-thread", {"gate": gate.name})["id"]
    until(lambda: impatient.effects.lines(execution=id), within_s=20, what="it runs")
    following = impatient.api.start("faults/stubborn-thread", {"gate": gate.name})["id"]
    impatient.api.cancel(id)
    assert impatient.api.ended(id, within_s=20)["status"] == "cancelled"
    assert_orphaned(impatient, id)
    until(lambda: impatient.effects.lines(execution=following), within_s=20, what="the slot is handed on")
    gate.touch()
    assert impatient.api.ended(following)["status"] == "completed"
    impatient.verdict()


def assert_orphaned(scene: Scene, id: str) -> None:
    [run] = scene.api.nodes(id)
    assert run["status"] == "orphaned"
    assert "node.orphaned" in [event["type"] for event in scene.api.events(id)]


def test_an_attempt_that_took_too_long_is_dead_before_the_next_begins(impatient: Scene) -> None:
    """hatchet#1022: a timed-out attempt kept running beside its retry."""
    execution = impatient.api.start("faults/overtime", wait_s=30)
    assert execution["status"] == "completed", execution["error"]
    lines = impatient.effects.lines(execution=execution["id"])
    [second] = [line for line in lines if line.attempt == 2 and line.kind == "begin"]
    first = [line for line in lines if line.attempt == 1]
    assert max(line.at for line in first) < second.at
    assert not alive([Process(first[0].pid, first[0].started)])
    impatient.verdict()
