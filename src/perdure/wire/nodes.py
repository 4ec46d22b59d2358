"""Node runs, waits, and the graph they stand in."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from perdure.wire.scalars import FlowId, Id, Json, NodeStatus, RunIf, Time


class NodeError(Struct, kw_only=True):
    code: str
    message: str
    node: str | None = None
    ordinal: int | None = None
    attempt: int | None = None
    stack: str | None = None
    details: dict[str, Any] | None = None


class NodeRun(Struct, kw_only=True):
    """`ordinal` is the index of a foreach item (0 for a plain node); `label` is `compensate` or an item's key."""

    node: str
    ordinal: int
    label: str
    type: str
    status: NodeStatus
    attempt: int
    input: Json
    output: Json
    error: NodeError | None
    started_at: Time | None
    finished_at: Time | None
    retry_at: Time | None
    wake_at: Time | None
    duration_ms: float | None
    worker: str | None
    reused_from: Id | None
    parent_item: str | None


class NodeRunList(Struct, kw_only=True):
    data: list[NodeRun]
    next: str | None


class Wait(Struct, kw_only=True):
    """`kind` is approval, ask, signal, timer, child or pause."""

    node: str
    ordinal: int
    label: str
    kind: str
    due_at: Time | None
    child: Id | None
    data: dict[str, Any] | None
    created_at: Time


class WaitList(Struct, kw_only=True):
    data: list[Wait]


class Edge(Struct, kw_only=True, rename={"source": "from", "target": "to"}):
    source: str
    target: str


class GraphNode(Struct, kw_only=True):
    id: str
    type: str
    description: str | None
    run_if: RunIf
    when: str | None
    foreach: bool
    compensated_by: str | None
    """The type of the node that undoes it, if there is one."""


class FlowGraph(Struct, kw_only=True):
    flow: FlowId
    flow_version: int
    nodes: list[GraphNode]
    edges: list[Edge]


class ExecutionGraphNode(GraphNode, kw_only=True):
    """`status` sums its node runs up: the most telling of them, null before the first."""

    status: NodeStatus | None
    runs: int
    by_status: dict[str, int]
    attempts: int
    started_at: Time | None
    finished_at: Time | None


class ExecutionGraph(Struct, kw_only=True):
    execution: Id
    flow: FlowId
    flow_version: int
    status: str
    nodes: list[ExecutionGraphNode]
    edges: list[Edge]


class NodeStats(Struct, kw_only=True):
    """`duration_ms` sums the durations of all its node runs."""

    node: str
    type: str
    runs: int
    by_status: dict[str, int]
    attempts: int
    duration_ms: float
    started_at: Time | None
    finished_at: Time | None


class ExecutionNodeStats(Struct, kw_only=True):
    execution: Id
    status: str
    duration_ms: float | None
    runs: int
    attempts: int
    by_status: dict[str, int]
    nodes: list[NodeStats] = field(default_factory=list)
