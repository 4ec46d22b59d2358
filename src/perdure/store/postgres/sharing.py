"""What a store that several processes share has besides."""

from __future__ import annotations

from perdure.store.postgres.partitions import Partitions
from perdure.store.postgres.pulse import PostgresPulse
from perdure.store.postgres.signals import PostgresSignals
from perdure.store.postgres.url import Address


class PostgresSharing:
    """`perdure.store.interface.Sharing`."""

    def __init__(self, address: Address, partitions: Partitions) -> None:
        self._address = address
        self._partitions = partitions
        self.signals = PostgresSignals(address)

    def pulse(self) -> PostgresPulse:
        return PostgresPulse(self._address)

    async def make_partitions(self) -> int:
        return await self._partitions.make()
