"""Migrations: old data goes through, any number of processes may bring them, a crash leaves nothing, misfits are refused."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from perdure.errors import StoreIncompatible, StoreUnavailable
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.faults import EXIT_CODE
from perdure.store.interface import Batch, Lost
from perdure.store.postgres import connection as connection_settings
from perdure.store.postgres.connection import MIGRATING, Connection, connect
from perdure.store.postgres.migrate import Migration, bring_up, migrate, migrations, pending
from perdure.store.postgres.store import PostgresStore
from perdure.store.postgres.url import Address, parse_url
from perdure.store.sqlite.connection import open_writer
from perdure.store.sqlite.migrate import migrate as migrate_sqlite
from perdure.store.sqlite.migrate import migrations as sqlite_migrations
from tests.store.databases import new_schema_url, opened
from tests.store.portal import Ported, call
from tests.store.programs import run_program
from tests.store.world import World

ID = b"\x01" * 16
NEWEST = len(migrations())
OURS_ALONE = {
    "schema_migrations", "writers", "blob_contents", "blob_chunks",
    "search_holder", "search_parts", "search_segments", "search_state", "search_tail",
}  # fmt: skip
"""SQLite has the search's tables in a file of their own."""


class Place:
    """A schema of its own, and a connection to look at it."""

    def __init__(self, url: str, address: Address, connection: Connection) -> None:
        self.url = url
        self.address = address
        self.connection = connection

    async def columns(self) -> dict[str, set[str]]:
        """Of each table, without the partitions."""
        rows = await self.connection.fetch(
            "SELECT c.relname, a.attname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid "
            "WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p') AND NOT c.relispartition "
            "AND a.attnum > 0 AND NOT a.attisdropped",
            self.address.schema,
        )
        found: dict[str, set[str]] = {}
        for table, column in rows:
            found.setdefault(table, set()).add(column)
        return found


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    url = new_schema_url()
    address = parse_url(url)
    connection = await connect(address, MIGRATING, name="perdure test")
    yield Place(url, address, connection)
    connection.terminate()


async def test_an_empty_database_is_made_by_whoever_comes_first(place: Place) -> None:
    """Several at once, and none of them fails."""
    assert len(await pending(place.url)) == NEWEST
    async with AsyncExitStack() as stack:
        stores = await asyncio.gather(*[stack.enter_async_context(opened(place.url)) for _ in range(4)])
        assert len({store._writer.number for store in stores}) == 4
        for store in stores:
            await store.write(Batch(advances=[], commands=[]))
    assert await pending(place.url) == []
    assert await migrate(place.url) == 0


@pytest.mark.parametrize("version", range(1, NEWEST + 1))
async def test_data_of_an_old_version_goes_through_all_later_ones(place: Place, version: int) -> None:
    assert await bring_up(place.address, migrations()[:version]) == version
    await place.connection.execute(
        "INSERT INTO executions (id, workspace, namespace, flow, flow_version, status, priority, queue, tags, "
        "trigger_kind, root, depth, max_recoveries, epoch, last_seq, has_cleanup, created_at, updated_at) "
        "VALUES ($1, 'default', 'a', 'a/b', 1, 'suspended', 5, 'default', '{}', 'api', $1, 0, 5, 1, 0, 0, 1, 1)",
        ID,
    )
    await place.connection.execute("INSERT INTO payloads (execution_id, input, input_size) VALUES ($1, '{}', 2)", ID)
    if version < NEWEST:
        with pytest.raises(StoreIncompatible, match="perdure store migrate"):
            await PostgresStore.open(place.url)
        assert await pending(place.url) == [f"{one.number:04}_{one.name}" for one in migrations()[version:]]
        assert await migrate(place.url) == NEWEST - version
    store: Any = Ported(call(PostgresStore.open, place.url))
    record = await store.executions.get("default", ID)
    assert record.status == ExecutionStatus.SUSPENDED
    assert (await store.info())["schema_version"] == NEWEST
    world = World(store)
    world.send(record.id)
    assert [claimed.record.id for claimed in world.claim()] == [record.id]
    await store.close()


async def test_counts_of_an_old_store_are_summed(place: Place) -> None:
    await bring_up(place.address, migrations()[:10])
    await place.connection.execute(
        "INSERT INTO hours (workspace, status, trigger_kind, hour, count) VALUES "
        "('a', 'completed', 'api', 7, 3), ('a', 'failed', 'api', 7, 2), ('a', 'failed', 'cli', 8, 1), ('b', 'failed', 'api', 7, 5)"
    )
    await place.connection.execute(
        "INSERT INTO durations (workspace, grain, flow, period, status, trigger_kind, bucket, count) VALUES "
        "('a', 'day', '', 1, 'completed', 'api', 70, 3), ('a', 'day', '', 1, 'failed', 'api', 9, 2), "
        "('a', 'day', '', 1, 'failed', 'cli', 70, 1), ('a', 'all', 'x/y', 0, 'failed', 'api', 5, 1)"
    )
    await migrate(place.url)
    found = await place.connection.fetch("SELECT grain, flow, period, histogram FROM duration_totals ORDER BY 1")
    assert [tuple(row) for row in found] == [("all", "x/y", 0, "[5,1]"), ("day", "", 1, "[9,2,70,4]")]
    found = await place.connection.fetch("SELECT workspace, hour, count FROM hour_totals ORDER BY 1, 2")
    assert [tuple(row) for row in found] == [("a", 7, 5), ("a", 8, 1), ("b", 7, 5)]


async def test_both_databases_have_the_same_tables_and_columns(place: Place, tmp_path: Path) -> None:
    await migrate(place.url)
    ours = await place.columns()
    sqlite = open_writer(tmp_path / "perdure.db")
    migrate_sqlite(sqlite, tmp_path / "perdure.db", sqlite_migrations())
    theirs: dict[str, set[str]] = {}
    for (table,) in sqlite.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"):
        theirs[table] = {row[1] for row in sqlite.execute(f"PRAGMA table_info({table})")}
    assert {table: columns for table, columns in ours.items() if table not in OURS_ALONE} == theirs


async def test_the_tables_know_exactly_the_states_of_the_model(place: Place) -> None:
    await migrate(place.url)
    for table, states in (("executions", ExecutionStatus), ("node_runs", NodeStatus)):
        rows = await place.connection.fetch(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = to_regclass($1) AND contype = 'c'",
            table,
        )
        (listed,) = [row[0] for row in rows if row[0].startswith("CHECK ((status = ANY")]
        assert re.findall(r"'(\w+)'::text", listed) == [state.value for state in states]


async def test_every_text_compares_byte_by_byte(place: Place) -> None:
    await migrate(place.url)
    rows = await place.connection.fetch(
        "SELECT c.relname, a.attname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid "
        "JOIN pg_collation AS o ON o.oid = a.attcollation WHERE c.relnamespace = to_regnamespace($1) "
        "AND c.relkind IN ('r', 'p') AND c.relname <> 'schema_migrations' AND o.collname <> 'C'",
        place.address.schema,
    )
    assert [tuple(row) for row in rows] == []


async def test_a_failing_migration_leaves_nothing(place: Place) -> None:
    known = migrations()
    broken = Migration(NEWEST + 1, "broken", "CREATE TABLE half (a bigint); INSERT INTO nowhere VALUES (1);")
    with pytest.raises(asyncpg.UndefinedTableError):
        await bring_up(place.address, [*known, broken])
    assert await pending(place.url) == []
    assert "half" not in await place.columns()


@pytest.mark.parametrize("killed_at", range(1, NEWEST + 1))
async def test_a_killed_migration_begins_anew(place: Place, killed_at: int) -> None:
    program = (
        "import asyncio, sys\nfrom perdure.store.postgres.store import PostgresStore\n"
        "asyncio.run(PostgresStore.open(sys.argv[1]))"
    )
    died = run_program(program, place.url, fault=f"migration:{killed_at}")
    assert died.returncode == EXIT_CODE, died.stderr
    async with opened(place.url) as store:
        await store.write(Batch(advances=[], commands=[]))


def newer(*, usable_since: int) -> Migration:
    """What the perdure after this one brings."""
    return Migration(NEWEST + 1, "newer", f"-- usable since schema: {usable_since}\nCREATE TABLE novelty (a bigint);")


async def test_a_newer_schema_that_this_program_can_use_is_used(place: Place) -> None:
    await bring_up(place.address, [*migrations(), newer(usable_since=NEWEST)])
    async with opened(place.url) as store:
        await store.write(Batch(advances=[], commands=[]))
    assert await migrate(place.url) == 0


async def test_a_newer_schema_that_it_cannot_use_is_refused(place: Place) -> None:
    await bring_up(place.address, [*migrations(), newer(usable_since=NEWEST + 1)])
    for opening in (PostgresStore.open, migrate, pending):
        with pytest.raises(StoreIncompatible, match=f"schema {NEWEST + 1}, made by perdure"):
            await opening(place.url)


async def test_a_program_that_runs_is_stopped_by_a_schema_that_it_cannot_use(place: Place) -> None:
    """Its next write finds that its session has ended; then it looks, and is told why."""
    store: Any = Ported(call(PostgresStore.open, place.url))
    world = World(store)
    started = world.started()
    await bring_up(place.address, [*migrations(), newer(usable_since=NEWEST)])
    assert world.advance(started, ExecutionStatus.RUNNING) != Lost()
    harmful = newer(usable_since=NEWEST + 2)._replace(number=NEWEST + 2, name="harmful")
    await bring_up(place.address, [*migrations(), newer(usable_since=NEWEST), _creating(harmful, "harm")])
    with pytest.raises(StoreUnavailable):
        world.advance(started, ExecutionStatus.RUNNING)
    with pytest.raises(StoreIncompatible, match="made by perdure"):
        world.advance(started, ExecutionStatus.RUNNING)
    assert (await world.get(started.id)).last_seq == 2
    await store.close()


def _creating(migration: Migration, table: str) -> Migration:
    return migration._replace(sql=migration.sql.replace("novelty", table))


async def test_tables_of_another_program_are_left_alone(place: Place) -> None:
    await place.connection.execute(f"CREATE SCHEMA {place.address.schema}; CREATE TABLE executions (theirs text)")
    with pytest.raises(StoreIncompatible, match="another program"):
        await PostgresStore.open(place.url)
    assert (await place.columns())["executions"] == {"theirs"}


async def test_a_server_that_is_too_old_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_settings, "OLDEST_SERVER", 99)
    with pytest.raises(StoreIncompatible, match="needs 99 or newer"):
        await PostgresStore.open(place.url)
