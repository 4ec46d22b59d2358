"""Proof of life on a connection of its own, for a thread without a loop."""

from __future__ import annotations

import asyncio

from perdure.store.postgres.calls import Calls
from perdure.store.postgres.connection import WRITING, Connection, connect
from perdure.store.postgres.failures import translated, unavailable
from perdure.store.postgres.url import Address

_SETTINGS = WRITING | {"synchronous_commit": "off", "lock_timeout": "0"}
"""A heartbeat need not outlive a crash of the server, and waits for a claim that is being made in its name."""


class PostgresPulse:
    """`perdure.store.interface.Pulse`; all calls come from one thread."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._calls = Calls(address, _SETTINGS, "pulse")
        self._runner: asyncio.Runner | None = None
        self._connection: Connection | None = None

    def beat(self, worker: str, *, within_s: float) -> bool:
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(self._beat(worker, within_s))

    def close(self) -> None:
        self._drop()
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    async def _beat(self, worker: str, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await connect(self._address, _SETTINGS, name="perdure pulse")
                return bool(await self._calls.fetch(self._connection, "pulse", worker=worker))
        except TimeoutError:
            self._drop()
            raise unavailable(self._address.place, f"no answer within {within_s:.1f} s") from None
        except Exception as error:
            self._drop()
            raise translated(error, self._address.place) or error from error

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
