"""Connections to PostgreSQL: their settings, which servers are refused, and how values travel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import asyncpg

from perdure.errors import InvalidSettings, StoreIncompatible
from perdure.store.postgres.failures import translated, unavailable
from perdure.store.postgres.url import Address

OLDEST_SERVER = 14
CONNECT_PATIENCE_S = 10.0
STATEMENTS_KEPT = 500
_BAD_PARAMETER = frozenset({"42704", "22023", "55P02"})
"""A setting that the server does not know, a value that it does not have, one that cannot be set by a session."""

_COMMON = {
    "jit": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "max_parallel_workers_per_gather": "0",
    "client_min_messages": "warning",
    # A peer that vanished without a word is noticed, here and by the server, before a lease runs out.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
    # A process that was stopped in the middle of a transaction does not hold its locks for ever (see `sessions_end` too).
    "idle_in_transaction_session_timeout": "10000",
}
WRITING = _COMMON | {
    "synchronous_commit": "on",
    "lock_timeout": "500",
    # A plan is made once, for whatever comes: what it may be is settled by the statements themselves.
    "plan_cache_mode": "force_generic_plan",
}
READING = _COMMON | {
    "statement_timeout": "10000",
    "default_transaction_read_only": "on",
    # A list's plan has a scan for each partition in each of its walks, and takes longer to make than to carry out.
    "plan_cache_mode": "force_generic_plan",
    # The index that leads to the fewest rows is the right one, however they lie in their pages.
    "seq_page_cost": "0.01",
    "random_page_cost": "0.01",
}
MIGRATING = {
    "client_min_messages": "warning",
    "synchronous_commit": "on",
    "idle_in_transaction_session_timeout": "60000",
}


class Connection(Protocol):
    """What we use of `asyncpg.Connection`."""

    async def fetch(self, query: str, *args: Any) -> list[Any]: ...
    async def fetchrow(self, query: str, *args: Any) -> Any: ...
    async def fetchval(self, query: str, *args: Any) -> Any: ...
    async def execute(self, query: str, *args: Any) -> str: ...
    async def set_type_codec(
        self, typename: str, *, schema: str, encoder: Callable[[Any], Any], decoder: Callable[[Any], Any], format: str
    ) -> None: ...
    async def close(self, *, timeout: float | None = None) -> None: ...
    def transaction(self) -> AbstractAsyncContextManager[Any]: ...
    def get_server_version(self) -> Any: ...
    def is_closed(self) -> bool: ...
    def is_in_transaction(self) -> bool: ...
    def terminate(self) -> None: ...


def settings_of(address: Address, settings: dict[str, str]) -> dict[str, str]:
    return {"search_path": address.schema} | settings


def local_settings(address: Address, settings: dict[str, str]) -> str:
    """What begins each transaction where a session cannot be relied on; empty where it can."""
    if address.prepare:
        return ""
    given = settings_of(address, settings)
    return "".join(f"; SET LOCAL {name} = '{value}'" for name, value in given.items() if "tcp_" not in name)


async def connect(address: Address, settings: dict[str, str], *, name: str) -> Connection:
    """A connection that is ready for use; `name` is what the server's views show of it.

    Raises:
        StoreUnavailable: nobody answers there, or the login is refused.
        StoreIncompatible: the server is too old, or a proxy stands before it that needs `prepare=false`.
        InvalidSettings: the server does not know a word of the URL.
    """
    session = settings_of(address, settings) if address.prepare else {}
    options: dict[str, Any] = {"target_session_attrs": "read-write"} if address.has_replicas else {}
    try:
        connection: Connection = await asyncpg.connect(
            address.dsn,
            timeout=CONNECT_PATIENCE_S,
            statement_cache_size=STATEMENTS_KEPT if address.prepare else 0,
            max_cached_statement_lifetime=0,
            server_settings={"application_name": name} | session,
            **options,
        )
    except asyncpg.PostgresError as error:
        if "startup parameter" in str(error):
            raise _proxy(address) from error
        if error.sqlstate in _BAD_PARAMETER:
            raise InvalidSettings(
                f"PostgreSQL at {address.place} does not take what the URL of the store says: {error}"
            ) from error
        raise translated(error, address.place) or error from error
    except (OSError, TimeoutError, asyncpg.InterfaceError, ValueError) as error:
        raise unavailable(address.place, str(error) or "it does not answer") from error
    try:
        await _prepare(connection, address, session)
    except BaseException as error:
        connection.terminate()
        known = translated(error, address.place)
        if known is None or known is error:
            raise
        raise known from error
    return connection


async def _prepare(connection: Connection, address: Address, session: dict[str, str]) -> None:
    async with asyncio.timeout(CONNECT_PATIENCE_S):
        version = connection.get_server_version()
        if version.major < OLDEST_SERVER:
            raise StoreIncompatible(
                f"PostgreSQL at {address.place} is version {version.major}; perdure needs {OLDEST_SERVER} or newer",
                version=version.major,
            )
        if session and await connection.fetchval("SHOW search_path") != address.schema:
            raise _proxy(address)
        await connection.set_type_codec("uuid", schema="pg_catalog", encoder=_same, decoder=_same, format="binary")
        # Sums of integers are numeric; they have no fraction.
        await connection.set_type_codec("numeric", schema="pg_catalog", encoder=str, decoder=int, format="text")


def _proxy(address: Address) -> StoreIncompatible:
    return StoreIncompatible(
        f"before PostgreSQL at {address.place} stands a proxy that does not keep a session's settings (PgBouncer in "
        "transaction mode?); add prepare=false&listen=false to the URL of the store, or go round the proxy",
        place=address.place,
    )


def _same(value: bytes) -> bytes:
    return value
