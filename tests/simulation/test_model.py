"""The written model says what a real PostgreSQL counts."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from scripts.scale.measure import CHAIN, ONE_STEP, SETTINGS, STEPS, House, Measured, house
from scripts.scale.model import PER_BATCH, predicted
from tests.postgres_server import Postgres

TOLERANCE = 0.05
LOOPS_TOO = frozenset({"workers_alive", "writer_mark"})
LOOKS = frozenset({"counter_deltas_sum", "queue_lines", "timers_next", "workers_stale", "feed_stale"})
"""One of these is in each transaction of a loop."""
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
        assert seen.statements[name].calls / EXECUTIONS == pytest.approx(model.calls[name], rel=TOLERANCE), name
        assert seen.statements[name].rows / EXECUTIONS == pytest.approx(model.rows[name], rel=TOLERANCE), name
    # On a slow machine the loops, which go by time, make themselves felt.
    looks = sum(seen.statements[name].calls for name in LOOKS & seen.statements.keys()) / EXECUTIONS
    for counted, expected in ((seen.transactions, model.transactions), (seen.round_trips, model.round_trips)):
        assert expected * (1 - TOLERANCE) <= counted / EXECUTIONS <= expected * (1 + TOLERANCE) + 3 * looks
    assert named(seen) <= model.calls.keys() | APART | LOOKS | {"timers_due"}, (
        "a statement that the model does not know"
    )


@pytest.mark.parametrize(("flow", "steps"), [(ONE_STEP, 1), (CHAIN, STEPS)])
async def test_with_others_rows_add_up_and_calls_are_shared(own: House, flow: str, steps: int) -> None:
    seen = await own.run(flow, executions=EXECUTIONS, in_flight=IN_FLIGHT)
    model = predicted(steps)
    for name, rows in model.rows.items():
        if name not in PER_BATCH | LOOPS_TOO and name != "counter_deltas_put":
            assert seen.statements[name].rows / EXECUTIONS == pytest.approx(rows, rel=TOLERANCE), name
        assert (
            seen.statements[name].calls <= seen.statements["BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"].calls
        ), name
    assert seen.transactions < EXECUTIONS * model.transactions / 4


APART = frozenset({"feed_after", "feed_end", "notify"})
"""What goes over other connections: hints, and the looks of those who wait for an end."""


def named(seen: Measured) -> set[str]:
    """Statements that every execution makes; what loops make now and then is left out."""
    return {name for name, one in seen.statements.items() if name.islower() and one.calls > EXECUTIONS / 2}
