"""Folds what batches have counted into the tables that counts and statistics read."""

from __future__ import annotations

from perdure.base.clock import Clock
from perdure.engine.pace import Pace
from perdure.store.commands import FoldCounters
from perdure.store.recorder import Recorder

_FOLD_S = 2.0


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
