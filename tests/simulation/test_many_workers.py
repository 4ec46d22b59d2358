"""Ten thousand workers, simulated with the engine's own constants: what they cost, and what they survive."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.references.regions import part
from scripts.scale import scenarios
from scripts.scale.cluster import Cluster
from scripts.scale.database import Costs
from scripts.scale.hints import COMMITS, traffic
from scripts.scale.rhythm import Rhythm
from scripts.scale.tables import OUTAGES_S, PARTS, SIMULATED

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "scale.md").read_text(encoding="utf-8")
CORES = 16
LEASE_S = Rhythm().lease


@pytest.mark.parametrize("name", SIMULATED)
def test_the_page_shows_what_is_simulated_now(name: str) -> None:
    """A change of a constant of the engine changes it."""
    assert part(PAGE, name) == SIMULATED[name](), "run make docs"


def test_ten_thousand_idle_workers_are_a_small_part_of_one_database() -> None:
    seen = scenarios.idle()
    assert seen.by_kind["heartbeats"] * Costs().beat < 0.05 * CORES
    assert seen.cores < 0.15 * CORES


def test_work_finds_one_of_ten_thousand_idle_workers_at_once_and_without_a_herd() -> None:
    load, waits = scenarios.herd()
    assert waits.half < 0.02
    assert waits.most < 0.1
    assert load.cores < 0.5 * CORES


@pytest.mark.parametrize("hinted", [True, False])
def test_a_thousand_idle_workers_leave_the_database_to_those_who_work(hinted: bool) -> None:
    seen = scenarios.idle(workers=1_000, hinted=hinted)
    assert seen.cores < 0.1 * CORES
    assert seen.beat_p99 < 0.1


@pytest.mark.parametrize("dead", PARTS)
def test_what_the_dead_owned_goes_on_within_seconds_of_the_lease(dead: float) -> None:
    seen = scenarios.deaths(dead)
    assert seen.all < LEASE_S + (3 if dead <= 0.5 else 15)
    assert seen.fenced == 0, "the living notice nothing"


@pytest.mark.parametrize("followers", [0, 1, 4])
def test_what_a_hundred_busy_workers_tell_does_not_grow_with_their_square(followers: int) -> None:
    seen = traffic(workers=100, followers=followers)
    if not followers:
        assert seen.first.sent == seen.later.sent == 0
        return
    assert seen.first.sent < 100 * COMMITS / 100
    assert seen.later.sent < 1
    for told in seen:
        assert told.half < 0.02
        assert told.most < 0.05


def test_few_busy_workers_tell_and_nobody_looks() -> None:
    seen = traffic(workers=2, followers=1).later
    assert 0 < seen.sent <= 2 * COMMITS
    assert seen.looks < 1
    assert seen.half < 0.01


def test_ten_thousand_come_back_from_an_outage() -> None:
    seen = scenarios.outage(10.0, workers=10_000)
    assert seen.doubled == 0
    assert seen.all_running < LEASE_S


@pytest.mark.parametrize("away", OUTAGES_S)
def test_after_an_outage_all_goes_on_and_nothing_was_held_by_two(away: float) -> None:
    seen = scenarios.outage(away)
    assert seen.doubled == 0
    assert seen.all_running < LEASE_S
    # Nobody gives up who may still be heard of within two thirds of the lease.
    if away < Rhythm().fence - Rhythm().beat - Rhythm().after_error:
        assert seen.let_go == 0


def test_a_flood_of_one_workspace_delays_itself() -> None:
    flood, others = scenarios.fairness()
    assert others.half < 0.1
    assert others.most < flood.half / 2


@settings(max_examples=25, deadline=None)
@given(
    workers=st.integers(2, 60),
    cores=st.integers(1, 4),
    away=st.floats(0.1, 40.0),
    again=st.floats(0.5, 20.0),
    slowness=st.sampled_from([1.0, 100.0, 2_000.0]),
    hinted=st.booleans(),
    seed=st.integers(0, 1_000),
)
def test_no_two_ever_hold_one_execution(
    workers: int, cores: int, away: float, again: float, slowness: float, hinted: bool, seed: int
) -> None:
    """Whatever the database does: away, slow, away again. Whoever is given up has let go before."""
    costs = Costs(*(cost * slowness for cost in Costs()))
    cluster = Cluster(workers=workers, owned=2, cores=cores, costs=costs, hinted=hinted, seed=seed)
    cluster.timeline.run(4.0)
    cluster.workers[0].die()
    for seconds in (away, again):
        cluster.database.go_away(seconds)
        cluster.timeline.run(cluster.timeline.now + seconds + 12.0)
    assert cluster.doubled == 0
