"""Killed between an answer and what follows from it: what was acknowledged counts, exactly once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from tests.faults.harness.answering import FLOWS, Heard, asleep
from tests.faults.harness.scene import Scene
from tests.faults.harness.server import ServerDied

FAULT_EXIT = 86


@pytest.mark.parametrize("point", ["before_commit", "after_commit", "before_reply"])
@pytest.mark.parametrize("nth", [4, 7])
def test_a_crash_at_a_commit_point_keeps_an_answer_or_none(stage: Scene, point: str, nth: int) -> None:
    stage.server.start()
    asked = [(flow, id) for flow in FLOWS for id in asleep(stage.api, flow, 2)]
    stage.server.kill()
    heard = Heard()
    assert answer_until_it_dies(stage, f"{point}:{nth}", asked * 3, heard) == FAULT_EXIT
    stage.server.start()
    heard.check(stage.api, asked)
    stage.verdict()


def answer_until_it_dies(scene: Scene, fault: str, asked: list[tuple[str, str]], heard: Heard) -> int:
    """The server's exit status; `heard` gets what was told."""
    try:
        scene.server.start(fault=fault)
    except ServerDied as died:
        return died.status
    for number, (flow, id) in enumerate(asked):
        heard.say(scene.api, flow, id, f"answer {number}")
    return scene.server.died()


def test_kills_while_many_answer_lose_and_double_nothing(stage: Scene) -> None:
    stage.server.start()
    asked = [(flow, id) for flow in FLOWS for id in asleep(stage.api, flow, 27)]
    Random(4).shuffle(asked)
    heard = Heard()
    for turn in range(4):

        def one(of: tuple[str, str], turn: int = turn) -> None:
            with stage.new_api() as api:
                heard.say(api, *of, f"turn {turn}")

        with ThreadPoolExecutor(4) as pool:
            answers = pool.map(one, asked[turn * 20 : turn * 20 + 20])
            next(answers)
            stage.server.kill()
            list(answers)
        stage.server.start()
    heard.check(stage.api, asked)
    stage.verdict()
