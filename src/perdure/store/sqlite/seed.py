"""A long history made in seconds, written set by set straight into the tables: see `perdure.store.seeding`."""

from __future__ import annotations

from pathlib import Path

import apsw

from perdure.store.seeding import DRAWN, SUMS, WRITES, Drawing, Told, fillers
from perdure.store.sqlite.connection import open_writer
from perdure.store.sqlite.lock import OwnerLock
from perdure.store.sqlite.migrate import migrate, migrations

CACHE_KIB = 512 * 1024

_ROLLED = """
CREATE TEMP TABLE rolled AS
WITH RECURSIVE numbers (i) AS (SELECT :first UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :end),
moments (i, at) AS (SELECT i, :since + CAST(i * :step AS INTEGER) FROM numbers)
SELECT
    i,
    at,
    unhex(printf('%012x7%03x8%015x', at / 1000, i % 4096, abs(random() % (1 << 58)))) AS id,
    abs(random() % 1000000) / 1000000.0 AS u1,
    abs(random() % 1000000) / 1000000.0 AS u2,
    abs(random() % 1000000) / 1000000.0 AS u3,
    abs(random() % 1000000) / 1000000.0 AS u4,
    abs(random() % 1000000) / 1000000.0 AS u5
FROM moments
"""


def seed_history(path: Path, drawing: Drawing, *, told: Told) -> None:
    """Write that many ended executions into the store at `path`, which is made where it is not there.

    `told` is called with the number of executions written so far. Raises `StoreLocked`, and as opening a store does.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = OwnerLock(path)
    try:
        connection = open_writer(path)
        try:
            _seed(connection, path, drawing, told)
        finally:
            connection.close()
    finally:
        lock.release()


def is_unused(path: Path) -> bool:
    """Whether no execution stands there, or no file."""
    if not path.exists():
        return True
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        found = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'executions'").get
        return not found or not connection.execute("SELECT EXISTS (SELECT 1 FROM executions)").get
    finally:
        connection.close()


def _seed(connection: apsw.Connection, path: Path, drawing: Drawing, told: Told) -> None:
    migrate(connection, path, migrations())
    is_fresh = not connection.execute("SELECT EXISTS (SELECT 1 FROM executions)").get
    connection.pragma("synchronous", "off")
    connection.pragma("cache_size", -CACHE_KIB)
    if is_fresh:
        # Nothing is lost that could not be made again, and no page is written twice.
        connection.pragma("journal_mode", "off")
    connection.execute("CREATE TEMP TABLE fillers (number INTEGER PRIMARY KEY, text TEXT)")
    connection.executemany("INSERT INTO temp.fillers VALUES (?, ?)", fillers())
    for first, end in drawing.sets():
        with connection:
            _write_set(connection, drawing, first, end)
        told(end)
    with connection:
        for statement in SUMS:
            connection.execute(statement)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def _write_set(connection: apsw.Connection, drawing: Drawing, first: int, end: int) -> None:
    connection.execute("DROP TABLE IF EXISTS temp.drawn; DROP TABLE IF EXISTS temp.rolled")
    connection.execute(_ROLLED, {"first": first, "end": end, "since": drawing.since, "step": drawing.step})
    connection.execute("CREATE INDEX temp.rolled_by_number ON rolled (i)")
    connection.execute("CREATE TEMP TABLE drawn AS " + DRAWN.replace("{workspace}", drawing.workspace))
    for statement in WRITES:
        connection.execute(statement)
