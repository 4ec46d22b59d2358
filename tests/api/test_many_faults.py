"""What is wrong with a request is told without end of work, however much it is."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from perdure.api.bodies import decode_json
from perdure.api.findings import LISTED
from perdure.errors import InvalidRequest
from perdure.wire.executions import StartBatch, StartExecution
from tests.api.world import World

MANY = 200_000
SLOW_S = 10.0
"""Without a bound the quickest of these takes a minute on a quiet machine."""


@pytest.mark.parametrize(
    ("type", "body"),
    [
        (StartExecution, {"flow": "a", **{f"k{n}": n for n in range(MANY)}}),
        (StartBatch, {"executions": [{}] * MANY}),
        (StartExecution, {"flow": "a", "tags": {f"k:{n}": "" for n in range(MANY)}}),
        (StartBatch, {"executions": [{"flow": "a", "tags": {f"k:{n}": "" for n in range(MANY // 999)}}] * 999}),
    ],
    ids=["unknown fields", "starts", "tags", "tags of starts"],
)
def test_a_body_with_many_faults_is_answered_in_a_moment(type: Any, body: Any) -> None:
    data = msgspec.json.encode(body)
    began = time.process_time()
    with pytest.raises(InvalidRequest) as refused:
        decode_json(data, type)
    assert time.process_time() - began < SLOW_S
    assert 0 < len(refused.value.problems) <= LISTED


async def test_a_batch_tells_of_its_first_faults(world: World) -> None:
    starts = [{"flow": "api/quick", "input": {"n": -1}}] * 1_000
    answer = await world.ask("POST", "/executions/batch", {"executions": starts})
    assert answer.status_code == 422
    problems = answer.json()["errors"]
    assert [problem["pointer"] for problem in problems] == [f"/executions/{n}/input/n" for n in range(LISTED)]
    assert answer.json()["detail"] == f"at least {LISTED} of 1000 starts are refused; nothing was started"
