"""Commits are told while somebody follows; who follows asks, unless he would be told too often."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from perdure.base.clock import SECOND
from perdure.base.manual_clock import ManualClock
from perdure.engine.demand import ASKED_AGAIN, BELIEVED, TOLD_MOST, WINDOW, Attention, Demand


def test_nothing_is_told_until_somebody_asks_and_some_time_after() -> None:
    clock = ManualClock()
    demand = Demand(clock)
    assert demand.told({7: 1}) == {}
    assert demand.asked() == {7: 1}, "it may have crossed with the asking"
    assert demand.told({7: 2}) == {7: 2}
    clock.advance(BELIEVED - 1)
    assert demand.told({7: 3}) == {7: 3}
    clock.advance(1)
    assert demand.told({7: 4}) == {}


def test_nothing_is_told_any_more_once_it_is_enough() -> None:
    demand = Demand(ManualClock())
    demand.asked()
    demand.sated()
    assert demand.told({7: 1}) == {}


def test_what_was_committed_long_before_is_no_news() -> None:
    clock = ManualClock()
    demand = Demand(clock)
    demand.told({7: 1})
    clock.advance(60 * SECOND)
    assert demand.asked() == {}


@given(st.lists(st.one_of(st.just("ask"), st.integers(0, BELIEVED // 2)), max_size=40))
def test_who_asks_in_time_is_told_of_every_commit_after_his_first_question(steps: list[str | int]) -> None:
    """A number: microseconds pass, and something is committed."""
    clock = ManualClock()
    demand = Demand(clock)
    asked_at, n = None, 0
    for step in steps:
        if step == "ask":
            demand.asked()
            asked_at = clock.monotonic()
        else:
            assert isinstance(step, int)
            clock.advance(step)
            n += 1
            expects = asked_at is not None and clock.monotonic() - asked_at < BELIEVED
            assert demand.told({1: n}) == ({1: n} if expects else {})


def test_asking_goes_on_before_the_others_stop_to_believe() -> None:
    assert 3 * ASKED_AGAIN <= BELIEVED


def test_who_is_told_too_often_looks_and_who_looks_in_vain_is_told_again() -> None:
    clock = ManualClock()
    attention = Attention(clock)
    assert not any(attention.told() for _ in range(TOLD_MOST))
    assert attention.told()
    assert attention.looks
    for _ in range(50):
        clock.advance(WINDOW // 50)
        attention.looked(found=True, unhinted=False)
    assert attention.looks
    for _ in range(100):
        clock.advance(WINDOW // 50)
        attention.looked(found=False, unhinted=False)
    assert not attention.looks


def test_hints_of_a_quiet_cluster_are_never_too_many() -> None:
    clock = ManualClock()
    attention = Attention(clock)
    for _ in range(10 * TOLD_MOST):
        clock.advance(2 * WINDOW // TOLD_MOST)
        assert not attention.told()


def test_without_hints_one_find_is_a_reason_to_look_closely_for_a_while() -> None:
    clock = ManualClock()
    attention = Attention(clock)
    attention.looked(found=False, unhinted=True)
    assert not attention.looks
    attention.looked(found=True, unhinted=True)
    assert attention.looks
