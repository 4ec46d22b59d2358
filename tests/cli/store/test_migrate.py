"""`perdure store migrate`: once, by whoever comes first, and told to those whom it concerns."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import asyncpg
import pytest

from perdure.store.faults import EXIT_CODE
from perdure.store.postgres.migrate import bring_up, migrations
from perdure.store.postgres.url import parse_url
from perdure.store.sqlite import migrate as sqlite
from perdure.store.sqlite.connection import open_writer
from tests.cli.conftest import Command
from tests.cli.store.conftest import ask, store
from tests.served import clean_environ, perdure, serving
from tests.store.portal import call

NEWEST = len(migrations())
WORKER = """
INSERT INTO workers (id, name, host, pid, started_at, heartbeat_at, version)
VALUES ('w', 'old-one', 'there', 1, 1, (extract(EPOCH FROM clock_timestamp()) * 1000000)::bigint, '0.0.9')
"""
APPLIED = "SELECT array_agg(number ORDER BY number) FROM schema_migrations"


def test_an_empty_database_gets_its_tables_once(offline: Command, database: str) -> None:
    planned = offline("store", "migrate", "--store", database, "--dry-run")
    assert (planned.code, "would be brought from schema 0" in planned.out) == (0, True)
    assert ask(database, "SELECT to_regclass('perdure.executions')") is None
    done = json.loads(offline("store", "migrate", "--store", database, "-o", "json").out)
    assert (done["before"], done["after"], len(done["migrations"])) == (0, NEWEST, NEWEST)
    again = offline("store", "migrate", "--store", database)
    assert (again.code, again.lines) == (0, [f"{parse_url(database).place} is up to date: schema {NEWEST}"])


def test_servers_of_an_older_schema_name_the_command(offline: Command, database: str, nowhere: Path) -> None:
    call(bring_up, parse_url(database), migrations()[:2])
    ask(database, "INSERT INTO writers (session, commits, n, at) VALUES (1, 0, 0, 1)")
    served = subprocess.run(
        perdure("serve", "--port", "0", "--store", database),
        check=False, capture_output=True, text=True, cwd=nowhere, env=clean_environ(nowhere),
    )  # fmt: skip
    assert (served.returncode, "`perdure store migrate`" in served.stderr) == (1, True), served.stderr
    copied = offline("store", "copy", database, "sqlite:new.db")
    assert (copied.code, "`perdure store migrate`" in copied.err) == (1, True)
    assert offline("store", "migrate", "--store", database).code == 0
    with serving(nowhere, "--store", database):
        pass


def test_living_workers_are_told_whether_they_can_go_on(offline: Command, database: str) -> None:
    call(bring_up, parse_url(database), migrations()[:2])
    ask(database, WORKER)
    for options in (["--dry-run"], []):
        told = offline("store", "migrate", "--store", database, *options)
        assert told.code == 0
        assert "worker old-one on there is alive (perdure 0.0.9)" in told.lines
        needs = max(one.usable_since for one in migrations()[2:])
        assert f"does not know schema {needs}" in told.lines[-1]
    assert offline("store", "migrate", "--store", database).lines == [
        f"{parse_url(database).place} is up to date: schema {NEWEST}"
    ]


def test_two_at_once_take_turns(database: str) -> None:
    held = "BEGIN; SELECT pg_advisory_xact_lock(hashtext('perdure.migrations'), hashtext('perdure'))"
    holder = call(asyncpg.connect, database)
    call(holder.execute, held)
    command = perdure("store", "migrate", "--store", database)
    processes = [subprocess.Popen(command, env=clean_environ(Path.cwd())) for _ in range(2)]
    call(holder.close)
    assert [process.wait(60) for process in processes] == [0, 0]
    assert ask(database, APPLIED) == list(range(1, NEWEST + 1))


@pytest.mark.parametrize("at", [1, 3])
def test_one_that_was_killed_is_done_again(offline: Command, database: str, at: int) -> None:
    assert store("migrate", "--store", database, fault=f"migration:{at}").returncode == EXIT_CODE
    done = json.loads(offline("store", "migrate", "--store", database, "-o", "json").out)
    assert (done["before"], done["after"]) == (at - 1, NEWEST)
    assert ask(database, APPLIED) == list(range(1, NEWEST + 1))


def test_a_newer_schema_is_left_alone(offline: Command, database: str, nowhere: Path) -> None:
    assert offline("store", "migrate", "--store", database).code == 0
    ask(database, "INSERT INTO schema_migrations (number, name, program, usable_since) VALUES (99, 'x', '9.0', 99)")
    told = offline("store", "migrate", "--store", database)
    assert (told.code, "made by perdure 9.0" in told.err) == (1, True)
    file = nowhere / "new.db"
    assert offline("store", "migrate", "--store", f"sqlite:{file}").code == 0
    connection = open_writer(file)
    connection.pragma("user_version", 99)
    connection.close()
    told = offline("store", "migrate", "--store", f"sqlite:{file}")
    assert (told.code, "written by a newer one" in told.err) == (1, True)


def test_a_file_is_brought_up_to_date_while_nobody_owns_it(offline: Command, nowhere: Path) -> None:
    file = nowhere / ".perdure" / "perdure.db"
    file.parent.mkdir()
    connection = open_writer(file)
    sqlite.migrate(connection, file, sqlite.migrations()[:2])
    connection.close()
    planned = offline("store", "migrate", "--dry-run")
    assert "would be brought from schema 2" in planned.out
    assert "brought from schema 2" in offline("store", "migrate").out
    assert "is up to date" in offline("store", "migrate").out
    with serving(nowhere):
        owned = offline("store", "migrate")
        assert (owned.code, "is owned by process" in owned.err) == (1, True)
