"""Numbered migrations, each in one transaction under an advisory lock: whoever is killed in the middle left nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import NamedTuple

import asyncpg

from perdure.errors import StoreError, StoreIncompatible
from perdure.store.faults import reach
from perdure.store.postgres.connection import MIGRATING, Connection, connect, local_settings
from perdure.store.postgres.failures import translated
from perdure.store.postgres.url import Address, parse_url

_FILE = re.compile(r"(\d{4})_(\w+)\.sql")
_SINCE = re.compile(r"^-- usable since schema: (\d+)$", re.MULTILINE)
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('perdure.migrations'), hashtext($1))"
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number bigint PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The perdure that applied it, and the oldest schema that a program must know to work with this one.
    program text NOT NULL,
    usable_since bigint NOT NULL
)
"""
_NOTE = "INSERT INTO schema_migrations (number, name, program, usable_since) VALUES ($1, $2, $3, $4)"
_NEWEST = "SELECT number, program, max(usable_since) OVER () FROM schema_migrations ORDER BY number DESC LIMIT 1"
# Programs that do not know the new schema find their writing sessions ended, look, and refuse.
_FENCE = "UPDATE writers SET session = session + 1"


class Migration(NamedTuple):
    number: int
    name: str
    sql: str

    @property
    def usable_since(self) -> int:
        """The oldest schema that a program must know to work with the one that this makes; a file may name it."""
        found = _SINCE.search(self.sql)
        return int(found[1]) if found else self.number


class Schema(NamedTuple):
    """What a database says of itself; number 0 is an empty one."""

    number: int
    program: str
    usable_since: int


EMPTY = Schema(0, "", 0)


@cache
def migrations() -> tuple[Migration, ...]:
    """Those of this version of perdure, in order; their numbers have no gaps."""
    folder = files("perdure.store").joinpath("migrations", "postgres")
    found = [
        Migration(int(match[1]), match[2], item.read_text(encoding="utf-8"))
        for item in folder.iterdir()
        if (match := _FILE.fullmatch(item.name))
    ]
    found.sort()
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    return tuple(found)


async def migrate(url: str) -> int:
    """Bring the schema at this URL to the newest version; any number of processes may do so at once.

    Returns:
        how many migrations were applied.

    Raises:
        StoreIncompatible: a newer perdure's schema, or an unfit server.
        StoreUnavailable, StoreFull: the server cannot do it now.
    """
    address = parse_url(url)
    return await bring_up(address, migrations())


async def pending(url: str) -> list[str]:
    """The migrations that this perdure knows and the database lacks, as `0003_lines`. Raises as `migrate`."""
    address = parse_url(url)
    connection = await connect(address, MIGRATING, name="perdure migrations")
    try:
        schema = await read_schema(connection, address)
    finally:
        await connection.close()
    return [f"{one.number:04}_{one.name}" for one in migrations() if one.number > schema.number]


async def read_schema(connection: Connection, address: Address, *, newest: int | None = None) -> Schema:
    """Raises `StoreIncompatible` where a newer perdure left what one that knows `newest` (None: ours) cannot work with."""
    table = f'"{address.schema}".schema_migrations'
    if await connection.fetchval("SELECT to_regclass($1)", table) is None:
        return EMPTY
    row = await connection.fetchrow(_NEWEST.replace("schema_migrations", table))
    schema = Schema(*row) if row is not None else EMPTY
    newest = newest or migrations()[-1].number
    if schema.usable_since > newest:
        raise StoreIncompatible(
            f"the store at {address.place} has schema {schema.number}, made by perdure {schema.program}; "
            f"this perdure {version('perdure')} knows schema {newest}, and programs need {schema.usable_since} "
            "to work with it: install the newer one here",
            place=address.place,
            schema=schema.number,
        )
    return schema


async def is_unused_database(connection: Connection, address: Address) -> bool:
    """Whether no store was ever opened there: it is empty, or whoever makes its tables is at it, or was killed at it.

    Raises as `read_schema`.
    """
    schema = await read_schema(connection, address)
    if not schema.number:
        return True
    if schema.number == migrations()[-1].number:
        return False
    where = f'"{address.schema}"'
    used = f"SELECT EXISTS (SELECT FROM {where}.writers) OR EXISTS (SELECT FROM {where}.executions)"  # noqa: S608
    return not await connection.fetchval(used)


def refuse_older(schema: Schema, address: Address) -> None:
    """Raises `StoreIncompatible` for a schema that lacks what this perdure needs."""
    newest = migrations()[-1].number
    if schema.number < newest:
        raise StoreIncompatible(
            f"the store at {address.place} has schema {schema.number}, this perdure needs {newest}; "
            "run `perdure store migrate` (older programs may have to be stopped before)",
            place=address.place,
            schema=schema.number,
        )


async def bring_up(address: Address, known: Sequence[Migration]) -> int:
    """As `migrate`, with the migrations given."""
    connection = await connect(address, MIGRATING, name="perdure migrations")
    try:
        await _make_schema(connection, address)
        applied = 0
        while await _apply_next(connection, address, known):
            applied += 1
        return applied
    except StoreError:
        raise
    except asyncpg.DuplicateTableError as error:
        raise StoreIncompatible(
            f"the schema {address.schema!r} at {address.place} holds tables of another program ({error}); "
            "name another one by schema=… in the URL",
            place=address.place,
        ) from error
    except Exception as error:
        raise translated(error, address.place) or error from error
    finally:
        connection.terminate()


async def _make_schema(connection: Connection, address: Address) -> None:
    async with connection.transaction():
        await connection.fetchval(_LOCK, address.schema)
        # CREATE … IF NOT EXISTS wants the privilege to create even where nothing is to be created.
        if not await connection.fetchval("SELECT 1 FROM pg_namespace WHERE nspname = $1", address.schema):
            await connection.execute(f'CREATE SCHEMA "{address.schema}"')


async def _apply_next(connection: Connection, address: Address, known: Sequence[Migration]) -> bool:
    async with connection.transaction():
        if not address.prepare:
            await connection.execute(local_settings(address, MIGRATING).lstrip("; "))
        await connection.fetchval(_LOCK, address.schema)
        await connection.execute(_TABLE)
        schema = await read_schema(connection, address, newest=known[-1].number)
        if schema.number >= known[-1].number:
            return False
        following = known[schema.number]
        await connection.execute(following.sql)
        await connection.execute(_NOTE, following.number, following.name, version("perdure"), following.usable_since)
        if schema.number and following.usable_since > schema.number:
            await connection.execute(_FENCE)
        reach("migration")
    return True
