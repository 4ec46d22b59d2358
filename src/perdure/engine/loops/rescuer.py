"""Finds workers that died, whichever process they were in, and makes what they owned claimable."""

from __future__ import annotations

import structlog

from perdure.base.clock import SECOND, Clock
from perdure.engine.pace import Pace
from perdure.store.commands import RescueExecutions
from perdure.store.interface import Store
from perdure.store.recorder import Recorder

LOOKS = 3
"""In a lease."""
_AGAIN_S = 0.02
"""A look takes some of the dead; where there were any, there may be more."""

log = structlog.get_logger(__name__)


class Rescuer:
    """Any number of them may look at once: the store decides who finds whom. `lease` is in microseconds."""

    def __init__(self, *, store: Store, recorder: Recorder, clock: Clock, lease: int, pace: Pace) -> None:
        self._store = store
        self._recorder = recorder
        self._clock = clock
        self._lease = lease
        self._pace = pace

    async def work(self) -> float:
        dead = await self._recorder.execute(RescueExecutions(at=self._clock.now(), lease=self._lease))
        for worker in dead:
            log.warning("a worker is dead: what it owned goes back into the queue", worker=worker)
        if dead:
            return _AGAIN_S
        self._pace.alive = max(await self._store.workers.count(), 1)
        return self._pace.chore(self._lease / SECOND / LOOKS)
