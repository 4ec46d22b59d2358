"""A store on PostgreSQL as its tables say, read beside the system and without its code."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import asyncpg
import msgspec

from tests.faults.harness.api import TERMINAL
from tests.faults.harness.store import BELONGINGS, Chunk, Facts, Row, id_text
from tests.postgres_server import USER, Postgres

T = TypeVar("T")
SCHEMA = "perdure"


def ask(url: str, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
    """What the work answers, given a connection of its own. Raises what asyncpg raises, OSError."""

    async def connected() -> T:
        connection = await asyncpg.connect(url, ssl=False, timeout=30, server_settings={"search_path": SCHEMA})
        try:
            await connection.set_type_codec("uuid", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary")
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(connected())


def rows(url: str, sql: str, *values: Any) -> list[Row]:
    """What one statement answers; ids are bytes."""
    return ask(url, lambda connection: _rows(connection, sql, *values))


def execute(url: str, sql: str) -> None:
    """Carry out one or more statements, in one transaction."""
    ask(url, lambda connection: connection.execute(sql))


def unfinished(url: str) -> int:
    """How many executions are not terminal."""
    [row] = rows(url, "SELECT count(*) AS n FROM executions WHERE status <> ALL($1::text[])", sorted(TERMINAL))
    return int(row["n"])


def read_facts(url: str) -> Facts:
    """One consistent look at a whole store, small as those of tests are."""
    return ask(url, _facts)


def damage(postgres: Postgres, database: str) -> list[str]:
    """What pg_amcheck finds in the tables and indexes of the store; `["ok"]` when that is nothing."""
    command = [
        str(postgres.bin("pg_amcheck")), "--install-missing", "--no-strict-names", "--heapallindexed", "--parent-check",
        f"--schema={SCHEMA}", "--host=127.0.0.1", f"--port={postgres.port}", f"--username={USER}", database,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = [line for line in (done.stdout + done.stderr).splitlines() if line]
    return ["ok"] if done.returncode == 0 and not told else told or [f"pg_amcheck ended with {done.returncode}"]


async def _facts(connection: Any) -> Facts:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        chunks: dict[str, list[Chunk]] = {}
        for row in await _rows(connection, "SELECT * FROM events ORDER BY execution_id, seq"):
            types = [event[0] for event in msgspec.json.decode(row["body"])]
            chunks.setdefault(id_text(row["execution_id"]), []).append(Chunk(row["seq"], row["last_seq"], types))
        tags: dict[str, dict[str, str]] = {}
        for row in await _rows(connection, "SELECT * FROM tags"):
            tags.setdefault(id_text(row["execution_id"]), {})[row["key"]] = row["value"]
        return Facts(
            integrity=["ok"],
            executions={id_text(row["id"]): row for row in await _rows(connection, "SELECT * FROM executions")},
            node_runs={
                (id_text(row["execution_id"]), row["node"], row["ordinal"], row["label"]): row
                for row in await _rows(connection, "SELECT * FROM node_runs")
            },
            chunks=chunks,
            feed=[
                (row["writer"], row["n"], msgspec.json.decode(row["entries"]))
                for row in await _rows(connection, "SELECT * FROM feed ORDER BY writer, n")
            ],
            belongings={
                table: [
                    id_text(row["execution_id"])
                    for row in await _rows(connection, f"SELECT execution_id FROM {table}")
                ]
                for table in BELONGINGS
            },
            keys={
                row["key"]: id_text(row["execution_id"]) for row in await _rows(connection, "SELECT * FROM idempotency")
            },
            counted={table: await _counted(connection, table) for table in ("counters", "totals")},
            tags=tags,
        )  # fmt: skip


async def _counted(connection: Any, table: str) -> dict[tuple[str, ...], int]:
    sums: dict[tuple[str, ...], int] = {}
    for source, amount in ((table, "count"), ("counter_deltas", "delta")):
        for row in await _rows(connection, f"SELECT * FROM {source}"):
            key = (row["workspace"], row["flow"], row["status"], row["trigger_kind"])
            sums[key] = sums.get(key, 0) + row[amount]
    return {key: count for key, count in sums.items() if count}


async def _rows(connection: Any, sql: str, *values: Any) -> list[Row]:
    return [dict(row) for row in await connection.fetch(sql, *values)]
