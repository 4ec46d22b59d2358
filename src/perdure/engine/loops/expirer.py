"""Deletes what has ended and was kept long enough, in portions that hold up nobody."""

from __future__ import annotations

import msgspec
import structlog

from perdure.base.clock import DAY, MINUTE, SECOND, Clock
from perdure.base.ids import FIRST_ID, id_floor
from perdure.engine.eraser import Eraser
from perdure.engine.pace import Pace
from perdure.engine.precedence import Precedence
from perdure.engine.retention import Retention
from perdure.store.interface import Store

PAGE = 500
REST_S = 60.0
AGAIN_LEAST = 10 * MINUTE
_log = structlog.get_logger(__name__)


class _Walk(msgspec.Struct):
    """Through the executions that are old enough for one span, by their ids."""

    span: int
    after: bytes = FIRST_ID
    began: int | None = None


class Expirer:
    """The work of a `Loop`. Of the processes on a shared store, one does it at a time."""

    def __init__(
        self, *, store: Store, eraser: Eraser, clock: Clock, retention: Retention, precedence: Precedence, pace: Pace
    ) -> None:
        self._store = store
        self._eraser = eraser
        self._clock = clock
        self._retention = retention
        self._precedence = precedence
        self._pace = pace
        self._walks = [_Walk(span) for span in retention.spans]

    async def work(self) -> float:
        # Where two think that they are first for a moment, one of them finds nothing to delete.
        if not await self._precedence.is_first():
            return self._pace.pause(REST_S)
        before, deleted = self._clock.monotonic(), 0
        for walk in self._walks:
            deleted += await self._go_on(walk)
        if deleted:
            took_s = (self._clock.monotonic() - before) / SECOND
            _log.info("executions were kept long enough and are deleted", deleted=deleted, took_s=round(took_s, 3))
        return self._pace.pause(REST_S)

    async def _go_on(self, walk: _Walk) -> int:
        """To the end of what is old enough. Now and then from the beginning: what ended late was passed by."""
        at = self._clock.now()
        if walk.began is None or at - walk.began >= min(max(walk.span, AGAIN_LEAST), DAY):
            walk.after, walk.began = FIRST_ID, at
        deleted = 0
        before = at - walk.span
        while page := await self._store.executions.passed(walk.after, id_floor(before), PAGE):
            roots = [
                one.id for one in page
                if one.depth == 0 and one.finished_at is not None and one.finished_at < before
                and self._retention.kept(one.namespace, one.status) == walk.span
            ]  # fmt: skip
            deleted += await self._eraser.erase(roots)
            walk.after = page[-1].id
        return deleted
