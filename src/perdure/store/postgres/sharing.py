"""What a store that several processes share has besides."""

from __future__ import annotations

from perdure.base.clock import boot_time
from perdure.store.clock import StoreClock
from perdure.store.postgres.partitions import Partitions
from perdure.store.postgres.pulse import PostgresPulse
from perdure.store.postgres.signals import PostgresSignals
from perdure.store.postgres.url import Address
from perdure.store.reads.reader import Reader
from perdure.store.statements import All, Procedure


class PostgresSharing:
    """`perdure.store.interface.Sharing`."""

    def __init__(self, address: Address, partitions: Partitions, read: Reader) -> None:
        self._address = address
        self._partitions = partitions
        self._read = read
        self.signals = PostgresSignals(address)
        self.clock = StoreClock()

    async def hear_clock(self) -> None:
        asked_at, at, answered_at = await self._read(_time_there())
        self.clock.heard(at, asked_at=asked_at, answered_at=answered_at)

    def pulse(self) -> PostgresPulse:
        return PostgresPulse(self._address)

    async def make_partitions(self) -> int:
        return await self._partitions.make()

    async def drop_partitions(self, before: int) -> int:
        return await self._partitions.drop(before=before)


def _time_there() -> Procedure[tuple[float, int, float]]:
    """(when it was asked, its answer in microseconds, when that came); the turn for a connection is not counted."""
    asked_at = boot_time()
    ((at,),) = yield All("clock")
    return asked_at, at, boot_time()
