"""Keeps the store small: forgets what is past its time."""

from __future__ import annotations

import asyncio

from perdure.base.clock import HOUR, Clock
from perdure.engine.pace import Pace
from perdure.engine.settings import EngineSettings
from perdure.store.commands import ForgetKeys, ForgetOperations, ForgetRates, ForgetWorkers, TrimFeed
from perdure.store.recorder import Recorder

_TRIM_S = 60.0
_BATCH = 1_000
_FIRST_RATE = ("", "")
_RATES_KEPT = HOUR
"""Beyond what clocks may be apart: a rate that is free by one is free by all."""


class Trimmer:
    """Drops what is past its time in small batches: idempotency keys, feed rows, workers, operations, rates."""

    def __init__(self, *, recorder: Recorder, clock: Clock, settings: EngineSettings, pace: Pace) -> None:
        self._recorder = recorder
        self._pace = pace
        self._clock = clock
        self._settings = settings
        self._rates_after = _FIRST_RATE

    async def work(self) -> float:
        now, kept = self._clock.now(), self._settings
        keys = ForgetKeys(at=now, before=now - kept.keys_kept, limit=_BATCH)
        feed = TrimFeed(at=now, before=now - kept.feed_kept, limit=_BATCH)
        workers = ForgetWorkers(at=now, before=now - kept.workers_kept, limit=_BATCH)
        operations = ForgetOperations(at=now, before=now - kept.operations_kept, limit=_BATCH)
        dropped = await asyncio.gather(*map(self._recorder.execute, (keys, feed, workers, operations)))
        rates = ForgetRates(at=now, before=now - _RATES_KEPT, after=self._rates_after, limit=_BATCH)
        self._rates_after = await self._recorder.execute(rates) or _FIRST_RATE
        return 0.05 if _BATCH in dropped else self._pace.chore(_TRIM_S)
