"""The connection by which one of all processes writes the text index; made when it is needed."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from perdure.store.postgres.connection import WRITING, Connection, connect, local_settings
from perdure.store.postgres.failures import translated
from perdure.store.postgres.runner import Runner, Statements
from perdure.store.postgres.url import Address
from perdure.store.statements import Procedure, T

PATIENCE_S = 30.0
IDLE_S = 10.0
"""Without use it is kept for so long: whoever does not hold the index asks for it each half minute only."""
_SETTINGS = WRITING | {"synchronous_commit": "off"}
"""What a crash of the server loses of the index, it loses in the order of the commits: it is followed again from there."""


class IndexConnection:
    """Used from one event loop."""

    def __init__(self, address: Address, statements: Statements) -> None:
        self._address = address
        self._statements = statements
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()
        self._leaving: asyncio.TimerHandle | None = None
        self._begin = "BEGIN" + local_settings(address, _SETTINGS)

    async def write(self, procedure: Procedure[T]) -> T:
        """As `perdure.store.text_index.IndexWriter`."""
        async with self._turn:
            self._stay()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    answer = await self._transaction(procedure)
            except BaseException as error:
                self._drop()
                known = translated(error, self._address.place)
                if known is None or known is error:
                    raise
                raise known from error
            self._leaving = asyncio.get_running_loop().call_later(IDLE_S, self._drop)
            return answer

    async def _transaction(self, procedure: Procedure[T]) -> T:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._address, _SETTINGS, name="perdure indexer")
        connection = self._connection
        await connection.execute(self._begin)
        answer = await Runner(connection, self._statements, self._address.place).run(procedure)
        await connection.execute("COMMIT")
        return answer

    def _stay(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        self._stay()
        if self._connection is not None:
            with suppress(Exception):
                await self._connection.close(timeout=1.0)
            self._connection = None
