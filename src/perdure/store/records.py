"""What stands in the store, row by row, as plain data. Ids are 16 bytes, times microseconds, JSON is text."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from perdure.model.answer import OUTSIDE, Terms
from perdure.model.definition import DEFAULT_MAX_RECOVERIES, OnLimit
from perdure.model.event import Event
from perdure.model.states import ExecutionKind, ExecutionStatus, NodeStatus


class Value(msgspec.Struct, frozen=True):
    """A JSON value at rest: `text` when it is inline, else the sha-256 of its blob and its size in bytes.

    Whoever reads a value with a `blob` gets the text from `perdure.artifacts`.
    """

    text: str | None = None
    blob: bytes | None = None
    size: int = 0


class ExecutionRecord(msgspec.Struct, kw_only=True):
    id: bytes
    number: int
    kind: ExecutionKind = ExecutionKind.FLOW
    workspace: str
    namespace: str
    flow: str
    """`namespace/name`"""
    flow_version: int
    status: ExecutionStatus
    reason: str | None = None
    """Why it is pending (a `PendingReason`), cancelled or abandoned."""
    priority: int
    queue: str
    tags: dict[str, str]
    trigger_kind: str
    trigger_id: str | None = None
    trigger_context: Any = None
    parent: bytes | None = None
    parent_node: str | None = None
    parent_ordinal: int | None = None
    parent_attempt: int | None = None
    root: bytes
    depth: int = 0
    replay_of: bytes | None = None
    idempotency_key: str | None = None
    concurrency_key: str | None = None
    recoveries: int = 0
    """Recoveries after a crash, in all."""
    crashes: int = 0
    """Consecutive ones with an attempt in flight; progress sets it to 0."""
    worker: str | None = None
    """The owner; None when nobody owns it."""
    epoch: int = 0
    last_seq: int = 0
    has_cleanup: bool = False
    max_recoveries: int = DEFAULT_MAX_RECOVERIES
    created_at: int
    start_at: int | None = None
    queued_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    updated_at: int
    deadline_at: int | None = None


class Payload(msgspec.Struct):
    input: Value
    output: Value | None = None
    error: dict[str, Any] | None = None
    """A failure's public form (`perdure.model.failure.Failure.public`)."""
    replay: ReplayFacts | None = None
    """Of a replay: how it was asked for."""


class ReplayFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"begin": "from"}):
    """How a replay was asked for: node ids, but for `begin`, which may be `failed` too, or None for the start."""

    begin: list[str] | str | None = None
    reuse: str = "independent"
    input_edited: bool = False
    edited: list[str] = []
    """Nodes whose outputs were edited."""
    whole: list[str] = []
    """Each foreach of which all runs were taken over."""
    children: list[str] = []
    """Nodes of type `flow` that failed or had not finished: their children go on from what failed in the original's."""


class NodeRunRecord(msgspec.Struct, kw_only=True):
    node: str
    ordinal: int = 0
    label: str = ""
    """`compensate` for a compensation, the item's key for a keyed foreach, else empty."""
    type: str
    status: NodeStatus
    attempt: int = 1
    input: Value | None = None
    output: Value | None = None
    error: dict[str, Any] | None = None
    started_at: int | None = None
    finished_at: int | None = None
    retry_at: int | None = None
    """When the next attempt is due, while retrying."""
    wake_at: int | None = None
    """When a sleeping node is due, while suspended."""
    worker: str | None = None
    reused_from: bytes | None = None
    interruptions: int = 0
    child: bytes | None = None
    """The execution that its last attempt started, if it did."""


class WaitRecord(msgspec.Struct, kw_only=True):
    """What a suspended execution waits for. `kind` is approval, ask, signal, timer, child, unit or pause.

    `data` of the first three are `perdure.model.answer.Terms`, of a pause `{by, reason}`; that one has no node ("").
    """

    node: str
    ordinal: int = 0
    label: str = ""
    kind: str
    due_at: int | None = None
    child: bytes | None = None
    data: dict[str, Any] | None = None
    created_at: int
    execution_id: bytes = b""
    workspace: str = ""
    flow: str = ""
    """Where one is written, these three are its execution's."""

    @property
    def key(self) -> tuple[str, int, str]:
        return (self.node, self.ordinal, self.label)


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A response that was taken; with a decision in its terms the wait is over."""

    wait: WaitRecord
    terms: Terms


class SignalSent(msgspec.Struct, frozen=True, kw_only=True):
    """`wait` is the one that took it; None: it is kept until one comes, and `buffered` signals of its name with it."""

    wait: WaitRecord | None
    buffered: int


class WaitFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Of open waits for somebody from outside; `kinds` are alternatives, and so are `approvers`.

    `due_before` (exclusive) leaves out those that never expire; `responder` those that this one has responded to, where
    others are waited for.
    """

    kinds: tuple[str, ...] = OUTSIDE
    flow: str | None = None
    approvers: tuple[str, ...] = ()
    responder: str | None = None
    due_before: int | None = None


InboxPlace = tuple[int, bytes, str, int, str]
"""Where one page of the inbox ended: when the wait was made (or is due), its execution, node, ordinal and label."""


class InboxPage(msgspec.Struct, frozen=True, kw_only=True):
    waits: list[WaitRecord]
    next: InboxPlace | None


class Message(msgspec.Struct, frozen=True):
    """A row of an execution's inbox; `n` orders them. `kind` is cancel, deadline, child_ended, timer, …"""

    n: int
    kind: str
    data: dict[str, Any]
    at: int


class LimitClaim(msgspec.Struct, frozen=True):
    """The concurrency slot that a start asks for."""

    key: str
    limit: int
    on_limit: OnLimit


class RateClaim(msgspec.Struct, frozen=True):
    key: str
    limit: int
    per: int


class ReusedRun(NamedTuple):
    """A node run of the original, by its row's key, with its place in the replay. `came_from` made the result."""

    node: str
    ordinal: int
    label: str
    to_ordinal: int
    to_label: str
    status: NodeStatus
    attempt: int
    came_from: bytes


class Reuse(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay takes over from `source`: rows are copied inside the store, edited ones come with their values."""

    source: bytes
    facts: ReplayFacts
    runs: list[ReusedRun] = []
    edited: list[NodeRunRecord] = []
    artifacts: list[ArtifactRecord] = []


class NewExecution(msgspec.Struct, kw_only=True):
    """A start. With `claim_by` it is inserted already running and owned by that worker (epoch 1)
    where no limit, rate or `start_at` holds it back. With `reuse` it is a replay, and is claimed from the queue."""

    id: bytes
    kind: ExecutionKind = ExecutionKind.FLOW
    workspace: str
    flow: str
    flow_version: int
    input: Value
    priority: int
    queue: str
    tags: dict[str, str]
    trigger_kind: str
    trigger_id: str | None = None
    trigger_context: Any = None
    parent: bytes | None = None
    parent_node: str | None = None
    parent_ordinal: int | None = None
    parent_label: str | None = None
    parent_attempt: int | None = None
    root: bytes
    depth: int = 0
    replay_of: bytes | None = None
    idempotency_key: str | None = None
    request_hash: bytes | None = None
    limit: LimitClaim | None = None
    rate: RateClaim | None = None
    has_cleanup: bool = False
    max_recoveries: int = DEFAULT_MAX_RECOVERIES
    created_at: int
    start_at: int | None = None
    deadline_at: int | None = None
    claim_by: str | None = None
    reuse: Reuse | None = None


class Started(msgspec.Struct, frozen=True):
    """What became of a start. `replayed`: an earlier start with the same key and body answers."""

    id: bytes
    number: int
    status: ExecutionStatus
    reason: str | None
    epoch: int
    last_seq: int
    replayed: bool = False


class Claimed(msgspec.Struct, kw_only=True):
    """All that an owner needs to advance an execution in memory."""

    record: ExecutionRecord
    payload: Payload
    node_runs: list[NodeRunRecord]
    waits: list[WaitRecord]
    messages: list[Message]
    was: ExecutionStatus
    """The status before the claim."""


class ArtifactRecord(msgspec.Struct, kw_only=True):
    id: bytes
    workspace: str
    execution_id: bytes
    node: str
    ordinal: int
    attempt: int
    name: str
    path: str
    media_type: str
    size_bytes: int
    sha256: bytes
    created_at: int


class Advance(msgspec.Struct, kw_only=True):
    """What an owner wants to write about one execution: applied as a whole under its epoch, or not at all."""

    execution_id: bytes
    workspace: str
    flow: str
    epoch: int
    status: ExecutionStatus
    """The status after this advance."""
    previous: ExecutionStatus
    """The status that the store holds before it (for the counters)."""
    reason: str | None = None
    release: bool = False
    """Give ownership up: suspended, terminal, interrupted (handed back by a draining worker or a contained crash)."""
    claimable: bool = False
    """With `release`: put it back in the queue at once (handed back)."""
    wake_at: int | None = None
    """With `release`: when its earliest timer is due."""
    recoveries: int = 0
    crashes: int = 0
    started_at: int | None = None
    finished_at: int | None = None
    updated_at: int
    events: list[Event] = []
    node_runs: list[NodeRunRecord] = []
    """Rows to put, each replacing the row of its (node, ordinal, label)."""
    output: Value | None = None
    error: dict[str, Any] | None = None
    waits_opened: list[WaitRecord] = []
    waits_closed: list[tuple[str, int, str]] = []
    """(node, ordinal, label)"""
    children: list[NewExecution] = []
    cancel_children: list[bytes] = []
    consumed: list[int] = []
    """Inbox messages (`n`) that this advance took into account."""
    artifacts: list[ArtifactRecord] = []
    trigger_kind: str = "api"
    created_at: int = 0


class FlowRecord(msgspec.Struct, kw_only=True):
    number: int
    workspace: str
    id: str
    latest: int
    """Number of the latest version."""
    description: str | None
    source: str | None
    """Name of the folder that manages it; None when it was put by API."""
    created_at: int
    updated_at: int


class FlowPut(NamedTuple):
    """What putting a definition came to: its version's `number`, whether that `is_new`, and the latest version's number
    until then; None for a flow that was not there."""

    number: int
    is_new: bool
    before: int | None


class FlowVersionRecord(msgspec.Struct, kw_only=True):
    workspace: str
    flow: str
    number: int
    content_hash: str
    document: str
    """The definition as JSON text, normalised; what the hash is of."""
    source_text: str
    """The text as it was given."""
    media_type: str
    created_at: int


class WorkerRecord(msgspec.Struct, kw_only=True):
    id: str
    """New at every boot."""
    number: int
    name: str
    host: str
    pid: int
    started_at: int
    heartbeat_at: int
    stopped_at: int | None = None
    queues: tuple[str, ...] | None = None
    """Those it takes from; None means all."""
    slots: int = 0
    tags: tuple[str, ...] = ()
    version: str = ""
    """Of the program."""
    owned: int = 0
    """Executions that it owns, counted when it is read."""


class Relative(NamedTuple):
    """One of a family: whether it has ended, and about how much it has left."""

    id: bytes
    status: str
    last_seq: int


class Passed(NamedTuple):
    """What decides whether an execution was kept long enough."""

    id: bytes
    namespace: str
    status: str
    finished_at: int | None
    depth: int


class TokenRecord(msgspec.Struct, kw_only=True):
    id: bytes
    name: str
    sha256: bytes
    role: str
    workspace: str | None
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None


class QueuePlace(msgspec.Struct, frozen=True):
    """Where a claimable execution stands: `ahead` counts those claimed before it in its queue."""

    queue: str
    ahead: int


class LimitState(msgspec.Struct, frozen=True):
    """A concurrency limit as one waiting execution sees it."""

    key: str
    limit: int
    holders: list[bytes]
    """At most 20, oldest first."""
    held: int
    ahead: int
    """How many wait before it."""


class TextHead(NamedTuple):
    """The beginnings of an execution's input, output and error; of a value that is a blob, the blob."""

    id: bytes
    input: str | None
    input_blob: bytes | None
    output: str | None
    output_blob: bytes | None
    error: str | None
