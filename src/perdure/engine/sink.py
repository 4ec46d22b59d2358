"""What an attempt tells while it runs: log lines, artifacts, progress, on their way into the owner's events."""

from __future__ import annotations

import asyncio
from typing import Protocol

from perdure.base.ids import id_text, new_id
from perdure.engine.shop import Shop
from perdure.model.event import Event, EventType
from perdure.model.execution import NodeRun
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
    """The owner, as far as its sinks know it."""

    shop: Shop
    record: ExecutionRecord
    logs: LogBuffer
    gone: bool

    def tell(self, event: Event) -> None: ...
    def publish(self, artifact: ArtifactRecord, event: Event) -> None: ...


class AttemptSink:
    """The `Sink` of one attempt."""

    __slots__ = ("_attempt", "_owner", "_progress_at", "_run")

    def __init__(self, owner: Teller, run: NodeRun) -> None:
        self._owner = owner
        self._run = run
        self._attempt = run.attempt
        self._progress_at = 0

    def log(self, level: str, message: str, *, stream: str | None = None, at: int | None = None) -> None:
        owner, run, logs = self._owner, self._run, self._owner.logs
        if logs.truncated or owner.gone:
            return
        when = owner.shop.clock.now() if at is None else at
        size = len(message) + 64
        logs.total += size
        if logs.total > owner.shop.settings.log_limit:
            logs.truncated = True
            owner.tell(
                Event(
                    EventType.LOG_TRUNCATED,
                    when,
                    run.node,
                    run.ordinal,
                    self._attempt,
                    {"limit_bytes": owner.shop.settings.log_limit},
                )
            )
            return
        data = {"level": level, "message": message}
        if stream is not None:
            data["stream"] = stream
        logs.unflushed += size
        owner.tell(Event(EventType.LOG, when, run.node, run.ordinal, self._attempt, data))

    async def ready(self) -> None:
        logs = self._owner.logs
        while logs.full and not self._owner.gone:
            if logs.free is None:
                logs.free = asyncio.Event()
            await logs.free.wait()

    def artifact(self, *, name: str, path: str, media_type: str, size_bytes: int, sha256: bytes) -> None:
        owner, run, at = self._owner, self._run, self._owner.shop.clock.now()
        record = ArtifactRecord(
            id=new_id(), workspace=owner.record.workspace, execution_id=owner.record.id, node=run.node,
            ordinal=run.ordinal, attempt=self._attempt, name=name, path=path, media_type=media_type,
            size_bytes=size_bytes, sha256=sha256, created_at=at,
        )  # fmt: skip
        data = {"artifact": id_text(record.id), "name": name, "size_bytes": size_bytes, "media_type": media_type}
        owner.publish(record, Event(EventType.ARTIFACT_CREATED, at, run.node, run.ordinal, self._attempt, data))

    def progress(self, fraction: float | None, message: str | None = None) -> None:
        owner, run, at = self._owner, self._run, self._owner.shop.clock.now()
        done = fraction is not None and fraction >= 1
        if owner.gone or (at - self._progress_at < _PROGRESS_EVERY and not done):
            return
        self._progress_at = at
        data = {"fraction": fraction, "message": message}
        owner.tell(Event(EventType.PROGRESS, at, run.node, run.ordinal, self._attempt, data))
