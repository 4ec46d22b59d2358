"""Keeps the store small and ready: folds counters, forgets what is past its time, makes partitions."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from perdure.base.clock import HOUR, Clock
from perdure.engine.pace import Pace
from perdure.engine.precedence import Precedence
from perdure.engine.retention import Retention
from perdure.engine.settings import EngineSettings
from perdure.errors import StoreBusy, StoreError, StoreFull
from perdure.store.commands import (
    FoldCounters,
    ForgetKeys,
    ForgetOperations,
    ForgetRates,
    ForgetWorkers,
    ProbeSpace,
    TrimFeed,
)
from perdure.store.interface import Sharing
from perdure.store.recorder import Recorder

_FOLD_S = 2.0
_PROBE_S = 5.0
_TRIM_S = 60.0
_PARTITIONS_S = 6 * 3_600.0
_AGAIN_S = 600.0
"""After others were in the way."""
_BATCH = 1_000
_log = structlog.get_logger(__name__)
_FIRST_RATE = ("", "")
_RATES_KEPT = HOUR
"""Beyond what clocks may be apart: a rate that is free by one is free by all."""


class CounterFolder:
    """Folds counter deltas while there are any."""

    def __init__(self, *, recorder: Recorder, clock: Clock, pace: Pace) -> None:
        self._recorder = recorder
        self._pace = pace
        self._clock = clock
        self._batches = -1

    async def work(self) -> float:
        if self._recorder.stats.batches != self._batches:
            while await self._recorder.execute(FoldCounters(at=self._clock.now())):
                pass
            self._batches = self._recorder.stats.batches
        return self._pace.chore(_FOLD_S)


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


class Partitioner:
    """Has a shared store prepare its tables for the weeks to come, and give up those of weeks that are over."""

    def __init__(self, *, sharing: Sharing, clock: Clock, retention: Retention, precedence: Precedence) -> None:
        self._sharing = sharing
        self._clock = clock
        self._longest = max(retention.spans, default=None)
        self._precedence = precedence

    async def work(self) -> float:
        await self._sharing.make_partitions()
        if self._longest is not None and await self._precedence.is_first():
            try:
                dropped = await self._sharing.drop_partitions(self._clock.now() - self._longest)
            except StoreBusy:
                return _AGAIN_S
            if dropped:
                _log.info("tables of past weeks are empty and were dropped", weeks=dropped)
        return _PARTITIONS_S
