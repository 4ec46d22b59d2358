"""Node runs, and the graph they stand in."""

from __future__ import annotations

from msgspec import Struct, field

from perdure.wire.failure import Failure
from perdure.wire.scalars import ExecutionStatus, FlowId, Id, Json, NodeStatus, RunIf, Time


class UnitPlace(Struct, kw_only=True):
    """Where the unit is that makes a node run's attempts: in a queue, for a worker with all the tags that it requires,
    or with a worker (its id and its name)."""

    status: ExecutionStatus
    queue: str
    requires: list[str]
    worker: str | None
    worker_name: str | None


class NodeRun(Struct, kw_only=True):
    """`ordinal` is the index of a foreach item (0 for a plain node); `label` is `compensate` or an item's key.
    `child` is the execution that its last attempt started, if it did; `unit` tells where that is while it is a unit
    and the run waits for it."""

    node: str
    ordinal: int
    label: str
    type: str
    status: NodeStatus
    attempt: int
    input: Json
    output: Json
    error: Failure | None
    started_at: Time | None
    finished_at: Time | None
    retry_at: Time | None
    wake_at: Time | None
    duration_ms: float | None
    worker: str | None
    reused_from: Id | None
    child: Id | None
    unit: UnitPlace | None
    parent_item: str | None


class NodeRunList(Struct, kw_only=True):
    data: list[NodeRun]
    next: str | None


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
