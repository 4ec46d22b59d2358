"""A small pool of reading connections."""

from __future__ import annotations

import asyncio

from perdure.errors import StoreBusy
from perdure.store.postgres.connection import READING, Connection, connect, local_settings
from perdure.store.postgres.failures import is_loss, translated, unavailable
from perdure.store.postgres.runner import Runner, Statements
from perdure.store.postgres.url import Address
from perdure.store.statements import Procedure, T

PATIENCE_S = 15.0
"""For a whole read; a single statement has less (`connection.READING`)."""
TURN_PATIENCE_S = 5.0
"""For a connection to become free."""


class Readers:
    """Runs reading procedures, as many at a time as the address allows; used from one event loop."""

    def __init__(self, address: Address, statements: Statements) -> None:
        self._address = address
        self._statements = statements
        self._turns = asyncio.Semaphore(address.pool)
        self._free: list[Connection] = []
        self._is_closed = False
        self._settings = local_settings(address, READING)

    async def read(self, procedure: Procedure[T], *, consistent: bool = False) -> T:
        try:
            async with asyncio.timeout(TURN_PATIENCE_S):
                await self._turns.acquire()
        except TimeoutError:
            raise StoreBusy(
                f"all {self._address.pool} reading connections to {self._address.place} are busy; "
                "the URL's pool=… allows more"
            ) from None
        try:
            connection = await self._taken()
            is_fit = False
            try:
                async with asyncio.timeout(PATIENCE_S):
                    answer = await self._run(connection, procedure, consistent=consistent)
                is_fit = True
                return answer
            except Exception as error:
                known = translated(error, self._address.place)
                is_fit = not is_loss(known)
                if known is None or known is error:
                    raise
                raise known from error
            finally:
                self._give_back(connection, is_fit=is_fit)
        finally:
            self._turns.release()

    async def close(self) -> None:
        """Also when it is cancelled meanwhile: a connection that is left open may keep its event loop from being closed."""
        self._is_closed = True
        try:
            while self._free:
                connection = self._free.pop()
                try:
                    await connection.close(timeout=1.0)
                except Exception:
                    connection.terminate()
        finally:
            while self._free:
                self._free.pop().terminate()

    async def _taken(self) -> Connection:
        """The one that was used last, so that a quiet store needs few; those that the server has closed are left out."""
        if self._is_closed:
            raise unavailable(self._address.place, "it is closed")
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed():
                return connection
        return await connect(self._address, READING, name="perdure reader")

    def _give_back(self, connection: Connection, *, is_fit: bool) -> None:
        if is_fit and not self._is_closed and not connection.is_closed() and not connection.is_in_transaction():
            self._free.append(connection)
        else:
            connection.terminate()

    async def _run(self, connection: Connection, procedure: Procedure[T], *, consistent: bool) -> T:
        runner = Runner(connection, self._statements, self._address.place)
        if not consistent and not self._settings:
            return await runner.run(procedure)
        level = "REPEATABLE READ" if consistent else "READ COMMITTED"
        await connection.execute(f"BEGIN ISOLATION LEVEL {level} READ ONLY{self._settings}")
        try:
            return await runner.run(procedure)
        finally:
            if not connection.is_closed():
                await connection.execute("COMMIT")
