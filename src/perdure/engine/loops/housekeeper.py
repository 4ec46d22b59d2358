"""Keeps the store small and ready: folds counters, forgets idempotency keys, trims the feed, makes partitions."""

from __future__ import annotations

from perdure.base.clock import Clock
from perdure.engine.pace import Pace
from perdure.engine.settings import EngineSettings
from perdure.store.commands import FoldCounters, ForgetKeys, TrimFeed
from perdure.store.interface import Sharing
from perdure.store.recorder import Recorder

_FOLD_S = 2.0
_TRIM_S = 60.0
_PARTITIONS_S = 6 * 3_600.0
_BATCH = 1_000


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
    """Drops old idempotency keys and feed rows in small batches."""

    def __init__(self, *, recorder: Recorder, clock: Clock, settings: EngineSettings, pace: Pace) -> None:
        self._recorder = recorder
        self._pace = pace
        self._clock = clock
        self._settings = settings

    async def work(self) -> float:
        now = self._clock.now()
        keys = ForgetKeys(at=now, before=now - self._settings.keys_kept, limit=_BATCH)
        feed = TrimFeed(at=now, before=now - self._settings.feed_kept, limit=_BATCH)
        dropped = [await self._recorder.execute(keys), await self._recorder.execute(feed)]
        return 0.05 if _BATCH in dropped else self._pace.chore(_TRIM_S)


class Partitioner:
    """Has a shared store prepare its tables for the weeks to come."""

    def __init__(self, *, sharing: Sharing) -> None:
        self._sharing = sharing

    async def work(self) -> float:
        await self._sharing.make_partitions()
        return _PARTITIONS_S
