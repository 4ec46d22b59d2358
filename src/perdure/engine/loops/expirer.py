"""Deletes what has ended and was kept long enough, in portions that hold up nobody."""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from perdure.base.clock import DAY, MINUTE, SECOND, Clock
from perdure.base.ids import id_floor
from perdure.engine.pace import Pace
from perdure.engine.retention import Retention
from perdure.store.commands import ExpireExecutions
from perdure.store.interface import Store
from perdure.store.recorder import Recorder

PAGE = 500
REST_S = 60.0
MOST = 256
LEAST = 4
LONGEST_US = 20_000
"""Of a portion, its wait for the writer included: a longer one makes the next smaller."""
PAUSE = 4
"""Times as long as a portion took, others have the writer for themselves."""
AGAIN_LEAST = 10 * MINUTE
_FIRST = bytes(16)
_log = structlog.get_logger(__name__)


class _Walk(msgspec.Struct):
    """Through the executions that are old enough for one span, by their ids."""

    span: int
    after: bytes = _FIRST
    began: int | None = None


class Expirer:
    """The work of a `Loop`. Of the processes on a shared store, the worker that is alive the longest does it."""

    def __init__(
        self,
        *,
        store: Store,
        recorder: Recorder,
        clock: Clock,
        retention: Retention,
        lease: int,
        worker: str,
        pace: Pace,
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._clock = clock
        self._retention = retention
        self._lease = lease
        self._worker = worker
        self._pace = pace
        self._walks = [_Walk(span) for span in retention.spans]
        self._size = 16

    async def work(self) -> float:
        if not await self._is_first():
            return self._pace.pause(REST_S)
        before, deleted = self._clock.monotonic(), 0
        for walk in self._walks:
            deleted += await self._go_on(walk)
        if deleted:
            took_s = (self._clock.monotonic() - before) / SECOND
            _log.info("executions were kept long enough and are deleted", deleted=deleted, took_s=round(took_s, 3))
        return self._pace.pause(REST_S)

    async def _is_first(self) -> bool:
        """Where two think so for a moment, one of them finds nothing to delete."""
        if self._store.sharing is None:
            return True
        alive_since = self._clock.now() - self._lease
        alive = [
            worker for worker in await self._store.workers.list()
            if worker.stopped_at is None and worker.heartbeat_at >= alive_since
        ]  # fmt: skip
        return bool(alive) and min(alive, key=lambda worker: worker.number).id == self._worker

    async def _go_on(self, walk: _Walk) -> int:
        """To the end of what is old enough. Now and then from the beginning: what ended late was passed by."""
        at = self._clock.now()
        if walk.began is None or at - walk.began >= min(max(walk.span, AGAIN_LEAST), DAY):
            walk.after, walk.began = _FIRST, at
        deleted = 0
        before = at - walk.span
        while page := await self._store.executions.passed(walk.after, id_floor(before), PAGE):
            roots = [
                one.id for one in page
                if one.depth == 0 and one.finished_at is not None and one.finished_at < before
                and self._retention.kept(one.namespace, one.status) == walk.span
            ]  # fmt: skip
            deleted += await self._delete(roots)
            walk.after = page[-1].id
        return deleted

    async def _delete(self, roots: list[bytes]) -> int:
        deleted = 0
        while roots:
            began = self._clock.monotonic()
            some, roots = roots[: self._size], roots[self._size :]
            expired = await self._recorder.execute(ExpireExecutions(at=self._clock.now(), roots=some, limit=self._size))
            took = self._clock.monotonic() - began
            deleted += expired.deleted
            roots = [*expired.left, *roots]
            self._size = max(self._size // 2, LEAST) if took > LONGEST_US else min(self._size + LEAST, MOST)
            await asyncio.sleep(PAUSE * took / SECOND)
        return deleted
