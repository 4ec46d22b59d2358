"""Fault 22: nodes that take their process down, again and again."""

import pytest

from tests.faults.harness.api import TERMINAL, Lost
from tests.faults.harness.scene import Scene
from tests.faults.harness.waiting import until


@pytest.mark.parametrize("how", ["abort", "killed", "hog", "leave"])
def test_a_node_process_that_dies_fails_its_node_and_nothing_else(stage: Scene, how: str) -> None:
    scene = stage
    scene.server.environment["PERDURE_POOL_SIZE"] = "3"
    scene.server.start()
    gate = scene.gate("gate")
    beside = [scene.api.start("faults/hold", {"gate": gate.name})["id"] for _ in range(2)]
    until(lambda: len(scene.effects.lines(kind="begin", node="hold")) == 2, within_s=20, what="others run")
    poison = scene.api.start("faults/poison", {"how": how}, wait_s=30)
    assert poison["status"] == "failed"
    assert poison["error"]["node"] == how
    if how == "hog":
        assert "MemoryError" in poison["error"]["message"]
    else:
        assert poison["error"]["code"] == "process_died", poison["error"]
    gate.touch()
    assert {scene.api.ended(id)["status"] for id in beside} == {"completed"}
    assert len(scene.effects.lines(execution=poison["id"], kind="begin")) == 1
    assert scene.server.running
    scene.verdict()


def test_a_node_that_kills_the_engine_is_given_up_with_the_reason(stage: Scene) -> None:
    """kestra#14356: a dead run held its slot for ever; activepieces#15130: it was delivered without end."""
    scene = stage
    scene.server.environment["PERDURE_POOL_SIZE"] = "6"
    scene.server.start()
    gate = scene.gate("gate")
    beside = [scene.api.start("faults/hold-inline", {"gate": gate.name}, key=f"{n}")["id"] for n in range(3)]
    poison = start_poison(scene)
    deaths = 0

    def given_up() -> bool:
        nonlocal deaths
        deaths += scene.server.revive()
        try:
            return scene.api.execution(poison)["status"] in TERMINAL
        except Lost:
            return False

    until(given_up, within_s=60, what="the poison is given up")
    execution = scene.api.execution(poison)
    assert (execution["status"], execution["reason"]) == ("abandoned", "recoveries_exhausted")
    assert execution["error"]["code"] == "recoveries_exhausted"
    assert execution["error"]["node"] in {None, "abort"}
    assert deaths <= 3, "from the second crash on it runs in a process of its own; one was not on record yet"
    effects = scene.effects.lines(execution=poison, kind="begin")
    assert 2 <= len(effects) <= 8, "six crashes, and what was not on record yet"
    gate.touch()
    assert {scene.api.ended(id)["status"] for id in beside} == {"completed"}, "the others are unharmed"
    second = start_poison(scene, key="second")
    until(lambda: scene.server.revive() or scene.effects.lines(execution=second), within_s=30, what="the slot is free")
    cancel_poison(scene, second)
    scene.verdict()


def test_a_poison_execution_can_be_cancelled_meanwhile(scene: Scene) -> None:
    poison = start_poison(scene)
    until(lambda: scene.server.revive() or scene.effects.lines(execution=poison), within_s=20, what="it has struck")
    execution = cancel_poison(scene, poison)
    assert execution["status"] in {"cancelled", "abandoned"}
    scene.verdict()


def start_poison(scene: Scene, *, key: str = "poison") -> str:
    """Its id, however often the server dies before it has answered."""

    def started() -> str | None:
        scene.server.revive()
        try:
            id: str = scene.api.start("faults/poison-inline", key=key)["id"]
        except Lost:
            return None
        return id

    return until(started, within_s=60, what="the poison is started")


def cancel_poison(scene: Scene, id: str):
    """Cancel it however often the server dies under the call; the execution as it ended."""

    def cancelled():
        scene.server.revive()
        try:
            answer = scene.api.request("POST", f"/api/v1/executions/{id}/cancel", json={})
            assert answer.status_code in {200, 202, 409}, answer.text
            found = scene.api.execution(id)
        except Lost:
            return None
        return found if found["status"] in TERMINAL else None

    return until(cancelled, within_s=60, what="the poison is cancelled")


def test_an_output_with_nul_ends_its_execution(scene: Scene) -> None:
    """kestra#10326: an output with NUL stuck in RUNNING."""
    execution = scene.api.start("faults/nul", wait_s=20)
    assert execution["status"] in {"completed", "failed"}
    if execution["status"] == "completed":
        assert execution["output"] == "a\x00b"
    scene.verdict()
