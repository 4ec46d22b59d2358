"""A clean PostgreSQL database for each test, on one server for each process of the run.

`PERDURE_TEST_POSTGRES` names another server: the URL of a database in which the tests may make schemas.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg

from perdure.store.postgres.store import PostgresStore
from tests.postgres_server import Postgres
from tests.store.portal import Ported, call

SCHEMA = f"perdure_{os.getpid()}"
_PREFIX = "perdure-postgres-"

_EMPTY = """
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN SELECT c.relname, c.relkind FROM pg_class AS c WHERE c.relnamespace = current_schema()::regnamespace
    LOOP
        IF found.relkind = 'S' THEN
            EXECUTE format('ALTER SEQUENCE %I RESTART', found.relname);
        ELSIF found.relkind IN ('r', 'p') AND found.relname <> 'schema_migrations' THEN
            EXECUTE format('DELETE FROM %I', found.relname);
        END IF;
    END LOOP;
END
$$
"""


@cache
def server() -> Postgres:
    """Its data is thrown away, so nothing waits for a disk."""
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    made = Postgres(folder).start(fsync=False, max_connections=50)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(made.stop, "immediate")
    return made


def _sweep() -> None:
    """Away with the data of runs that were killed; their servers went with them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def base_url() -> str:
    return os.environ.get("PERDURE_TEST_POSTGRES") or server().url()


def fresh_url(**words: Any) -> str:
    """The URL of a store that holds nothing; `words` are added to its query."""
    base = base_url()
    call(_clear, base)
    query = "&".join(f"{name}={value}" for name, value in {"schema": SCHEMA, **words}.items())
    return f"{base}{'&' if '?' in base else '?'}{query}"


_schemas = count(1)


def new_schema_url() -> str:
    """The URL of a schema that does not exist yet."""
    base = base_url()
    return f"{base}{'&' if '?' in base else '?'}schema={SCHEMA}_{next(_schemas)}"


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[PostgresStore]:
    """A store on the loop of the test itself; one that is left open would keep the loop from being closed."""
    store = await PostgresStore.open(url)
    try:
        yield store
    finally:
        await store.close()


def fresh_store(**words: Any) -> Any:
    """Used like any other store from tests and plain code; it lives on the portal's loop."""
    return Ported(call(PostgresStore.open, fresh_url(**words)))


async def _clear(base: str) -> None:
    connection = await asyncpg.connect(base, server_settings={"search_path": SCHEMA})
    try:
        if await connection.fetchval("SELECT to_regclass('writers')") is not None:
            await connection.execute(_EMPTY)
    finally:
        await connection.close()
    if "PERDURE_TEST_POSTGRES" in os.environ:
        _drop_at_exit(base)


@cache
def _drop_at_exit(base: str) -> None:
    async def drop() -> None:
        connection = await asyncpg.connect(base)
        found = await connection.fetch("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1)", SCHEMA)
        for (name,) in found:
            await connection.execute(f"DROP SCHEMA {name} CASCADE")
        await connection.close()

    atexit.register(call, drop)
