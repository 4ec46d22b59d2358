"""How rules of retention are written, and which one an execution falls under."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.base.clock import DAY, HOUR
from perdure.base.manual_clock import ManualClock
from perdure.engine.engine import Engine
from perdure.engine.loops.loop import Loop
from perdure.engine.retention import Retention, parse_retention
from perdure.model.states import TERMINAL
from perdure.store.interface import ExecutionFilter
from tests.engine.opened import WORKSPACE, Bench, Opener

NAMES = st.sampled_from(["billing", "a.b", "reports"])
STATUSES = st.sampled_from(sorted(status.value for status in TERMINAL))
SPANS = st.one_of(st.none(), st.integers(0, 3650 * DAY))
KEYS = st.one_of(
    st.tuples(NAMES, STATUSES), st.tuples(NAMES, st.none()), st.tuples(st.none(), STATUSES), st.just((None, None))
)


def test_without_rules_everything_is_kept_for_thirty_days() -> None:
    assert Retention() == parse_retention("30d")
    assert Retention().kept("billing", "failed") == 30 * DAY


@pytest.mark.parametrize(
    "written",
    [
        "20d,failed=90d,billing=7d,billing/failed=forever",
        {"default": "20d", "failed": "90d", "billing": {"default": "7d", "failed": "forever"}},
    ],
)
def test_the_rule_that_says_most_is_the_one_that_holds(written: object) -> None:
    retention = parse_retention(written)
    assert retention.kept("billing", "failed") is None
    assert retention.kept("billing", "completed") == 7 * DAY
    assert retention.kept("reports", "failed") == 90 * DAY
    assert retention.kept("reports", "completed") == 20 * DAY
    assert retention.spans == [7 * DAY, 20 * DAY, 90 * DAY]


def test_what_is_kept_for_ever_is_never_looked_at() -> None:
    assert parse_retention("forever").spans == []


@pytest.mark.parametrize(
    "written",
    [
        "", "30", "failed=", "billing/running=3d", "30 d", True, {"billing": {"done": "3d"}},
        "30d,Billing=7d", "30d,=7d", "30d,/failed=7d", "30d,a b=7d", {"a/b": "7d"}, {"A": {"failed": "7d"}},
        "30d,failed=7d,failed=90d", "30d,7d",
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_retention(written)


@given(st.dictionaries(KEYS, SPANS))
def test_rules_are_written_as_they_are_read(rules: dict[tuple[str | None, str | None], int | None]) -> None:
    retention = Retention({(None, None): 30 * DAY} | rules)
    assert parse_retention(str(retention)) == retention
    assert all(retention.kept(name, status) == span for (name, status), span in rules.items() if name and status)


def expirer(engine: Engine) -> Loop:
    return next(loop for loop in engine.loops if loop.name == "expirer")


async def left(bench: Bench) -> set[bytes]:
    found = {one.id for one in await bench.engine.store.executions.passed(bytes(16), b"\xff" * 16, 1_000)}
    assert await bench.engine.store.executions.count(WORKSPACE, ExecutionFilter()) == len(found)
    return found


async def test_what_has_ended_goes_when_its_time_is_over(open_bench: Opener) -> None:
    clock = ManualClock()
    bench = await open_bench(clock, retention=parse_retention("10d,failed=forever,short=1d"))
    await bench.put("id: nap\nnodes:\n  nap: {sleep: 12d}\n")
    await bench.put("id: done\nnodes:\n  add: {transform: '${1 + 1}'}\n")
    await bench.put("id: short/done\nnodes:\n  add: {transform: '${1 + 1}'}\n")
    await bench.put("id: bad\nnodes:\n  end: {fail: {message: no}}\n")
    nap = await bench.start("nap")
    done, bad, short = [(await bench.run(flow)).id for flow in ("done", "bad", "short/done")]
    loop = expirer(bench.engine)
    await loop.turn()
    assert await left(bench) == {nap, done, bad, short}
    clock.advance(DAY + HOUR)
    await loop.turn()
    assert await left(bench) == {nap, done, bad}
    clock.advance(10 * DAY)
    await loop.turn()
    assert await left(bench) == {nap, bad}
    await bench.ended(nap)
    clock.advance(9 * DAY)
    await loop.turn()
    assert await left(bench) == {nap, bad}
    clock.advance(2 * DAY)
    await loop.turn()
    assert await left(bench) == {bad}


async def test_more_than_a_page_goes_in_one_turn(open_bench: Opener) -> None:
    clock = ManualClock()
    bench = await open_bench(clock, retention=parse_retention("1h"))
    await bench.put("id: many\nnodes:\n  all: {flow: one, foreach: '${[1, 2, 3, 4, 5, 6, 7, 8, 9]}'}\n")
    await bench.put("id: one\nnodes:\n  add: {transform: '${1 + 1}'}\n")
    for _ in range(20):
        await bench.run("many")
    clock.advance(2 * HOUR)
    await expirer(bench.engine).turn()
    assert await left(bench) == set()


async def test_an_engine_that_runs_one_flow_deletes_nothing(open_bench: Opener) -> None:
    bench = await open_bench(claim=False)
    assert "expirer" not in {loop.name for loop in bench.engine.loops}
