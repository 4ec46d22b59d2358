"""Single named statements on a connection of one's own, outside the writer's batches."""

from __future__ import annotations

from typing import Any

from perdure.store.postgres.connection import Connection, local_settings
from perdure.store.postgres.runner import Compiled, compiled
from perdure.store.postgres.url import Address
from perdure.store.statements import library


class Calls:
    """By name, each of one part with single parameters. `settings` are those that the connections were made with."""

    def __init__(self, address: Address, settings: dict[str, str], *names: str) -> None:
        self._address = address
        self._settings = settings
        statements = library("postgres").statements
        self._compiled: dict[str, Compiled] = {}
        for name in names:
            (self._compiled[name],) = compiled(statements[name])

    async def fetch(
        self, connection: Connection, name: str, *, synchronous_commit: str | None = None, **params: Any
    ) -> list[Any]:
        """The rows of its answer; `synchronous_commit` where it matters here. Raises what asyncpg raises."""
        found = self._compiled[name]
        values = [params[one] for one in found.order]
        also = {} if synchronous_commit is None else {"synchronous_commit": synchronous_commit}
        if self._address.prepare:
            for setting, value in also.items():
                await connection.execute(f"SET {setting} = {value}")
            return await connection.fetch(found.sql, *values)
        # Behind a pooling proxy only a transaction stays with one session, and with what was set for it.
        async with connection.transaction():
            await connection.execute(local_settings(self._address, self._settings | also).lstrip("; "))
            return await connection.fetch(found.sql, *values)
