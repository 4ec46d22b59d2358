"""What `perdure doctor` wants to know of a database, found out without changing anything in it."""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from collections.abc import Callable
from typing import Any, Protocol, cast

import msgspec

from perdure.errors import StoreError
from perdure.store.postgres.connection import MIGRATING, Connection, connect, local_settings
from perdure.store.postgres.failures import translated
from perdure.store.postgres.migrate import migrations, read_schema
from perdure.store.postgres.url import Address, parse_url

COMMITS = 15
EAR_PATIENCE_S = 3.0
CONNECTIONS_BESIDES_POOL = 7
"""Of one process: its writer, signals, proof of life, two for contents, and now and then one for partitions and one for
the index of texts."""

# A few bytes for the log that nobody reads: a commit that has to wait for the disk.
_WRITE = "SELECT pg_logical_emit_message(true, 'perdure', 'doctor')"
_NOW = "SELECT (extract(EPOCH FROM clock_timestamp()) * 1000000)::bigint"
_CONNECTIONS = """
SELECT
    current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint AS allowed,
    (SELECT count(*) FROM pg_stat_activity AS a WHERE a.backend_type = 'client backend') AS used,
    (SELECT nullif(d.datconnlimit, -1) FROM pg_database AS d WHERE d.datname = current_database()) AS of_database,
    (SELECT count(*) FROM pg_stat_activity AS a WHERE a.datname = current_database() AND a.backend_type = 'client backend') AS used_of_database,
    (SELECT nullif(r.rolconnlimit, -1) FROM pg_roles AS r WHERE r.rolname = current_user) AS of_role,
    (SELECT count(*) FROM pg_stat_activity AS a WHERE a.usename = current_user AND a.backend_type = 'client backend') AS used_of_role
"""


class Listening(Connection, Protocol):
    """What we use of `asyncpg.Connection` besides."""

    async def add_listener(self, channel: str, callback: Callable[..., Any]) -> None: ...


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """`schema_number` 0 is a database without our tables. Times are in milliseconds.

    `clock_ahead_ms`: how far the database's clock is before ours. `hears`: whether a notification came back, None where
    the URL says `listen=false`. `free_connections` of the server, the database or the role, whatever has fewest.
    """

    place: str
    schema: str
    version: str
    schema_number: int
    newest_schema: int
    commit_ms: float | None
    clock_ahead_ms: float
    hears: bool | None
    free_connections: int
    connections_needed: int


async def examine_database(url: str) -> Examination:
    """Raises `InvalidSettings`, `StoreUnavailable`, `StoreIncompatible` (also for a proxy that the URL does not know of)."""
    address = parse_url(url)
    connection = await connect(address, MIGRATING, name="perdure doctor")
    try:
        schema = await read_schema(connection, address)
        return Examination(
            place=address.place,
            schema=address.schema,
            version=await connection.fetchval("SHOW server_version"),
            schema_number=schema.number,
            newest_schema=migrations()[-1].number,
            commit_ms=await _commit_ms(connection, address),
            clock_ahead_ms=await _clock_ahead_ms(connection),
            hears=await _hears(connection, address) if address.listen else None,
            free_connections=await _free(connection),
            connections_needed=address.pool + CONNECTIONS_BESIDES_POOL,
        )
    except StoreError:
        raise
    except Exception as error:
        raise translated(error, address.place) or error from error
    finally:
        connection.terminate()


async def _commit_ms(connection: Connection, address: Address) -> float | None:
    """The middle of some; None where the role may not write to the log."""
    spans = []
    begin = f"BEGIN{local_settings(address, MIGRATING)}"
    for _ in range(COMMITS):
        await connection.execute(begin)
        try:
            await connection.execute(_WRITE)
        except Exception as error:
            if translated(error, address.place) is None:
                raise
            await connection.execute("ROLLBACK")
            return None
        began = time.perf_counter()
        await connection.execute("COMMIT")
        spans.append((time.perf_counter() - began) * 1000)
    return statistics.median(spans)


async def _clock_ahead_ms(connection: Connection) -> float:
    """By the quickest of some answers: it says most."""
    found = []
    for _ in range(5):
        before = time.time()
        theirs = await connection.fetchval(_NOW)
        after = time.time()
        found.append((after - before, theirs / 1000 - (before + after) * 500))
    return float(min(found)[1])


async def _hears(connection: Connection, address: Address) -> bool:
    """Whether one session hears what another one says: behind a proxy that gives sessions away it does not."""
    channel = f"perdure_doctor_{secrets.token_hex(6)}"
    heard = asyncio.Event()
    ear = cast(Listening, await connect(address, MIGRATING, name="perdure doctor"))
    try:
        await ear.add_listener(channel, lambda *_: heard.set())
        await connection.execute(f"NOTIFY {channel}")
        async with asyncio.timeout(EAR_PATIENCE_S):
            await heard.wait()
        return True
    except TimeoutError:
        return False
    finally:
        ear.terminate()


async def _free(connection: Connection) -> int:
    row = await connection.fetchrow(_CONNECTIONS)
    allowed, used, of_database, used_of_database, of_role, used_of_role = row
    free = [allowed - used]
    if of_database is not None:
        free.append(of_database - used_of_database)
    if of_role is not None:
        free.append(of_role - used_of_role)
    # Those of the examination itself are free again when it is over.
    return int(min(free)) + 1
