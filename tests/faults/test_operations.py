"""Killed in the middle of an operation: it goes on where it was, and does to each execution once what was asked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.harness.api import Lost
from tests.faults.harness.operating import ask, over, require_done_once
from tests.faults.harness.scene import Scene
from tests.faults.harness.server import ServerDied
from tests.faults.harness.waiting import until

FAULT_EXIT = 86
COUNT = 40
TAGGING: dict[str, Any] = {
    "action": "tag", "filter": {"flow": "faults/nap"}, "arguments": {"set": {"seen": "yes"}},
}  # fmt: skip
REPLAYING: dict[str, Any] = {"action": "replay", "filter": {"flow": "faults/nap"}}


def originals(scene: Scene) -> list[str]:
    """Executions that have ended, with nobody at work any more."""
    ids = [scene.api.start_surely("faults/nap", key=f"nap-{n}", input={"duration": "1ms"})["id"] for n in range(COUNT)]
    for id in ids:
        scene.api.ended(id)
    return ids


@pytest.mark.parametrize(("point", "nth"), [("before_commit", 6), ("after_commit", 9), ("before_reply", 12)])
def test_a_crash_at_a_commit_point_does_nothing_twice_and_forgets_nothing(stage: Scene, point: str, nth: int) -> None:
    stage.server.start()
    ids = originals(stage)
    stage.server.kill()
    assert ask_until_it_dies(stage, f"{point}:{nth}") == FAULT_EXIT
    stage.server.start()
    tagging, replaying = (
        over(stage.api, ask(stage.api, *one)["id"]) for one in ((TAGGING, "tag"), (REPLAYING, "replay"))
    )
    require_done_once(stage.api, ids, tagging=tagging, replaying=replaying)
    stage.verdict()


def ask_until_it_dies(scene: Scene, fault: str) -> int:
    """The server's exit status."""
    try:
        scene.server.start(fault=fault)
        ask(scene.api, TAGGING, "tag")
        ask(scene.api, REPLAYING, "replay")
    except ServerDied as died:
        return died.status
    except Lost:
        pass
    return scene.server.died()


def test_kill_9_between_two_steps(stage: Scene) -> None:
    stage.server.start()
    ids = originals(stage)
    tagging = ask(stage.api, TAGGING, "tag")
    replaying = ask(stage.api, REPLAYING, "replay")
    until(lambda: stage.api.get(f"/operations/{replaying['id']}")["succeeded"] > 0, within_s=30, what="it has begun")
    stage.server.kill()
    stage.server.start()
    done = [over(stage.api, one["id"]) for one in (tagging, replaying)]
    require_done_once(stage.api, ids, tagging=done[0], replaying=done[1])
    stage.verdict()
