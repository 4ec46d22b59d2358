"""Weekly partitions, made ahead, and dropped once retention has emptied them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from asyncpg import UndefinedTableError

from perdure.base.clock import DAY
from perdure.errors import StoreBusy
from perdure.store.postgres.connection import MIGRATING, Connection, connect, local_settings
from perdure.store.postgres.failures import translated
from perdure.store.postgres.runner import Runner, Statements
from perdure.store.postgres.url import Address
from perdure.store.statements import All, Procedure, T

AHEAD = 21 * DAY
"""So far that nobody who looks once a day, or has not looked for two weeks, comes too late."""
PATIENCE_S = 60.0
_SETTINGS = MIGRATING | {"idle_in_transaction_session_timeout": "10000"}
"""A process that is stopped in the middle keeps all others from all tables."""


class Partitions:
    """Used from one event loop. Any number of processes may make the same ones."""

    def __init__(self, address: Address, statements: Statements) -> None:
        self._address = address
        self._statements = statements

    async def make(self, *, since: int | None = None) -> int:
        """As `PostgresStore.make_partitions`."""
        async with self._session() as session:
            made = 0
            for week in await session.run(_missing(since)):
                made += await session.run(_make(week))
            return made

    async def drop(self, *, before: int) -> int:
        """As `perdure.store.interface.Sharing.drop_partitions`."""
        async with self._session() as session:
            dropped = 0
            for week in await session.run(_old(before)):
                # Another process may have dropped it since.
                with suppress(UndefinedTableError):
                    is_empty, names = await session.run(_tables(week))
                    if is_empty:
                        # Afterwards there is nothing to look through while all wait.
                        await session.connection.execute(f"VACUUM {names}")
                        dropped += await session.run(_drop(week))
            return dropped

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[_Session]:
        connection = await connect(self._address, _SETTINGS, name="perdure partitions")
        begin = "BEGIN" + local_settings(self._address, _SETTINGS)
        try:
            async with asyncio.timeout(PATIENCE_S):
                yield _Session(connection, begin, Runner(connection, self._statements, self._address.place))
        except StoreBusy:
            raise
        except Exception as error:
            raise translated(error, self._address.place) or error from error
        finally:
            connection.terminate()


class _Session:
    """Each procedure in a transaction of its own."""

    def __init__(self, connection: Connection, begin: str, runner: Runner) -> None:
        self.connection = connection
        self._begin = begin
        self._runner = runner

    async def run(self, procedure: Procedure[T]) -> T:
        await self.connection.execute(self._begin)
        try:
            answer = await self._runner.run(procedure)
        except Exception:
            await self.connection.execute("ROLLBACK")
            raise
        await self.connection.execute("COMMIT")
        return answer


def _missing(since: int | None) -> Procedure[list[int]]:
    rows = yield All("weeks_missing", {"ahead": AHEAD, "since": since})
    return [week for (week,) in rows]


def _make(week: int) -> Procedure[bool]:
    ((is_new,),) = yield All("week_make", {"week": week})
    return bool(is_new)


def _old(before: int) -> Procedure[list[int]]:
    rows = yield All("weeks_old", {"before": before})
    return [week for (week,) in rows]


def _tables(week: int) -> Procedure[tuple[bool, str]]:
    ((is_empty, names),) = yield All("week_tables", {"week": week})
    return bool(is_empty), str(names)


def _drop(week: int) -> Procedure[bool]:
    ((is_gone,),) = yield All("week_drop", {"week": week})
    return bool(is_gone)
