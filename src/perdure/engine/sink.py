"""What an attempt tells while it runs: log lines, artifacts, progress, on their way into the owner's events."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from perdure.artifacts.names import artifact_name, recordable_media_type
from perdure.base.clock import SECOND, boot_time
from perdure.base.ids import id_text, new_id
from perdure.base.texts import recordable
from perdure.engine.insist import insist
from perdure.engine.shop import Shop
from perdure.model.event import Event, EventType
from perdure.model.execution import NodeRun
from perdure.model.states import ExecutionKind
from perdure.store.records import ArtifactRecord, ExecutionRecord

FLUSH_BYTES = 64 * 1024
FLUSH_S = 0.1
_HIGH_WATER = 1024 * 1024
"""Log bytes of one execution that may wait for a commit before `ready` holds the attempt back."""
_PROGRESS_EVERY = 100_000
"""Microseconds between two progress events of one attempt."""


class LogBuffer:
    """Counts an owner's log text: what is not yet flushed, what is not yet committed, and all of it."""

    __slots__ = ("committing", "free", "scheduled", "total", "truncated", "unflushed")

    def __init__(self) -> None:
        self.unflushed = 0
        self.committing = 0
        self.total = 0
        self.truncated = False
        self.scheduled = False
        self.free: asyncio.Event | None = None

    @property
    def full(self) -> bool:
        return self.unflushed + self.committing > _HIGH_WATER

    def committed(self) -> None:
        self.committing = 0
        if self.free is not None and not self.full:
            self.free.set()
            self.free = None


class Teller(Protocol):
    """The owner's outbox, as far as its sinks know it."""

    shop: Shop
    record: ExecutionRecord
    logs: LogBuffer
    gone: bool

    def tell(self, event: Event) -> None: ...
    def publish(self, artifact: ArtifactRecord, event: Event) -> None: ...


class Timeouts(Protocol):
    """The owner's attempts, as far as their sinks know them."""

    def hold_timeout(self, run: NodeRun) -> None: ...
    def begin_timeout(self, run: NodeRun) -> None: ...
    def keep(self, run: NodeRun, work: Coroutine[Any, Any, None]) -> None: ...


class AttemptSink:
    """The `Sink` of one attempt."""

    __slots__ = ("_attempt", "_outbox", "_progress_at", "_run", "_timeouts")

    def __init__(self, outbox: Teller, run: NodeRun, timeouts: Timeouts) -> None:
        self._outbox = outbox
        self._run = run
        self._attempt = run.attempt
        self._progress_at = 0
        self._timeouts = timeouts

    def waiting(self) -> None:
        self._timeouts.hold_timeout(self._run)

    def placed(self) -> None:
        self._timeouts.begin_timeout(self._run)

    def log(self, level: str, message: str, *, stream: str | None = None, at: int | None = None) -> None:
        outbox, run, logs = self._outbox, self._run, self._outbox.logs
        if logs.truncated or outbox.gone:
            return
        ago = 0 if at is None else max(round(boot_time() * SECOND) - at, 0)
        when = outbox.shop.clock.now() - ago
        size = len(message) + 64
        logs.total += size
        if logs.total > outbox.shop.settings.log_limit:
            logs.truncated = True
            outbox.tell(
                Event(
                    EventType.LOG_TRUNCATED,
                    when,
                    run.node,
                    run.ordinal,
                    self._attempt,
                    {"limit_bytes": outbox.shop.settings.log_limit},
                )
            )
            return
        data = {"level": level, "message": recordable(message)}
        if stream is not None:
            data["stream"] = stream
        logs.unflushed += size
        outbox.tell(Event(EventType.LOG, when, run.node, run.ordinal, self._attempt, data))

    async def ready(self) -> None:
        logs = self._outbox.logs
        while logs.full and not self._outbox.gone:
            if logs.free is None:
                logs.free = asyncio.Event()
            await logs.free.wait()

    def artifact(self, *, name: str, path: str, media_type: str, size_bytes: int, sha256: bytes) -> None:
        """Raises ValueError for a name or a media type that cannot be recorded."""
        artifact_name(name)
        recordable_media_type(media_type)
        outbox, run, at = self._outbox, self._run, self._outbox.shop.clock.now()
        execution_id, ordinal = outbox.record.id, run.ordinal
        if outbox.record.kind is ExecutionKind.UNIT and outbox.record.parent is not None:
            # What a unit publishes belongs to the execution that its run is of.
            execution_id, ordinal = outbox.record.parent, outbox.record.parent_ordinal or 0
        record = ArtifactRecord(
            id=new_id(at), workspace=outbox.record.workspace, execution_id=execution_id, node=run.node,
            ordinal=ordinal, attempt=self._attempt, name=name, path=path, media_type=media_type,
            size_bytes=size_bytes, sha256=sha256, created_at=at,
        )  # fmt: skip
        data = {"artifact": id_text(record.id), "name": name, "size_bytes": size_bytes, "media_type": media_type}
        event = Event(EventType.ARTIFACT_CREATED, at, run.node, run.ordinal, self._attempt, data)
        if outbox.shop.artifacts.is_shared:
            self._timeouts.keep(run, self._publish_kept(record, event))
        else:
            outbox.publish(record, event)

    async def _publish_kept(self, record: ArtifactRecord, event: Event) -> None:
        """Nothing is recorded of a content that others could not read."""
        await insist(lambda: self._outbox.shop.artifacts.keep(record.sha256))
        self._outbox.publish(record, event)

    def progress(self, fraction: float | None, message: str | None = None) -> None:
        outbox, run, at = self._outbox, self._run, self._outbox.shop.clock.now()
        done = fraction is not None and fraction >= 1
        if outbox.gone or (at - self._progress_at < _PROGRESS_EVERY and not done):
            return
        self._progress_at = at
        data = {"fraction": fraction, "message": None if message is None else recordable(message)}
        outbox.tell(Event(EventType.PROGRESS, at, run.node, run.ordinal, self._attempt, data))
