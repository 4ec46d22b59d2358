"""When the serving process is to be replaced: work that could not be stopped lives on in it for too long."""

from __future__ import annotations

import asyncio

import structlog

from perdure.base.clock import SECOND, Clock
from perdure.engine.orphans import Orphan, Orphans

_log = structlog.get_logger(__name__)


class Recycler:
    """
    Args:
        orphans: what could not be stopped.
        after: how long one may live, in microseconds.
        pause: the least time between two replacements, in microseconds, so that no flow keeps the server busy with
            them.
        last_at: when the last one happened, in microseconds of the monotonic clock; None for never.
    """

    def __init__(self, orphans: Orphans, clock: Clock, *, after: int, pause: int, last_at: int | None) -> None:
        self._orphans = orphans
        self._clock = clock
        self._after = after
        self._not_before = None if last_at is None else last_at + pause
        self._heard = asyncio.Event()
        orphans.on_orphan = self._tell

    async def due(self) -> list[Orphan]:
        """Returns when the process is to be replaced, with what lives on in it, the oldest first."""
        while True:
            self._heard.clear()
            living = self._orphans.living()
            if living:
                left = self._due_at(living[0]) - self._clock.monotonic()
                if left <= 0:
                    return living
                alarm = self._clock.call_at(self._clock.now() + left, self._heard.set)
                await self._heard.wait()
                alarm.cancel()
            else:
                await self._heard.wait()

    def _due_at(self, oldest: Orphan) -> int:
        """In microseconds of the monotonic clock."""
        at = oldest.since + self._after
        return at if self._not_before is None else max(at, self._not_before)

    def _tell(self) -> None:
        self._heard.set()
        living = self._orphans.living()
        if living:
            newest, left = living[-1], self._due_at(living[0]) - self._clock.monotonic()
            _log.warning(
                "work that could not be stopped lives on; this process replaces itself unless it ends",
                execution=newest.execution, node=newest.node, ordinal=newest.ordinal, attempt=newest.attempt,
                living=len(living), replaces_in_s=round(max(left, 0) / SECOND, 1),
            )  # fmt: skip
