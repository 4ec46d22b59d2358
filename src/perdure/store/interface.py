"""The seam to the store: what the engine and the API may ask of a database.

Writing goes through one `Recorder` per process, which hands whole batches to `Store.write`.
Reading is split by aggregate. Every method that takes a workspace answers with that workspace's
rows alone. Two implementations share one conformance suite (`tests/store`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from perdure.base.clock import DAY
from perdure.errors import CallerError
from perdure.model.event import EventChunk
from perdure.model.operation import ItemOutcome
from perdure.model.recorded import RecordedRun
from perdure.model.states import ExecutionKind, ExecutionStatus, NodeStatus
from perdure.store.commands import Command
from perdure.store.operation_records import OperationFilter, OperationItem, OperationRecord
from perdure.store.records import (
    Advance,
    ArtifactRecord,
    Claimed,
    ExecutionRecord,
    FlowRecord,
    FlowVersionRecord,
    InboxPage,
    InboxPlace,
    LimitState,
    NodeRunRecord,
    Passed,
    Payload,
    QueuePlace,
    Relative,
    Started,
    TextHead,
    TokenRecord,
    WaitFilter,
    WaitRecord,
    WorkerRecord,
)
from perdure.store.search.records import IndexSnapshot, IndexState, OpenSegment, Segment
from perdure.store.sharing import Sharing

WRITERS_KEPT = 7 * DAY
"""For so long at least the feed knows of a writer that writes no more, and keeps its newest commit."""


class Batch(msgspec.Struct):
    """One transaction. Advances are applied first, then the commands in their order."""

    advances: list[Advance]
    commands: list[Command]


class Lost(msgspec.Struct, frozen=True):
    """The advance's epoch is superseded (or the row is gone): nothing of it was written."""


class Advanced(msgspec.Struct, frozen=True):
    first_seq: int
    """`seq` of the advance's first event."""


class BatchOutcome(msgspec.Struct):
    """`advances` and `results` answer the batch entry by entry; an exception stands where one failed.

    What must be told after the commit: `chunks` (new events), `deliveries` (worker, execution) whose
    inbox got a message, `claimable`, the lines of the queue that got rows, and `due_at`, the earliest timer set.
    """

    advances: list[Advanced | Lost | Exception]
    results: list[Any]
    chunks: list[EventChunk]
    deliveries: list[tuple[str, bytes]]
    claimable: list[str]
    due_at: int | None
    feed: tuple[int, int] | None = None
    """(writer, n) of the batch's feed row; None when it brought no event."""


class FeedEntry(NamedTuple):
    """What a commit brought one execution: its events from `first_seq` to `last_seq`."""

    execution_id: bytes
    first_seq: int
    last_seq: int
    workspace: str


class ExecutionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """All conditions hold together; values of one list are alternatives, tags must all match.

    Times (microseconds): `…_after` is inclusive, `…_before` exclusive; durations are both inclusive, and of what has
    started and not ended they count to `now`. A tag without a value matches any. A unit has its parent's tags. `kind`
    None is any. `trigger_id` needs `trigger_kind`; `worker` is who owns it now.
    """

    statuses: tuple[ExecutionStatus, ...] = ()
    flow: str | None = None
    namespace: str | None = None
    tags: tuple[tuple[str, str | None], ...] = ()
    trigger_kind: str | None = None
    trigger_id: str | None = None
    parent: bytes | None = None
    root: bytes | None = None
    replay_of: bytes | None = None
    worker: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    started_after: int | None = None
    started_before: int | None = None
    finished_after: int | None = None
    finished_before: int | None = None
    min_duration: int | None = None
    max_duration: int | None = None
    now: int = 0
    kind: ExecutionKind | None = ExecutionKind.FLOW


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """`after` (exclusive) and `until` (inclusive) are ids in the order of the walk; `offset` is for small skips (≤ 10,000)."""

    limit: int = 100
    after: bytes | None = None
    until: bytes | None = None
    offset: int = 0
    newest_first: bool = True


class Listing(NamedTuple):
    """A page. `rest_after` is the id behind which looking goes on, None when nothing is left: a page may be short, even
    empty, because its time was over."""

    records: list[ExecutionRecord]
    rest_after: bytes | None


class Statistics(NamedTuple):
    """Rows of `{<group>: value, "count": n}`, with durations also `"duration_us": [p50, p95, p99] | None`; and whether nothing
    was left out."""

    rows: list[dict[str, Any]]
    is_exact: bool


class Executions(Protocol):
    async def get(self, workspace: str, id: bytes) -> ExecutionRecord | None: ...
    async def by_number(self, workspace: str, number: int) -> ExecutionRecord | None: ...
    async def whole(self, workspace: str, id: bytes) -> tuple[ExecutionRecord, Payload] | None:
        """The record and its payload of the same moment, in one read."""
        ...

    async def several(self, workspace: str, ids: Sequence[bytes]) -> list[ExecutionRecord]:
        """The records of these executions in the order of the ids, in one read; without those that are not there."""
        ...

    async def payload(self, workspace: str, id: bytes) -> Payload | None: ...
    async def payloads(self, workspace: str, ids: Sequence[bytes]) -> dict[bytes, Payload]: ...
    async def count(self, workspace: str, filter: ExecutionFilter, cap: int | None = None) -> int:
        """Exact, or at most `cap`. Answered from the counters where status, flow and trigger suffice."""
        ...

    async def statistics(
        self, workspace: str, filter: ExecutionFilter, group_by: Sequence[str], *, durations: bool = False, exact: bool = True,
    ) -> Statistics:  # fmt: skip
        """Counts by status, flow, namespace, trigger, hour, day (these two by the microsecond at which they begin), with
        percentiles where `durations` are asked for and known. What the counters do not know is counted one by one; without
        `exact`, among the newest only. Raises `InvalidRequest` for other groups."""
        ...

    async def children(self, workspace: str, id: bytes) -> list[ExecutionRecord]:
        """Executions of flows that it started; units are found by `list`."""
        ...

    async def unfinished_like(
        self, workspace: str, flow: str, flow_version: int, input_text: str
    ) -> ExecutionRecord | None:
        """The newest execution of that version and input that is not terminal (`perdure run`)."""
        ...

    async def repeated(
        self, workspace: str, key: str, request_hash: bytes | None, at: int
    ) -> Started | CallerError | None:
        """What answers a start under an idempotency key that was used before: the first one's execution, or
        `IdempotencyConflict`; None where it was not used within its window before `at`."""
        ...

    async def queue_place(self, workspace: str, id: bytes) -> QueuePlace | None: ...
    async def limit_state(self, workspace: str, id: bytes) -> LimitState | None: ...
    async def start_due(self, workspace: str, id: bytes) -> int | None:
        """When a start that was put off (to a time, by a rate) goes on, in microseconds; None when none was."""
        ...

    async def passed(self, after: bytes, until: bytes, limit: int) -> list[Passed]:
        """Executions of all workspaces between two ids, both exclusive, in order."""
        ...

    async def families(self, ids: Sequence[bytes]) -> dict[bytes, list[Relative]]:
        """Of all workspaces: each that is there, with all below it behind it; what is above comes before what is below.
        What is named itself, and all below that, stands in its own family alone."""
        ...

    async def page(self, workspace: str, filter: ExecutionFilter, page: Page) -> Listing:
        """What was found within a bounded time.

        Raises `InvalidRequest` when the time was over before the offset was reached.
        """
        ...

    async def list(self, workspace: str, filter: ExecutionFilter, page: Page) -> list[ExecutionRecord]:
        """The same, however long it takes."""
        ...


class Heads(Protocol):
    """The beginnings of what executions hold, of all workspaces: what the index of texts is made from."""

    async def of(self, ids: Sequence[bytes]) -> list[TextHead]:
        """Of those that are there, in any order."""
        ...

    async def ended(self, ids: Sequence[bytes]) -> set[bytes]:
        """Those of them that have ended."""
        ...

    async def older(self, before: bytes, limit: int) -> list[tuple[str, bytes]]:
        """(workspace, id) of the executions of flows behind an id, the newest first."""
        ...

    async def oldest(self) -> bytes | None: ...
    async def bounds(self, filter: ExecutionFilter) -> tuple[bytes, bytes]:
        """The first and last id that an execution created in the filter's time can have."""
        ...


class TextIndex(Protocol):
    """See `perdure.store.search`. What changes it answers with false where another process holds the index, `follow` also
    where the state is one of another generation."""

    async def state(self) -> IndexState | None:
        """None when there is no index yet."""
        ...

    async def snapshot(self, workspace: str) -> IndexSnapshot: ...
    async def candidates(self, needles: Sequence[str], segments: Sequence[Segment], generation: str) -> list[bytes]:
        """Executions of these segments that may hold all the needles, in no order.

        Raises StoreUnavailable where the index has begun anew since the snapshot that told of them.
        """
        ...

    async def tails(self) -> dict[str, int]:
        """How many executions wait for a segment, by workspace."""
        ...

    async def tail(self, workspace: str, limit: int) -> list[bytes]: ...
    async def hold(self, lease: int) -> bool:
        """Whether this process may write, for `lease` microseconds from now."""
        ...

    async def release(self) -> None: ...
    async def begin(self, state: IndexState, lease: int) -> bool:
        """Empty the index and begin anew."""
        ...

    async def follow(self, state: IndexState, tail: list[tuple[str, bytes]], lease: int) -> bool:
        """Note executions whose texts are new, and how far this is."""
        ...

    async def open_segment(self, workspace: str) -> OpenSegment | None:
        """One that has room for more executions."""
        ...

    async def put_segment(
        self, workspace: str, ids: Sequence[bytes], parts: Sequence[tuple[int, bytes]], lease: int, *,
        extended: OpenSegment | None = None,
    ) -> bool:  # fmt: skip
        """A segment of these executions, which leave the tail; `ids` in the order of their groups.

        Or more executions for one that had room: `ids` are those, and `parts` of all.
        """
        ...

    async def full_segments(self, workspace: str, limit: int) -> list[int]:
        """The first ones that are in no volume, by number."""
        ...

    async def parts(self, segments: Sequence[int], first: int, last: int) -> list[tuple[int, int, bytes]]:
        """(segment, part, row) of segments that are in no volume."""
        ...

    async def put_volume_parts(self, volume: int, parts: Sequence[tuple[int, bytes]], lease: int) -> bool:
        """Rows of a volume that no segment is in yet."""
        ...

    async def put_volume(self, volume: int, segments: Sequence[int], lease: int) -> bool:
        """These segments are in it now, in these places."""
        ...

    async def forget(self, oldest: bytes, limit: int, lease: int) -> int:
        """Drop segments of which all executions are older than the oldest there is; returns how many."""
        ...


class NodeRuns(Protocol):
    async def get(
        self, workspace: str, execution_id: bytes, node: str, ordinal: int, label: str = ""
    ) -> NodeRunRecord | None: ...
    async def recorded(self, workspace: str, execution_id: bytes) -> list[RecordedRun]:
        """All of its node runs without their values, in any order, in one read."""
        ...

    async def summary(self, workspace: str, execution_id: bytes) -> list[dict[str, Any]]:
        """Per node: `{node, type, runs, by_status: {…}, attempts, duration_us_sum, started_at, finished_at}`."""
        ...

    async def in_status(
        self, workspace: str, execution_id: bytes, status: NodeStatus, *, limit: int
    ) -> Sequence[NodeRunRecord]:
        """The first ones by node and ordinal. All of the execution's are looked through."""
        ...

    async def list(
        self,
        workspace: str,
        execution_id: bytes,
        *,
        node: str | None = None,
        limit: int = 1000,
        after: tuple[str, int, str] | None = None,
    ) -> list[NodeRunRecord]: ...


class Waits(Protocol):
    async def of(self, workspace: str, execution_id: bytes) -> list[WaitRecord]:
        """All that one execution waits for."""
        ...

    async def inbox(
        self,
        workspace: str,
        filter: WaitFilter,
        *,
        by_due: bool = False,
        after: InboxPlace | None = None,
        limit: int = 100,
    ) -> InboxPage:
        """Open waits for somebody from outside, the oldest first; `by_due`, those that expire alone, the next due first."""
        ...


class Events(Protocol):
    async def page(
        self, workspace: str, execution_id: bytes, after_seq: int, limit: int, *, logs_only: bool = False
    ) -> list[EventChunk]:
        """Chunks with events after `after_seq`, in order, about `limit` events (whole chunks; the first is cut)."""
        ...

    async def feed(self, workspace: str, after: dict[int, int], limit: int) -> list[tuple[int, int, list[EventChunk]]]:
        """The feed of all executions: (writer, n, chunks) for the commits after the given position per writer."""
        ...

    async def feed_end(self) -> dict[int, int]:
        """The newest `n` of each writer that has written something in the last `WRITERS_KEPT`, and perhaps of others."""
        ...

    async def commits(
        self, after: Mapping[int, int], limit: int, *, max_bytes: int | None = None
    ) -> list[tuple[int, int, list[FeedEntry]]]:
        """(writer, n, entries) of all workspaces without their events: of the writers named in `after` alone, at
        most `limit` commits of each. With `max_bytes` no more than so many bytes of entries as stored, in equal shares
        of the writers, and the next commit of each however long it is."""
        ...

    async def chunks(self, entries: Sequence[FeedEntry]) -> list[EventChunk]:
        """The events of these entries, in their order."""
        ...


class Flows(Protocol):
    async def get(self, workspace: str, id: str) -> FlowRecord | None: ...
    async def version(self, workspace: str, id: str, number: int | None = None) -> FlowVersionRecord | None:
        """That version; without a number the latest one of a flow that is not deleted."""
        ...

    async def versions(
        self, workspace: str, id: str, *, before: int | None = None, limit: int = 100
    ) -> list[FlowVersionRecord]: ...

    async def list(
        self, workspace: str, *, namespace: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[FlowRecord]: ...


class Artifacts(Protocol):
    async def get(self, workspace: str, id: bytes) -> ArtifactRecord | None: ...
    async def list(
        self, workspace: str, *, execution_id: bytes | None = None, after: bytes | None = None, limit: int = 100
    ) -> list[ArtifactRecord]: ...


class Operations(Protocol):
    async def is_any_free(self, at: int) -> bool:
        """Whether there is something left to do in one that is nobody's at that time."""
        ...

    async def get(self, workspace: str, id: bytes) -> OperationRecord | None: ...
    async def items(
        self, id: bytes, *, outcome: ItemOutcome | None = None, after: int = 0, limit: int = 100
    ) -> list[OperationItem]:
        """Behind number `after`, in order; of the id's workspace the caller has made sure."""
        ...

    async def news(self, id: bytes, limit: int) -> list[OperationItem]:
        """Of what owners were asked for, the first items that have ended, are about to, have lost their owner or are gone."""
        ...

    async def list(
        self,
        workspace: str,
        *,
        filter: OperationFilter | None = None,
        before: bytes | None = None,
        limit: int = 100,
    ) -> list[OperationRecord]:
        """The newest first."""
        ...


class Contents(Protocol):
    """Which contents of artifacts and large values are in use; they themselves are kept elsewhere."""

    async def used(self, sha256s: Sequence[bytes]) -> set[bytes]:
        """Those that an execution of any workspace refers to."""
        ...

    async def store_id(self) -> int:
        """What this store is told from others by, wherever it is copied to; 0 for one that has lost it."""
        ...


class Tokens(Protocol):
    async def any(self) -> bool:
        """Whether a token was ever made (then the server is no longer open)."""
        ...

    async def by_hash(self, sha256: bytes) -> TokenRecord | None: ...
    async def list(self) -> list[TokenRecord]: ...


class Workers(Protocol):
    async def count(self) -> int:
        """Of those that are registered and not stopped."""
        ...

    async def list(self) -> list[WorkerRecord]: ...


class Store(Protocol):
    @property
    def sharing(self) -> Sharing | None:
        """None for a store that belongs to one process."""
        ...

    @property
    def executions(self) -> Executions: ...
    @property
    def heads(self) -> Heads: ...
    @property
    def texts(self) -> TextIndex: ...
    @property
    def node_runs(self) -> NodeRuns: ...
    @property
    def waits(self) -> Waits: ...
    @property
    def events(self) -> Events: ...
    @property
    def flows(self) -> Flows: ...
    @property
    def artifacts(self) -> Artifacts: ...
    @property
    def operations(self) -> Operations: ...
    @property
    def contents(self) -> Contents: ...
    @property
    def tokens(self) -> Tokens: ...
    @property
    def workers(self) -> Workers: ...

    async def write(self, batch: Batch) -> BatchOutcome:
        """Apply a batch in one durable transaction; one call at a time.

        An entry's own failure stands in the outcome. Raises `StoreFull`, `StoreBusy`, `StoreUnavailable`
        when the batch as a whole could not be committed: then nothing of it was written. After
        `CommitUnknown` that is known once the same batch was given again.
        A row that the database refuses is found by bisection, so that its entry fails alone.
        """
        ...

    async def load(self, execution_id: bytes) -> Claimed | None:
        """What an owner needs, without claiming."""
        ...

    async def messages(self, execution_ids: Sequence[bytes]) -> dict[bytes, list[Any]]:
        """Inbox messages (`Message`) of the given executions, in order."""
        ...

    async def ping(self) -> None:
        """Raises `StoreError` when the store cannot answer."""
        ...

    async def info(self) -> dict[str, Any]:
        """`{kind, version, schema_version, size_bytes, …}` for system info and metrics."""
        ...

    async def close(self) -> None: ...
