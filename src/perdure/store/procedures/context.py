"""What one transaction gathers: rows that are written at its end, and what is told after its commit."""

from __future__ import annotations

from typing import Any, NamedTuple

from perdure.base.clock import HOUR
from perdure.base.codec import encode_text
from perdure.base.histogram import bucket_of
from perdure.model.event import Event, EventChunk, EventType
from perdure.model.states import ExecutionKind, ExecutionStatus
from perdure.store.records import Value
from perdure.store.statements import Many, Procedure

LOGS = 1
OTHERS = 2
_LOG_TYPES = frozenset({EventType.LOG, EventType.LOG_TRUNCATED})

CounterKey = tuple[str, str, str, str, int, int | None]
"""workspace, flow, status, trigger kind, hour of creation, bucket of its duration once it has ended"""


class Standing(NamedTuple):
    """What a decision about an execution needs; the columns of the shape `standing`."""

    number: int
    id: bytes
    workspace: str
    flow: str
    status: str
    reason: str | None
    worker: str | None
    epoch: int
    last_seq: int
    priority: int
    queue: str
    trigger_kind: str
    created_at: int
    queued_at: int | None
    deadline_at: int | None
    concurrency_key: str | None
    start_claims: str | None
    parent: bytes | None
    parent_node: str | None
    parent_ordinal: int | None
    parent_attempt: int | None
    has_cleanup: int
    max_recoveries: int
    recoveries: int
    crashes: int
    kind: str
    started_at: int | None = None
    finished_at: int | None = None

    @property
    def key(self) -> tuple[bytes, int]:
        """By which statements find the row again: each database takes the one that is quicker for it."""
        return (self.id, self.number)


def took(started_at: int | None, finished_at: int | None) -> int | None:
    """Microseconds from start to end; None without either."""
    return None if started_at is None or finished_at is None else max(finished_at - started_at, 0)


class Context:
    """Gathered by the procedures of one transaction, or of one part of it (see `absorb`)."""

    def __init__(self) -> None:
        self.chunks: list[EventChunk] = []
        self.deliveries: list[tuple[str, bytes]] = []
        self.claimable: dict[str, None] = {}
        """Lines of the queue that got rows, in order."""
        self.due_at: int | None = None
        self.at = 0
        self._event_rows: list[tuple[Any, ...]] = []
        self._counts: dict[CounterKey, int] = {}
        self._blobs: dict[tuple[bytes, bytes], int] = {}

    def record(self, id: bytes, workspace: str, flow: str, first_seq: int, events: list[Event], *, kind: str) -> None:
        """Events of one execution, numbered from `first_seq` on."""
        if not events:
            return
        kinds = 0
        for event in events:
            kinds |= LOGS if event.type in _LOG_TYPES else OTHERS
        at = events[-1].at
        self.at = max(self.at, at)
        self.chunks.append(EventChunk(id, workspace, flow, first_seq, tuple(events), kind))
        self._event_rows.append((id, first_seq, first_seq + len(events) - 1, at, kinds, encode_text(events)))

    def tell(self, standing: Standing, events: list[Event]) -> None:
        """Events that go on from the execution's last one as `standing` shows it."""
        next_seq = standing.last_seq + 1
        self.record(standing.id, standing.workspace, standing.flow, next_seq, events, kind=standing.kind)

    def count(
        self, workspace: str, flow: str, status: str, trigger_kind: str, created_at: int, delta: int,
        *, took: int | None = None,
    ) -> None:  # fmt: skip
        """`took`: from its start to its end, where it has both."""
        bucket = None if took is None else bucket_of(took)
        key = (workspace, flow, status, trigger_kind, created_at // HOUR, bucket)
        self._counts[key] = self._counts.get(key, 0) + delta

    def moved(self, standing: Standing, status: ExecutionStatus, *, took: int | None = None) -> None:
        """Count an execution's change from the status that `standing` shows; with `took`, to its end. Units are not counted."""
        if standing.kind != ExecutionKind.FLOW:
            return
        where = (standing.workspace, standing.flow)
        self.count(*where, standing.status, standing.trigger_kind, standing.created_at, -1)
        self.count(*where, status, standing.trigger_kind, standing.created_at, 1, took=took)

    def refer(self, execution_id: bytes, value: Value | None) -> None:
        """Note that an execution refers to the value's blob, which is kept for as long as it does."""
        if value is not None and value.blob is not None:
            self._blobs[execution_id, value.blob] = value.size

    def due(self, at: int) -> None:
        self.due_at = at if self.due_at is None else min(self.due_at, at)

    def absorb(self, part: Context) -> None:
        """Take over what a part gathered after its own rows were written."""
        self.chunks += part.chunks
        self.deliveries += part.deliveries
        self.claimable |= part.claimable
        if part.due_at is not None:
            self.due(part.due_at)
        self.at = max(self.at, part.at)

    def settle(self) -> Procedure[None]:
        """Write the gathered rows."""
        if self._event_rows:
            yield Many("events_put", self._event_rows)
        counts = [(*key, delta) for key, delta in self._counts.items() if delta]
        if counts:
            yield Many("counter_deltas_put", counts)
        if self._blobs:
            yield Many("blobs_put", [(*key, size) for key, size in self._blobs.items()])
        self._event_rows, self._counts, self._blobs = [], {}, {}


def feed_entries(chunks: list[EventChunk]) -> str:
    """The body of a commit's feed row."""
    return encode_text(
        [(chunk.execution_id.hex(), chunk.first_seq, chunk.last_seq, chunk.workspace) for chunk in chunks]
    )
