"""A process goes by the store's clock as it last heard it, whatever its own says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.base.clock import HOUR, SECOND, SystemClock
from perdure.store.clock import DRIFT, StoreClock

THERE = 1_800_000_000 * SECOND


class Elapsed:
    def __init__(self) -> None:
        self.s = 1_000.0

    def __call__(self) -> float:
        return self.s


def test_until_it_heard_anything_it_shows_this_machines_time() -> None:
    assert abs(StoreClock().now() - SystemClock().now()) < SECOND


def test_it_goes_on_from_what_it_heard() -> None:
    elapsed = Elapsed()
    clock = StoreClock(elapsed)
    clock.heard(THERE, asked_at=999.0, answered_at=999.0)
    assert clock.now() == THERE + SECOND
    elapsed.s += 3_600
    assert clock.now() == THERE + SECOND + HOUR


@given(
    answers=st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.0, 1.0), st.floats(1.0, 100.0)), min_size=1),
    drift=st.floats(-DRIFT / 2, DRIFT / 2),
)
def test_it_is_never_further_off_than_its_best_answer_and_the_drift_since(
    answers: list[tuple[float, float, float]], drift: float
) -> None:
    """However slow answers are, and wherever on the way the store looked at its clock."""
    elapsed = Elapsed()
    clock = StoreClock(elapsed)
    best = float("inf")
    before = elapsed.s

    def there(at: float) -> float:
        return THERE / SECOND + (at - 1_000.0) * (1 + drift)

    for took, when, pause in answers:
        asked_at = elapsed.s + pause
        elapsed.s = asked_at + took
        clock.heard(
            round(there(asked_at + took * when) * SECOND), asked_at=asked_at, answered_at=elapsed.s
        )  # fmt: skip
        best = min(best + DRIFT * (elapsed.s - before), took / 2 + DRIFT * took)
        before = elapsed.s
        assert abs(clock.now() / SECOND - there(elapsed.s)) <= best + 1e-5


@pytest.mark.parametrize("jump_s", [-3600.0, 0.5, 3600.0])
def test_a_clock_that_was_set_is_followed_even_by_a_slow_answer(jump_s: float) -> None:
    elapsed = Elapsed()
    clock = StoreClock(elapsed)
    clock.heard(THERE, asked_at=1_000.0, answered_at=1_000.001)
    elapsed.s = 1_001.0
    clock.heard(THERE + round((1 + jump_s) * SECOND), asked_at=1_000.9, answered_at=1_001.1)
    assert clock.now() == pytest.approx(THERE + (1 + jump_s) * SECOND, abs=SECOND / 10)


async def test_alarms_ring_when_the_stores_clock_shows_their_time() -> None:
    elapsed = Elapsed()
    clock = StoreClock(elapsed)
    clock.heard(THERE, asked_at=elapsed.s, answered_at=elapsed.s)
    rung = asyncio.Event()
    loop = asyncio.get_running_loop()
    far = loop.time() + 3_600
    handle: Any = clock.call_at(THERE + HOUR, rung.set)
    assert handle.when() == pytest.approx(far, abs=60)
    handle.cancel()
    clock.call_at(THERE - HOUR, rung.set)
    async with asyncio.timeout(20):
        await rung.wait()
