"""The written model says what a real PostgreSQL counts."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from perdure.store.postgres.runner import Statements
from perdure.store.statements import library
from scripts.scale.measure import CHAIN, ONE_STEP, SETTINGS, STEPS, House, Measured, house
from scripts.scale.model import PER_BATCH, READS, Predicted, predicted
from tests.postgres_server import Postgres

TOLERANCE = 0.05
LOOPS_TOO = frozenset({"workers_alive", "writer_mark"})
LOOKS = frozenset({"counter_deltas_sum", "queue_lines", "timers_next", "workers_stale", "feed_stale"})
"""One of these is in each transaction of a loop."""
FOLDED = frozenset({"counter_deltas"})
"""A loop drops its rows again."""
TRAITS = Statements(library("postgres")).traits
EXECUTIONS = 60
IN_FLIGHT = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    started = Postgres(tmp_path_factory.mktemp("server")).start(fsync=False, **SETTINGS)
    yield started
    started.stop()


@pytest.fixture
async def own(server: Postgres, tmp_path: Path) -> AsyncIterator[House]:
    async with house(server.url(), tmp_path) as made:
        for flow in (ONE_STEP, CHAIN):
            await made.finish(flow)
        yield made


@pytest.mark.parametrize(("flow", "steps"), [(ONE_STEP, 1), (CHAIN, STEPS)])
async def test_an_execution_alone_makes_the_calls_and_rows_of_the_model(own: House, flow: str, steps: int) -> None:
    seen = await own.run(flow, executions=EXECUTIONS, in_flight=1)
    model = predicted(steps)
    for name in model.calls.keys() - LOOPS_TOO:
        assert seen.calls[name] / EXECUTIONS == pytest.approx(model.calls[name], rel=TOLERANCE), name
    assert_rows(seen, model)
    # On a slow machine the loops, which go by time, make themselves felt.
    looks = sum(seen.calls[name] for name in LOOKS & seen.calls.keys()) / EXECUTIONS
    for counted, expected in ((seen.transactions, model.transactions), (seen.round_trips, model.round_trips)):
        assert expected * (1 - TOLERANCE) <= counted / EXECUTIONS <= expected * (1 + TOLERANCE) + 3 * looks
    assert named(seen) <= model.calls.keys() | APART | LOOKS | {"timers_due"}, (
        "a statement that the model does not know"
    )


@pytest.mark.parametrize(("flow", "steps"), [(ONE_STEP, 1), (CHAIN, STEPS)])
async def test_with_others_rows_add_up_and_calls_are_shared(own: House, flow: str, steps: int) -> None:
    seen = await own.run(flow, executions=EXECUTIONS, in_flight=IN_FLIGHT)
    model = predicted(steps)
    assert_rows(seen, model, apart=PER_BATCH | {"counter_deltas_put"})
    for name in model.calls.keys() - LOOPS_TOO:
        assert seen.calls[name] <= seen.calls["BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"], name
    assert seen.transactions < EXECUTIONS * model.transactions / 4


APART = frozenset({"feed_after", "feed_end", "notify"})
"""What goes over other connections: hints, and the looks of those who wait for an end."""


def named(seen: Measured) -> set[str]:
    """Statements that every execution makes; what loops make now and then is left out."""
    return {name for name, calls in seen.calls.items() if name.islower() and calls > EXECUTIONS / 2}


def assert_rows(seen: Measured, model: Predicted, *, apart: frozenset[str] = frozenset()) -> None:
    """What was written to each table, but for those of the statements `apart` and of loops."""
    rows: dict[str, int] = {}
    for name in model.rows.keys() - apart - LOOPS_TOO - READS:
        for table in TRAITS[name].written:
            rows[table] = rows.get(table, 0) + model.rows[name]
    assert {"executions", "payloads", "node_runs", "events"} <= rows.keys()
    for table in rows.keys() - FOLDED:
        assert seen.written[table] / EXECUTIONS == pytest.approx(rows[table], rel=TOLERANCE), table
