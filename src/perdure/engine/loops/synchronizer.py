"""Keeps the clock of a shared store in this process true."""

from __future__ import annotations

from perdure.engine.pace import Pace
from perdure.store.sharing import Sharing

HEAR_S = 30.0
"""In that time two clocks drift apart by a few milliseconds."""


class Synchronizer:
    def __init__(self, *, sharing: Sharing, pace: Pace) -> None:
        self._sharing = sharing
        self._pace = pace

    async def work(self) -> float:
        await self._sharing.hear_clock()
        return self._pace.pause(HEAR_S)
