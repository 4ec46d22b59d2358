"""`perdure store backup`, `restore` and `check`, on a file and on PostgreSQL."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from perdure.client.client import Client
from perdure.store.sqlite.connection import open_writer
from tests.cli.conftest import Command, Printed
from tests.cli.store.conftest import ask
from tests.served import serving

FLOWS = Path(__file__).parent / "flows"
TEXT = "x" * 100_000


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home in which a large value, an artifact, an operation and a few executions are."""
    folder = tmp_path_factory.mktemp("made")
    with serving(folder, "--flows", str(FLOWS)) as served, Client(served.url) as client:
        assert client.executions.start("done", input={"text": TEXT}, wait_s=30).status == "completed"
        client.executions.start("done", input={"text": "small"}, wait_s=30)
        client.executions.start("elsewhere", wait_s=30)
        ids = [one.id for one in client.executions.list()]
        tagging = client.operations.start("tag", ids=ids, arguments={"set": {"seen": "yes"}})
        assert client.operations.wait(tagging.id, 30).succeeded == 3
        assert served.stop() == 0
    return folder / ".perdure"


@pytest.fixture
def home(made_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_once, tmp_path / "made"))


def said(printed: Printed) -> Any:
    assert printed.code in (0, 1), printed.err
    return json.loads(printed.out)


def codes(offline: Command, *where: str) -> set[str]:
    printed = offline("store", "check", *where, "-o", "json")
    found = said(printed)
    assert (printed.code == 1) is bool(found["problems"])
    return {problem["code"] for problem in found["problems"]}


def test_a_backup_goes_to_either_kind_of_store_and_back(
    offline: Command, home: Path, database: str, nowhere: Path
) -> None:
    first, second, again = nowhere / "first", nowhere / "second", nowhere / "again"
    taken = said(offline("store", "backup", str(first), "--home", str(home), "-o", "json"))
    assert (taken["executions"], taken["unfinished"], taken["contents"] >= 2) == (3, 0, True)
    there = said(offline("store", "restore", str(first), "--store", database, "-o", "json"))
    with serving(nowhere, "--store", database):
        # Its users go on meanwhile.
        assert codes(offline, "--store", database) == set()
        assert said(offline("store", "backup", str(second), "--store", database, "-o", "json"))["executions"] == 3
    back = said(offline("store", "restore", str(second), "--home", str(again), "-o", "json"))
    assert (there["executions"], back["executions"], back["tables"]["executions"]["rows"]) == (3, 3, 4)
    for table in ("executions", "payloads", "node_runs", "events", "artifacts", "blobs"):
        assert back["tables"][table] == there["tables"][table]
    assert codes(offline, "--home", str(again)) == set()
    refused = offline("store", "restore", str(first), "--store", database)
    assert (refused.code, "is not empty" in refused.err) == (1, True)
    with serving(nowhere, "--home", str(again)) as served, Client(served.url) as client:
        results = {client.executions.handle(one.id).result() for one in client.executions.list()}
    assert results == {TEXT, "small", "elsewhere"}


def test_what_is_there_is_not_written_over(offline: Command, home: Path, nowhere: Path) -> None:
    (nowhere / "there").mkdir()
    printed = offline("store", "backup", str(nowhere / "there"), "--home", str(home))
    assert (printed.code, "is there already" in printed.err) == (1, True)


def test_what_a_killed_restore_left_goes_with_the_next_and_what_one_is_at_work_in_stays(
    offline: Command, home: Path, nowhere: Path
) -> None:
    backup, new = nowhere / "backup", nowhere / "new"
    assert offline("store", "backup", str(backup), "--home", str(home)).code == 0
    left, used = (new / f".perdure-restore-{name}" for name in ("left", "used"))
    for folder in (left, used):
        folder.mkdir(parents=True)
        (folder / "perdure.db").write_bytes(b"half")
    handle = os.open(used, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert offline("store", "restore", str(backup), "--home", str(new)).code == 0
    os.close(handle)
    assert [path.name for path in new.glob(".*")] == [used.name]


def test_a_backup_that_is_not_what_it_was_is_refused(offline: Command, home: Path, nowhere: Path) -> None:
    backup, target = nowhere / "backup", ("--home", str(nowhere / "new"))
    assert offline("store", "backup", str(backup), "--home", str(home)).code == 0
    content = next(path for path in (backup / "artifacts").glob("??/*") if path.stat().st_size > 500_000)
    whole = content.read_bytes()
    content.write_bytes(b"\xff" + whole[1:])
    damaged = offline("store", "restore", str(backup), *target)
    assert (damaged.code, content.name in damaged.err) == (1, True)
    content.write_bytes(whole)
    with (backup / "perdure.db").open("r+b") as file:
        file.seek(9_000)
        file.write(b"\xff\xfe")
    changed = offline("store", "restore", str(backup), *target)
    assert (changed.code, "is not what was backed up" in changed.err) == (1, True)
    (backup / "backup.json").unlink()
    cut = offline("store", "restore", str(backup), *target)
    assert (cut.code, "is no whole backup" in cut.err) == (1, True)
    assert not (nowhere / "new" / "perdure.db").exists()


def test_contents_that_are_gone_are_told_before_a_backup_counts(offline: Command, home: Path, nowhere: Path) -> None:
    shutil.rmtree(home / "artifacts")
    printed = offline("store", "backup", str(nowhere / "backup"), "--home", str(home))
    assert (printed.code, "--without-missing" in printed.err) == (1, True)
    assert not (nowhere / "backup").exists()
    taken = said(offline("store", "backup", str(nowhere / "b"), "--home", str(home), "--without-missing", "-o", "json"))
    assert (taken["contents"], taken["contents_missing"] >= 2) == (0, True)
    assert said(offline("store", "restore", str(nowhere / "b"), "--home", str(nowhere / "new"), "-o", "json"))


def test_contents_that_a_backup_lost_since_are_not_forgiven(offline: Command, home: Path, nowhere: Path) -> None:
    """Whether or not the store had all of them when it was made."""
    whole, backup = nowhere / "whole", nowhere / "backup"
    assert offline("store", "backup", str(whole), "--home", str(home)).code == 0
    next((home / "artifacts").glob("??/*")).unlink()
    assert offline("store", "backup", str(backup), "--home", str(home), "--without-missing").code == 0
    assert offline("store", "restore", str(backup), "--home", str(nowhere / "fine")).code == 0
    for number, folder in enumerate((whole, backup)):
        lost = next((folder / "artifacts").glob("??/*"))
        lost.unlink()
        target = nowhere / str(number)
        printed = offline("store", "restore", str(folder), "--home", str(target))
        assert (printed.code, "has lost 1 contents" in printed.err, lost.name in printed.err) == (1, True, True)
        assert not (target / "perdure.db").exists()


def test_a_log_that_a_crash_left_does_not_get_into_a_restored_store(
    offline: Command, home: Path, nowhere: Path
) -> None:
    backup, new = nowhere / "backup", nowhere / "new"
    assert offline("store", "backup", str(backup), "--home", str(home)).code == 0
    crashed = open_writer(home / "perdure.db")
    crashed.execute("UPDATE executions SET status = 'failed'")
    new.mkdir()
    shutil.copyfile(home / "perdure.db-wal", new / "perdure.db-wal")
    crashed.close()
    printed = offline("store", "restore", str(backup), "--home", str(new))
    assert (printed.code, "perdure.db-wal is there" in printed.err) == (1, True)
    (new / "perdure.db-wal").unlink()
    assert offline("store", "restore", str(backup), "--home", str(new)).code == 0
    assert codes(offline, "--home", str(new)) == set()


def test_contents_in_a_folder_beside_postgresql_are_checked_and_backed_up(
    offline: Command, database: str, nowhere: Path
) -> None:
    shared = nowhere / "shared"
    where = ("--store", database, "--artifacts", str(shared))
    with serving(nowhere, "--flows", str(FLOWS), *where) as served, Client(served.url) as client:
        assert client.executions.start("done", input={"text": TEXT}, wait_s=30).status == "completed"
        assert served.stop() == 0
    assert codes(offline, *where) == set()
    taken = said(offline("store", "backup", str(nowhere / "backup"), *where, "-o", "json"))
    assert (taken["contents"] >= 2, taken["contents_missing"]) == (True, 0)
    ask(database, "DROP SCHEMA perdure CASCADE")
    back = (*where[:2], "--artifacts", str(nowhere / "another"))
    assert said(offline("store", "restore", str(nowhere / "backup"), *back, "-o", "json"))["contents"] >= 2
    assert ask(database, "SELECT count(*) FROM blob_contents") == 0
    assert codes(offline, *back) == set()
    next((nowhere / "another").glob("??/*")).unlink()
    assert codes(offline, *back) == {"content_missing"}


SPOILT = {
    "DELETE FROM payloads": {"execution_without_payload"},
    "DELETE FROM events WHERE seq = 1": {"events_with_gap"},
    "UPDATE executions SET last_seq = last_seq + 1": {"events_without_end"},
    "DELETE FROM blobs": {"value_without_blob"},
    "DELETE FROM executions": {"rows_without_execution"},
    "INSERT INTO counter_deltas (workspace, flow, status, trigger_kind, hour, delta) "
    "VALUES ('default', 'default/done', 'completed', 'api', 1, 1)": {"counters_differ"},
    "INSERT INTO hour_totals (workspace, hour, count) VALUES ('default', 1, 1)": {"counters_differ"},
    "INSERT INTO durations (workspace, grain, flow, period, status, trigger_kind, bucket, count) "
    "VALUES ('default', 'day', 'default/done', 1, 'completed', 'api', 7, 1)": {
        "durations_differ", "duration_totals_differ",
    },
    "INSERT INTO duration_totals (workspace, grain, flow, period, histogram) "
    "VALUES ('default', 'day', 'default/done', 1, '[7,1]')": {"duration_totals_differ"},
    "DELETE FROM operations": {"items_without_operation"},
    "UPDATE operation_items SET n = 5 WHERE n = 2": {"operation_items_with_gap"},
    "UPDATE operation_items SET outcome = 'waiting'": {"operation_counts_differ"},
    "UPDATE operations SET succeeded = 1": {"operation_counts_differ", "operation_ended_early"},
    "UPDATE operations SET finished_at = NULL": {"operation_ended_early"},
    "UPDATE operations SET action = 'replay'": {"replay_not_named"},
}  # fmt: skip


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_each_contradiction_has_a_code(offline: Command, home: Path, database: str, nowhere: Path, kind: str) -> None:
    where = ("--store", database)
    if kind == "postgresql":
        assert offline("store", "copy", f"sqlite:{home}/perdure.db", database).code == 0
        assert codes(offline, *where) == set()
    for number, (sql, expected) in enumerate(SPOILT.items()):
        if kind == "sqlite":
            spoilt = nowhere / str(number)
            shutil.copytree(home, spoilt)
            connection = open_writer(spoilt / "perdure.db")
            connection.execute(sql)
            connection.close()
            assert expected <= codes(offline, "--home", str(spoilt)), sql
        else:
            ask(database, f"CREATE TABLE kept AS SELECT * FROM {_table(sql)}")
            ask(database, sql)
            assert expected <= codes(offline, *where), sql
            ask(database, f"DELETE FROM {_table(sql)}")
            ask(database, f"INSERT INTO {_table(sql)} SELECT * FROM kept")
            ask(database, "DROP TABLE kept")
    if kind == "postgresql":
        assert codes(offline, *where) == set()


def _table(sql: str) -> str:
    words = sql.split()
    return words[1] if words[0] == "UPDATE" else words[2]


def test_damage_and_lost_contents_are_found(offline: Command, home: Path) -> None:
    where = ("--home", str(home))
    assert codes(offline, *where) == set()
    content = next((home / "artifacts").glob("??/*"))
    content.write_bytes(b"another")
    assert codes(offline, *where) == {"content_damaged"}
    assert codes(offline, *where, "--quick") == set()
    content.unlink()
    assert codes(offline, *where) == {"content_missing"}
    printed = offline("store", "check", *where)
    assert "→ name their folder (--artifacts)" in printed.out
    with (home / "perdure.db").open("r+b") as file:
        file.seek(4_096 * 20 + 100)
        file.write(b"\xff" * 200)
    assert "file_damaged" in codes(offline, *where)


def test_a_store_that_is_not_there_is_told(offline: Command, nowhere: Path) -> None:
    for command in (("backup", str(nowhere / "b")), ("check",)):
        printed = offline("store", *command, "--home", str(nowhere / "none"))
        assert (printed.code, "there is no store at" in printed.err) == (1, True)


def test_what_was_deleted_gives_its_space_back(offline: Command, home: Path, database: str, nowhere: Path) -> None:
    where = ("--home", str(home))
    connection = open_writer(home / "perdure.db")
    connection.execute("CREATE TABLE ballast AS SELECT randomblob(2000000) AS data")
    connection.execute("DROP TABLE ballast")
    connection.close()
    with serving(nowhere, *where):
        owned = offline("store", "compact", *where)
        assert (owned.code, "is owned by process" in owned.err) == (1, True)
    done = said(offline("store", "compact", *where, "-o", "json"))
    assert done["after_bytes"] + 1_900_000 < done["before_bytes"]
    assert codes(offline, *where) == set()
    assert offline("store", "copy", f"sqlite:{home}/perdure.db", database).code == 0
    with serving(nowhere, "--store", database):
        done = said(offline("store", "compact", "--store", database, "-o", "json"))
    assert done["after_bytes"] > 0
