"""Concurrency limits and rates through the engine: never exceeded, handed on, never leaked."""

from __future__ import annotations

import pytest

from perdure.base.clock import MINUTE, to_rfc3339
from perdure.errors import ConcurrencyLimitReached, InvalidRequest
from perdure.model.states import ExecutionStatus
from tests.engine.opened import WORKSPACE, Opener


async def test_slots_are_handed_on_one_by_one_and_by_priority(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put("id: single\nconcurrency: {limit: 1}\nnodes:\n  nap: {sleep: 1h}\n")
    first = await bench.start("single")
    late = await bench.start("single", priority=1)
    urgent = await bench.start("single", priority=9)
    record = await bench.record(urgent)
    assert (record.status, record.reason) == (ExecutionStatus.PENDING, "concurrency_limit")
    order = []
    for _ in range(3):
        while True:
            ended = [id for id in (first, late, urgent) if (await bench.record(id)).finished_at and id not in order]
            if ended:
                order += ended
                break
            running = [
                id
                for id in (first, late, urgent)
                if (await bench.record(id)).status in (ExecutionStatus.RUNNING, ExecutionStatus.SUSPENDED)
            ]
            assert len(running) <= 1
            await bench.engine.wait_ended(WORKSPACE, (running or [first])[0], 50_000)
            bench.skip()
    assert order == [first, urgent, late]


async def test_a_start_beyond_the_limit_is_rejected_where_the_flow_says_so(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put("id: picky\nconcurrency: {limit: 1, on_limit: reject}\nnodes:\n  nap: {sleep: 1h}\n")
    first = await bench.start("picky")
    with pytest.raises(ConcurrencyLimitReached):
        await bench.start("picky")
    await bench.ended(first)
    await bench.ended(await bench.start("picky"))


async def test_keys_have_slots_of_their_own(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(
        "id: keyed\ninput: {who: {type: string}}\nconcurrency: {limit: 1, key: '${input.who}', on_limit: reject}\n"
        "nodes:\n  nap: {sleep: 1h}\n"
    )
    await bench.start("keyed", {"who": "ada"})
    await bench.start("keyed", {"who": "bob"})
    with pytest.raises(ConcurrencyLimitReached):
        await bench.start("keyed", {"who": "ada"})


async def test_the_oldest_makes_room_where_the_flow_says_so(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put("id: fresh\nconcurrency: {limit: 1, on_limit: cancel_oldest}\nnodes:\n  nap: {sleep: 1h}\n")
    first = await bench.start("fresh")
    await bench.until(first, lambda record: record.status is ExecutionStatus.SUSPENDED)
    second = await bench.start("fresh")
    assert (await bench.ended(first)).status is ExecutionStatus.CANCELLED
    assert (await bench.ended(second)).status is ExecutionStatus.COMPLETED


async def test_a_rate_spreads_starts_over_time(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put("id: slowly\nrate: {limit: 2, per: 1m}\nnodes:\n  a: {transform: 1}\n")
    began = bench.clock.now()
    ids = [await bench.start("slowly") for _ in range(5)]
    record = await bench.record(ids[-1])
    assert (record.status, record.reason) == (ExecutionStatus.PENDING, "rate_limit")
    why = await bench.engine.why(WORKSPACE, ids[-1])
    (cause,) = why["waiting_for"]
    assert (cause["kind"], cause["until"]) == ("rate_limit", to_rfc3339(began + 3 * (MINUTE // 2)))
    assert why["summary"] == f"Its flow's rate lets it start at {cause['until']}."
    starts = [(await bench.ended(id)).started_at or 0 for id in ids]
    assert [(at - began) // (MINUTE // 2) for at in starts] == [0, 0, 1, 2, 3]


async def test_a_delayed_start_waits_for_its_time(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put("id: later\nnodes:\n  a: {transform: 1}\n")
    due = bench.clock.now() + 90 * MINUTE
    id = await bench.start("later", start_at=due)
    record = await bench.record(id)
    assert (record.status, record.reason) == (ExecutionStatus.PENDING, "start_at")
    record = await bench.ended(id)
    assert record.started_at is not None
    assert record.started_at >= due


async def test_tags_of_flow_and_start_are_counted_together(open_bench: Opener) -> None:
    bench = await open_bench()
    own = ", ".join(f"f{n}: x" for n in range(20))
    await bench.put(f"id: tagged\ntags: {{{own}}}\nnodes:\n  a: {{transform: 1}}\n")
    fitting = {f"s{n}": "y" for n in range(12)} | {"f0": "other"}
    record = await bench.ended(await bench.start("tagged", tags=fitting))
    assert record.status is ExecutionStatus.COMPLETED
    with pytest.raises(InvalidRequest, match="33 tags") as caught:
        await bench.start("tagged", tags={f"s{n}": "y" for n in range(13)})
    assert [problem.code for problem in caught.value.problems] == ["out_of_range"]
    refused = {"a:b": "invalid_value", "": "invalid_value", "a\n": "invalid_value", "k" * 64: "out_of_range"}
    for key, code in refused.items():
        with pytest.raises(InvalidRequest) as caught:
            await bench.start("tagged", tags={key: "x"})
        assert [problem.code for problem in caught.value.problems] == [code]
