"""The benches on PostgreSQL: they make stores of their own, and leave everything else alone."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import uvloop

from perdure.bench.figures import Figure, Unit
from perdure.bench.main import measure
from perdure.errors import InvalidSettings
from perdure.store.postgres.probes import PREFIX, open_postgres_probes
from perdure.store.postgres.store import PostgresStore
from perdure.store.probes import open_probes
from tests.bench.test_whole_run import TINY
from tests.postgres_server import Postgres
from tests.store.databases import server

SCHEMAS = f"SELECT nspname FROM pg_namespace WHERE nspname LIKE '{PREFIX}%'"
# After a kill, nobody goes on before the lease has run out: that is too long for a test of the bench.
NAMES = ("one-step", "chain", "history", "events-shared", "subscribers", "workers", "backup")


@pytest.fixture
def database() -> Iterator[tuple[Postgres, str]]:
    """A server and the name of a new database in it."""
    made, name = server(), f"bench_{time.monotonic_ns()}"
    made.run(f"CREATE DATABASE {name}")
    yield made, name
    made.run(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_benches_measure_on_postgresql_and_leave_nothing(
    database: tuple[Postgres, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    postgres, name = database
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(measure(NAMES, store=postgres.url(name), sizes=TINY, home=tmp_path))

    assert report.failures == []
    found = {figure.name: figure for figure in report.figures}
    assert len(found) >= len(NAMES)
    assert_tells_of_the_database(found["steps of ten-step chains, in process"], "step")
    assert_tells_of_the_database(found["one-step executions, in process"], "execution")
    assert found["two workers, of one worker's total"].unit is Unit.TIMES
    assert report.machine.database.startswith("PostgreSQL ")
    assert "fsync off" in report.machine.database
    assert postgres.run(SCHEMAS, name) == ""
    assert list(tmp_path.iterdir()) == []
    assert "postgres@" not in "".join(capfd.readouterr())


def assert_tells_of_the_database(figure: Figure, what: str) -> None:
    details = figure.details
    assert 1 <= details["batch_p50"] <= details["batch_max"]
    assert details[f"transactions_per_{what}"] >= details[f"batches_per_{what}"] > 0
    # At the least an execution's or a node run's row, and that of its events.
    assert details[f"rows_per_{what}"] > 2
    assert details[f"wal_bytes_per_{what}"] > 100
    assert figure.raw is not None


async def test_what_a_session_did_within_a_second_is_counted_too(database: tuple[Postgres, str]) -> None:
    """It tells at the end of a command, a second after the last time at the earliest."""
    postgres, name = database
    session = await asyncpg.connect(postgres.url(name))
    await session.execute("CREATE TABLE told (n int)")

    async def write() -> None:
        await session.execute("INSERT INTO told VALUES (1)")

    async with open_postgres_probes(postgres.url(name)) as probes:
        before = await probes.activity(write)
        for _ in range(10):
            await write()
        done = (await probes.activity(write)).since(before)
    await session.close()

    assert done.rows_inserted == 11
    assert done.transactions >= 11


async def test_a_database_with_a_store_is_left_alone(database: tuple[Postgres, str], tmp_path: Path) -> None:
    postgres, name = database
    store = await PostgresStore.open(postgres.url(name, query="schema=ours"))
    await store.close()

    with pytest.raises(InvalidSettings, match="schema ours"):
        async with open_probes(postgres.url(name), tmp_path):
            raise AssertionError


async def test_what_a_killed_run_left_is_dropped_a_day_later(database: tuple[Postgres, str]) -> None:
    postgres, name = database
    now_s = int(time.time())
    old, young = f"{PREFIX}{now_s - 90_000}_a", f"{PREFIX}{now_s - 80_000}_b"
    for schema in (old, young):
        postgres.run(f"CREATE SCHEMA {schema}", name)

    async with open_postgres_probes(postgres.url(name)):
        assert postgres.run(SCHEMAS, name) == young
