"""Notices that a disk which was full has space again."""

from __future__ import annotations

from contextlib import suppress

from perdure.base.clock import Clock
from perdure.errors import StoreError, StoreFull
from perdure.store.commands import ProbeSpace
from perdure.store.recorder import Recorder

_PROBE_S = 5.0


class Prober:
    """After the disk was full: finds out whether it has space again, even when nobody else would write."""

    def __init__(self, *, recorder: Recorder, clock: Clock) -> None:
        self._recorder = recorder
        self._clock = clock

    async def work(self) -> float:
        if isinstance(self._recorder.trouble, StoreFull):
            with suppress(StoreError):
                await self._recorder.execute(ProbeSpace(at=self._clock.now()))
        return _PROBE_S
