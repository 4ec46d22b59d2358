"""Migrations: old data goes through, twice is as good as once, and a crash in the middle leaves nothing."""

import re
from pathlib import Path

import apsw
import pytest

from perdure.errors import StoreIncompatible
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.faults import EXIT_CODE
from perdure.store.interface import Batch
from perdure.store.sqlite.connection import APPLICATION_ID, open_writer, refuse_unsafe_library
from perdure.store.sqlite.migrate import Migration, migrate, migrations, schema_version
from perdure.store.sqlite.store import SqliteStore
from tests.store.programs import run_program
from tests.store.world import World


def tables(connection: apsw.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'"))


@pytest.mark.parametrize("version", range(1, len(migrations()) + 1))
async def test_data_of_an_old_version_goes_through_all_later_ones(tmp_path: Path, version: int) -> None:
    path = tmp_path / "perdure.db"
    old = open_writer(path)
    migrate(old, path, migrations()[:version])
    assert schema_version(old) == version
    old.execute(
        "INSERT INTO executions (id, workspace, namespace, flow, flow_version, status, priority, queue, tags, "
        "trigger_kind, root, depth, max_recoveries, epoch, last_seq, has_cleanup, created_at, updated_at) "
        "VALUES (:id, 'default', 'a', 'a/b', 1, 'suspended', 5, 'default', '{}', 'api', :id, 0, 5, 1, 0, 0, 1, 1)",
        {"id": b"\x01" * 16},
    )
    old.execute("INSERT INTO payloads (execution_id, input, input_size) VALUES (?, '{}', 2)", (b"\x01" * 16,))
    old.close()
    store = SqliteStore(path)
    record = await store.executions.get("default", b"\x01" * 16)
    assert record is not None
    assert record.status == ExecutionStatus.SUSPENDED
    assert (await store.info())["schema_version"] == len(migrations())
    world = World(store)
    world.send(record.id)
    assert [claimed.record.id for claimed in world.claim()] == [record.id]
    await store.close()


def test_counts_of_an_old_store_are_summed(tmp_path: Path) -> None:
    path = tmp_path / "perdure.db"
    connection = open_writer(path)
    migrate(connection, path, migrations()[:11])
    connection.execute(
        "INSERT INTO hours (workspace, status, trigger_kind, hour, count) VALUES "
        "('a', 'completed', 'api', 7, 3), ('a', 'failed', 'api', 7, 2), ('a', 'failed', 'cli', 8, 1), ('b', 'failed', 'api', 7, 5)"
    )
    connection.execute(
        "INSERT INTO durations (workspace, grain, flow, period, status, trigger_kind, bucket, count) VALUES "
        "('a', 'day', '', 1, 'completed', 'api', 70, 3), ('a', 'day', '', 1, 'failed', 'api', 9, 2), "
        "('a', 'day', '', 1, 'failed', 'cli', 70, 1), ('a', 'all', 'x/y', 0, 'failed', 'api', 5, 1)"
    )
    migrate(connection, path, migrations())
    found = connection.execute("SELECT grain, flow, period, histogram FROM duration_totals ORDER BY 1").fetchall()
    assert found == [("all", "x/y", 0, "[5,1]"), ("day", "", 1, "[9,2,70,4]")]
    found = connection.execute("SELECT workspace, hour, count FROM hour_totals ORDER BY 1, 2").fetchall()
    assert found == [("a", 7, 5), ("a", 8, 1), ("b", 7, 5)]
    connection.close()


def test_all_ways_lead_to_the_same_schema(tmp_path: Path) -> None:
    schemas = []
    for stop in range(1, len(migrations()) + 1):
        path = tmp_path / f"{stop}.db"
        connection = open_writer(path)
        applied = migrate(connection, path, migrations()[:stop])
        connection.close()
        connection = open_writer(path)
        applied += migrate(connection, path, migrations())
        assert applied == len(migrations())
        assert migrate(connection, path, migrations()) == 0
        assert connection.pragma("application_id") == APPLICATION_ID
        schemas.append(tables(connection))
        connection.close()
    assert all(schema == schemas[0] for schema in schemas)


def test_a_failing_migration_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "perdure.db"
    connection = open_writer(path)
    known = migrations()
    broken = Migration(len(known) + 1, "broken", "CREATE TABLE half (a); INSERT INTO nowhere VALUES (1);")
    with pytest.raises(apsw.SQLError):
        migrate(connection, path, [*known, broken])
    assert schema_version(connection) == len(known)
    assert "half" not in tables(connection)
    mended = Migration(len(known) + 1, "mended", "CREATE TABLE whole (a);")
    assert migrate(connection, path, [*known, mended]) == 1
    connection.close()
    with pytest.raises(StoreIncompatible, match="newer"):
        SqliteStore(path)


@pytest.mark.parametrize("killed_at", range(1, len(migrations()) + 1))
async def test_a_killed_migration_begins_anew(tmp_path: Path, killed_at: int) -> None:
    path = tmp_path / "perdure.db"
    program = "import sys, pathlib; from perdure.store.sqlite.store import SqliteStore; SqliteStore(pathlib.Path(sys.argv[1]))"
    died = run_program(program, path, fault=f"migration:{killed_at}")
    assert died.returncode == EXIT_CODE
    store = SqliteStore(path)
    assert (await store.info())["schema_version"] == len(migrations())
    await store.write(Batch(advances=[], commands=[]))
    await store.close()


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    for name, setup in (("marked.db", "PRAGMA application_id = 7"), ("tables.db", "CREATE TABLE theirs (a)")):
        path = tmp_path / name
        foreign = apsw.Connection(str(path))
        foreign.execute(setup)
        foreign.close()
        before = path.read_bytes()
        with pytest.raises(StoreIncompatible, match="another program"):
            SqliteStore(path)
        assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("version", "safe"), [("3.51.2", False), ("3.40.1", False), ("3.7.0", False), ("3.51.3", True)]
)
def test_a_sqlite_that_loses_commits_is_refused(version: str, safe: bool) -> None:
    if safe:
        refuse_unsafe_library(version)
    else:
        with pytest.raises(StoreIncompatible, match=re.escape(version)):
            refuse_unsafe_library(version)


def test_the_tables_know_exactly_the_states_of_the_model(tmp_path: Path) -> None:
    path = tmp_path / "perdure.db"
    connection = open_writer(path)
    migrate(connection, path, migrations())
    found = tables(connection)
    for table, states in (("executions", ExecutionStatus), ("node_runs", NodeStatus)):
        match = re.search(r"status IN \(([^)]*)\)", found[table])
        assert match is not None
        assert re.findall(r"'(\w+)'", match[1]) == [state.value for state in states]
    connection.close()
