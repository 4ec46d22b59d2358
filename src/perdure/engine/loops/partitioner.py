"""Prepares the tables of a shared store for the weeks to come, and gives up those of weeks that are over."""

from __future__ import annotations

import structlog

from perdure.base.clock import Clock
from perdure.engine.precedence import Precedence
from perdure.engine.retention import Retention
from perdure.errors import StoreBusy
from perdure.store.sharing import Sharing

_PARTITIONS_S = 6 * 3_600.0
_AGAIN_S = 600.0
"""After others were in the way."""
_log = structlog.get_logger(__name__)


class Partitioner:
    """The work of a `Loop`, where the store has partitions."""

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
