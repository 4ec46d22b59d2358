"""The store as its file says, read beside the system and without its code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import msgspec

from tests.faults.harness.api import TERMINAL

Row = dict[str, Any]


class Chunk(NamedTuple):
    """Events of one execution that one commit brought: `types` of seq `first`, `first` + 1, …, `last`."""

    first: int
    last: int
    types: list[str]


class Facts(msgspec.Struct, kw_only=True):
    """Ids are the canonical text of their UUIDs; times microseconds."""

    integrity: list[str]
    executions: dict[str, Row]
    node_runs: dict[tuple[str, str, int, str], Row]
    chunks: dict[str, list[Chunk]]
    feed: list[tuple[int, int, list[list[Any]]]]
    """(writer, n, entries), entries of [execution in hex, first seq, last seq, workspace]."""
    belongings: dict[str, list[str]]
    """Table → execution of each of its rows, for tables that hold what is not over."""
    keys: dict[str, str]
    """Idempotency key → execution."""
    counted: dict[str, dict[tuple[str, ...], int]]
    """Counters as they are kept: `counters` and `totals`, each with the deltas that were not folded yet."""
    tags: dict[str, dict[str, str]]

    @property
    def unfinished(self) -> list[str]:
        return [id for id, row in self.executions.items() if row["status"] not in TERMINAL]


PLAIN_VFS = "unix"
BELONGINGS = ("queue", "slots", "timers", "inbox", "waits")


def database(home: Path) -> Path:
    """The store of a home; its header may still stand in the WAL, so that the name alone tells."""
    return home / "perdure.db"


def open_beside(path: Path) -> apsw.Connection:
    """A connection that only reads, beside a server or without one, through no file layer but the system's."""
    connection = apsw.Connection(str(path), vfs=PLAIN_VFS)
    connection.set_busy_timeout(10_000)
    connection.pragma("query_only", 1)
    return connection


def read_facts(path: Path) -> Facts:
    """One consistent look at a whole store, small as those of tests are."""
    with closing(open_beside(path)) as connection:
        connection.execute("BEGIN")
        facts = Facts(
            integrity=[row[0] for row in connection.execute("PRAGMA integrity_check")],
            executions={id_text(row["id"]): row for row in _rows(connection, "SELECT * FROM executions")},
            node_runs={
                (id_text(row["execution_id"]), row["node"], row["ordinal"], row["label"]): row
                for row in _rows(connection, "SELECT * FROM node_runs")
            },
            chunks=_chunks(connection),
            feed=[
                (row["writer"], row["n"], msgspec.json.decode(row["entries"]))
                for row in _rows(connection, "SELECT * FROM feed ORDER BY writer, n")
            ],
            belongings={
                table: [id_text(row["execution_id"]) for row in _rows(connection, f"SELECT execution_id FROM {table}")]
                for table in BELONGINGS
            },
            keys={row["key"]: id_text(row["execution_id"]) for row in _rows(connection, "SELECT * FROM idempotency")},
            counted={table: _counted(connection, table) for table in ("counters", "totals")},
            tags=_tags(connection),
        )
        connection.execute("COMMIT")
    return facts


def unfinished(path: Path) -> int:
    """How many executions are not terminal."""
    ends = ", ".join(f"'{status}'" for status in sorted(TERMINAL))
    with closing(open_beside(path)) as connection:
        [(count,)] = connection.execute(f"SELECT count(*) FROM executions WHERE status NOT IN ({ends})")
    return int(count)


def _rows(connection: apsw.Connection, sql: str) -> Iterator[Row]:
    cursor = connection.execute(sql)
    names: list[str] = []
    for row in cursor:
        names = names or [column[0] for column in cursor.get_description()]
        yield dict(zip(names, row, strict=True))


def _chunks(connection: apsw.Connection) -> dict[str, list[Chunk]]:
    found: dict[str, list[Chunk]] = {}
    for row in _rows(connection, "SELECT * FROM events ORDER BY execution_id, seq"):
        types = [event[0] for event in msgspec.json.decode(row["body"])]
        found.setdefault(id_text(row["execution_id"]), []).append(Chunk(row["seq"], row["last_seq"], types))
    return found


def _counted(connection: apsw.Connection, table: str) -> dict[tuple[str, ...], int]:
    sums: dict[tuple[str, ...], int] = {}
    for source, amount in ((table, "count"), ("counter_deltas", "delta")):
        for row in _rows(connection, f"SELECT * FROM {source}"):
            key = (row["workspace"], row["flow"], row["status"], row["trigger_kind"])
            sums[key] = sums.get(key, 0) + row[amount]
    return {key: count for key, count in sums.items() if count}


def _tags(connection: apsw.Connection) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for row in _rows(connection, "SELECT * FROM tags"):
        found.setdefault(id_text(row["execution_id"]), {})[row["key"]] = row["value"]
    return found


def id_text(id: bytes) -> str:
    """The canonical text of a UUID."""
    text = id.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
