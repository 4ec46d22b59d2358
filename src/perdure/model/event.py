"""Events: the numbered facts of an execution."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from perdure.model.states import ExecutionKind


class EventType(StrEnum):
    EXECUTION_CREATED = "execution.created"
    EXECUTION_QUEUED = "execution.queued"
    EXECUTION_STARTED = "execution.started"
    EXECUTION_SUSPENDED = "execution.suspended"
    EXECUTION_RESUMED = "execution.resumed"
    EXECUTION_INTERRUPTED = "execution.interrupted"
    EXECUTION_RECOVERED = "execution.recovered"
    EXECUTION_CANCELLING = "execution.cancelling"
    EXECUTION_COMPLETED = "execution.completed"
    EXECUTION_FAILED = "execution.failed"
    EXECUTION_CANCELLED = "execution.cancelled"
    EXECUTION_TIMED_OUT = "execution.timed_out"
    EXECUTION_ABANDONED = "execution.abandoned"
    EXECUTION_TAGGED = "execution.tagged"
    EXECUTION_PAUSED = "execution.paused"
    EXECUTION_UNPAUSED = "execution.unpaused"
    EXECUTION_SIGNALLED = "execution.signalled"
    NODE_STARTED = "node.started"
    NODE_RETRYING = "node.retrying"
    NODE_SUSPENDED = "node.suspended"
    NODE_ANSWERED = "node.answered"
    NODE_COMPLETED = "node.completed"
    NODE_FAILED = "node.failed"
    NODE_SKIPPED = "node.skipped"
    NODE_CANCELLED = "node.cancelled"
    NODE_TIMED_OUT = "node.timed_out"
    NODE_ORPHANED = "node.orphaned"
    LOG = "log"
    LOG_TRUNCATED = "log.truncated"
    ARTIFACT_CREATED = "artifact.created"
    STORAGE_WRITTEN = "storage.written"
    PROGRESS = "progress"


TERMINAL_TYPES = frozenset(
    {
        EventType.EXECUTION_COMPLETED,
        EventType.EXECUTION_FAILED,
        EventType.EXECUTION_CANCELLED,
        EventType.EXECUTION_TIMED_OUT,
        EventType.EXECUTION_ABANDONED,
    }
)


class Event(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """A fact before it has its number; the commit gives it the execution's next `seq`.

    Stored as a JSON array inside a chunk: the events of one execution that one commit brought
    stand in one row, numbered from the row's first `seq` on. `data` of a log is
    `{level, message}`; events carry no inputs or outputs.
    """

    type: str
    at: int
    node: str | None = None
    ordinal: int | None = None
    attempt: int | None = None
    data: dict[str, Any] | None = None


class EventChunk(msgspec.Struct, frozen=True):
    """Consecutive events of one execution, numbered `first_seq`, `first_seq + 1`, …"""

    execution_id: bytes
    workspace: str
    flow: str
    first_seq: int
    events: tuple[Event, ...]
    kind: str = ExecutionKind.FLOW
    """Of the execution."""

    @property
    def last_seq(self) -> int:
        return self.first_seq + len(self.events) - 1
