"""Killed between an answer and what follows from it: what was acknowledged counts, exactly once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from tests.faults.harness.api import API, Api, Lost
from tests.faults.harness.scene import Scene
from tests.faults.harness.server import ServerDied

FAULT_EXIT = 86


def respond(api: Api, id: str, comment: str) -> str | None:
    """The comment of the answer that counts; None where nobody knows."""
    try:
        answer = api.request("POST", f"{API}/executions/{id}/respond", json={"approved": True, "comment": comment})
    except Lost:
        return None
    found = answer.json()
    if answer.status_code != 200:
        assert found["code"] == "wait_answered", found
        found = found["details"]
    said: str = found["comment"]
    return said


def asleep(scene: Scene, count: int) -> list[str]:
    ids = [scene.api.start("faults/gate", {})["id"] for _ in range(count)]
    for id in ids:
        scene.api.becomes(id, "suspended")
    return ids


def check(scene: Scene, ids: list[str], heard: dict[str, str]) -> None:
    """Every execution was answered once, by whoever was told so first."""
    for id in ids:
        counted = respond(scene.api, id, "last")
        execution = scene.api.ended(id)
        assert execution["status"] == "completed", execution["error"]
        assert execution["output"] == counted == heard.get(id, counted)
        types = [event["type"] for event in scene.api.events(id)]
        assert types.count("node.answered") == 1
        assert types.count("node.completed") == 2
    scene.verdict()


@pytest.mark.parametrize("point", ["before_commit", "after_commit", "before_reply"])
@pytest.mark.parametrize("nth", [4, 7])
def test_a_crash_at_a_commit_point_keeps_an_answer_or_none(stage: Scene, point: str, nth: int) -> None:
    stage.server.start()
    ids = asleep(stage, 4)
    stage.server.kill()
    heard: dict[str, str] = {}
    assert answer_until_it_dies(stage, f"{point}:{nth}", ids * 3, heard) == FAULT_EXIT
    stage.server.start()
    check(stage, ids, heard)


def answer_until_it_dies(scene: Scene, fault: str, ids: list[str], heard: dict[str, str]) -> int:
    """The server's exit status; `heard` gets what counts, where that was told."""
    try:
        scene.server.start(fault=fault)
    except ServerDied as died:
        return died.status
    for number, id in enumerate(ids):
        said = respond(scene.api, id, f"answer {number}")
        if said is None:
            break
        heard[id] = said
    return scene.server.died()


def test_kills_while_many_answer_lose_and_double_nothing(stage: Scene) -> None:
    stage.server.start()
    ids = asleep(stage, 80)
    random = Random(4)
    heard: dict[str, str] = {}
    for turn in range(4):
        part = ids[turn * 20 : turn * 20 + 20]
        random.shuffle(part)

        def one(id: str, turn: int = turn) -> tuple[str, str | None]:
            with stage.new_api() as api:
                return id, respond(api, id, f"turn {turn}")

        with ThreadPoolExecutor(4) as pool:
            answers = pool.map(one, part)
            next(answers)
            stage.server.kill()
            heard |= {id: said for id, said in answers if said is not None}
        stage.server.start()
    check(stage, ids, heard)
