"""Whole lives of random executions: whatever happens, what was promised holds."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.model.decide import attempt, graph, stop, wait
from perdure.model.failure import Failure
from perdure.model.states import ExecutionStatus
from tests.model.oracle import expect
from tests.model.promises import check_end
from tests.model.scenario import Scenario, random_scenario
from tests.model.simulation import World

lives = st.integers(0, 2**48).map(Random)
"""A life by its number: fast, so that many can be looked at."""
chance = st.randoms(use_true_random=False)
"""A life whose every turn hypothesis draws, and can make simpler."""


def live(rng: Random, scenario: Scenario, *, crashes: int = 0, cancels: int = 0, pauses: int = 0) -> World:
    """From the start to the end, with as many crashes, cancellations and pauses on the way at most."""
    world = World(scenario)
    while not world.ended and (crashes or cancels or pauses):
        fate = rng.randrange(16)
        if pauses and not world.ledger.paused and rng.random() < 0.15:
            pauses -= 1
            world.pause()
            continue
        if fate == 0 and crashes and world.owner is not None:
            crashes -= 1
            world.crash(committed=rng.random() < 0.5)
        elif fate == 1 and cancels:
            cancels -= 1
            world.cancel(force=rng.random() < 0.3)
        elif fate in (2, 3):
            crashes, cancels = max(crashes - 1, 0), cancels - (cancels > 0 and crashes == 0)
        else:
            world.step(rng)
    world.settle(rng)
    return world


def check_life(rng: Random) -> None:
    scenario = random_scenario(rng)
    pauses = rng.choice([0, 0, 1, 3])
    world = live(rng, scenario, crashes=rng.randint(0, 5), cancels=rng.randint(0, 2), pauses=pauses)
    check_end(world.ledger, scenario, forced=world.ledger.forced)


@settings(max_examples=2_000)
@given(lives)
def test_every_execution_ends_once_with_every_promise_kept(rng: Random) -> None:
    check_life(rng)


@settings(max_examples=40)
@given(chance)
def test_every_execution_ends_once_in_the_simplest_lives_too(rng: Random) -> None:
    check_life(rng)


@settings(max_examples=700)
@given(lives)
def test_an_undisturbed_execution_comes_to_what_the_rules_say(rng: Random) -> None:
    comes_to_what_is_expected(live(rng, random_scenario(rng, stable=True)))


@settings(max_examples=700)
@given(lives)
def test_crashes_change_nothing_of_what_it_comes_to(rng: Random) -> None:
    comes_to_what_is_expected(live(rng, random_scenario(rng, stable=True), crashes=rng.randint(1, 8)))


@settings(max_examples=500)
@given(lives)
def test_pauses_change_nothing_of_what_it_comes_to(rng: Random) -> None:
    scenario = random_scenario(rng, stable=True)
    comes_to_what_is_expected(live(rng, scenario, crashes=rng.randint(0, 3), pauses=rng.randint(1, 6)))


def comes_to_what_is_expected(world: World) -> None:
    expected, state = expect(world.scenario), world.ended_state
    assert state is not None
    assert world.ledger.status is expected.status, expected
    assert {name: node.outcome for name, node in state.nodes.items()} == expected.outcomes
    assert {name: node.output for name, node in state.nodes.items()} == expected.outputs
    if expected.unhandled:
        assert state.error is not None
        assert state.error.node in expected.unhandled
    check_end(world.ledger, world.scenario, forced=False)


@settings(max_examples=200)
@given(lives)
def test_nothing_changes_after_the_end(rng: Random) -> None:
    scenario = random_scenario(rng)
    state = live(rng, scenario, cancels=rng.randint(0, 1)).ended_state
    assert state is not None
    state.take_changes()
    before, failure, now = state.status, Failure(code="late", message="too late"), 10**12
    runs = [run for node in state.nodes.values() for run in node.runs.values()]
    for run in runs:
        assert attempt.succeeded(state, run, "late", now) == []
        assert attempt.failed(state, run, failure, now) == []
        assert attempt.begin(state, run, now) == []
        assert wait.woken(state, run, now) == []
        assert wait.suspended(state, run, "timer", now) == []
        assert wait.child_ended(state, run, ExecutionStatus.COMPLETED, now) == []
    for node_id in state.nodes:
        assert graph.prepared(state, node_id, now, items=None) == []
        assert graph.condition_false(state, node_id, now) == []
        assert graph.refused(state, node_id, failure, now) == []
    assert graph.output_known(state, "late", now) == []
    assert graph.output_refused(state, failure, now) == []
    assert stop.cancelled(state, now, force=True) == []
    assert stop.deadline_passed(state, now) == []
    assert stop.cleanup_ended(state, now) == []
    assert not wait.rest(state, now)
    assert state.status is before
    assert not state.changes
