"""Weekly partitions, made ahead, so that retention can drop whole weeks."""

from __future__ import annotations

import asyncio

from perdure.base.clock import DAY
from perdure.errors import StoreBusy
from perdure.store.postgres.connection import MIGRATING, connect, local_settings
from perdure.store.postgres.failures import translated
from perdure.store.postgres.runner import Runner, Statements
from perdure.store.postgres.url import Address
from perdure.store.statements import All, Procedure

AHEAD = 21 * DAY
"""So far that nobody who looks once a day, or has not looked for two weeks, comes too late."""
PATIENCE_S = 60.0


class Partitions:
    """Used from one event loop. Any number of processes may make the same ones."""

    def __init__(self, address: Address, statements: Statements) -> None:
        self._address = address
        self._statements = statements

    async def make(self, *, since: int | None = None) -> int:
        """As `PostgresStore.make_partitions`."""
        begin = "BEGIN" + local_settings(self._address, MIGRATING)
        connection = await connect(self._address, MIGRATING, name="perdure partitions")
        runner = Runner(connection, self._statements, self._address.place)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await connection.execute(begin)
                missing = await runner.run(_missing(since))
                await connection.execute("COMMIT")
                made = 0
                for week in missing:
                    await connection.execute(begin)
                    made += await runner.run(_make(week))
                    await connection.execute("COMMIT")
                return made
        except StoreBusy:
            raise
        except Exception as error:
            raise translated(error, self._address.place) or error from error
        finally:
            connection.terminate()


def _missing(since: int | None) -> Procedure[list[int]]:
    rows = yield All("weeks_missing", {"ahead": AHEAD, "since": since})
    return [week for (week,) in rows]


def _make(week: int) -> Procedure[bool]:
    ((is_new,),) = yield All("week_make", {"week": week})
    return bool(is_new)
