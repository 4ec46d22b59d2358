"""Executions: how one is asked for, and how one looks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from perdure.base.tags import MAX_TAGS
from perdure.wire.artifacts import Artifact
from perdure.wire.failure import Failure
from perdure.wire.nodes import NodeRun
from perdure.wire.replays import AskedReplay
from perdure.wire.scalars import (
    Duration,
    ExecutionKind,
    ExecutionStatus,
    FlowAddress,
    FlowId,
    Id,
    IdempotencyKey,
    Json,
    Priority,
    QueueName,
    TagKey,
    TagValue,
    Text,
    Time,
    VersionNumber,
)
from perdure.wire.waits import Wait

BATCH_LIMIT = 1_000
"""Starts in one batch."""


class StartExecution(Struct, kw_only=True, forbid_unknown_fields=True):
    """What `POST /executions` takes. `version` null is the latest; what is null falls back on the flow's own value."""

    flow: FlowAddress
    input: Json = field(default_factory=dict)
    version: VersionNumber | None = None
    tags: Annotated[dict[TagKey, TagValue], Meta(max_length=MAX_TAGS)] = field(default_factory=dict)
    trigger_context: Json = None
    idempotency_key: IdempotencyKey | None = None
    start_at: Annotated[datetime, Meta(tz=True)] | None = None
    priority: Priority | None = None
    queue: QueueName | None = None
    timeout: Duration | Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)] | None = None


class StartBatch(Struct, kw_only=True, forbid_unknown_fields=True):
    executions: Annotated[list[StartExecution], Meta(min_length=1, max_length=BATCH_LIMIT)]


class CancelExecution(Struct, kw_only=True, forbid_unknown_fields=True):
    """`force` gives running attempts no grace, and cleans nothing up: also what is cleaning up already ends now."""

    reason: Annotated[Text, Meta(max_length=1000)] | None = None
    force: bool = False


class TagExecution(Struct, kw_only=True, forbid_unknown_fields=True):
    """Tags that are to stand there afterwards, and keys that are to be gone; a key in both is set."""

    set: Annotated[dict[TagKey, TagValue], Meta(max_length=MAX_TAGS)] = field(default_factory=dict)
    remove: Annotated[list[TagKey], Meta(max_length=MAX_TAGS)] = field(default_factory=list)


class Trigger(Struct, frozen=True, kw_only=True):
    """What started it. `kind` is api, cli, schedule, webhook, rule, flow or replay."""

    kind: str
    id: str | None
    context: Json


class ExecutionSummary(Struct, kw_only=True):
    """An execution without its values: what lists are made of. It waits in `queue` for a worker that has all the tags of
    `requires`. One of kind `unit` makes the attempts of a node run of
    its parent, named by the trigger's context."""

    id: Id
    number: int
    kind: ExecutionKind
    workspace: str
    namespace: str
    flow: FlowId
    flow_version: int
    status: ExecutionStatus
    reason: str | None
    priority: int
    queue: str
    requires: list[str]
    tags: dict[str, str]
    trigger: Trigger
    parent: Id | None
    root: Id
    replay_of: Id | None
    idempotency_key: str | None
    concurrency_key: str | None
    recoveries: int
    worker: str | None
    created_at: Time
    queued_at: Time | None
    started_at: Time | None
    finished_at: Time | None
    updated_at: Time
    deadline_at: Time | None
    duration_ms: float | None
    """From started_at to finished_at, or to now while it is not ended."""


class Execution(ExecutionSummary, kw_only=True):
    """One execution. `replay` says how a replay was asked for, null for any other one. `nodes`, `waits`, `artifacts` and
    `config` (the flow version's definition) stand there when `include` asks for them."""

    input: Json
    output: Json
    error: Failure | None
    replay: AskedReplay | None = None
    nodes: list[NodeRun] | msgspec.UnsetType = msgspec.UNSET
    waits: list[Wait] | msgspec.UnsetType = msgspec.UNSET
    artifacts: list[Artifact] | msgspec.UnsetType = msgspec.UNSET
    config: Json | msgspec.UnsetType = msgspec.UNSET


class ExecutionList(Struct, kw_only=True):
    """`next` is the cursor of the following page; `total` is counted where `count` asks for it (a capped one
    that reached the cap is a lower bound, told by `total_capped`). `searched_until` stands there when a text was searched
    for: what was written up to then was looked through."""

    data: list[ExecutionSummary]
    next: str | None
    total: int | None = None
    total_capped: bool = False
    searched_until: Time | None = None


class ExecutionSelection(Struct, kw_only=True):
    """A list narrowed by `fields`: each entry has its `id` and the fields that were asked for."""

    data: list[dict[str, Json]]
    next: str | None
    total: int | None = None
    total_capped: bool = False
    searched_until: Time | None = None


class ExecutionBatch(Struct, kw_only=True):
    data: list[ExecutionSummary]


class ExecutionStats(Struct, kw_only=True):
    """Rows of `{<group>: value, …, count: n}`; hours and days are the times at which they begin, and bring
    `throughput_per_s`, as does a range of creation times. With `durations`, `duration_ms: {p50, p95, p99}` of those that
    ended (whole hours; whole days where flows are asked for; null where no histogram knows)."""

    data: list[dict[str, Json]]
    exact: bool


class Explanation(Struct, kw_only=True):
    """Exactly what an execution is waiting for, or who holds it up. `summary` is a sentence for a person; each
    cause has a `kind` (attempt, retry, worker, start_at, concurrency_limit, rate_limit, or a wait's kind) and what
    belongs to it."""

    execution: Id
    status: ExecutionStatus
    reason: str | None
    summary: str
    waiting_for: list[dict[str, Json]]
