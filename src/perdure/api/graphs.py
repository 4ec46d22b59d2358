"""A flow as a graph, and what has become of its nodes in one execution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perdure.api.shapes import optional_time
from perdure.model.definition import Flow, Node
from perdure.model.states import NodeStatus
from perdure.wire.nodes import Edge, ExecutionGraphNode, GraphNode

_TELLING = (
    NodeStatus.RUNNING,
    NodeStatus.RETRYING,
    NodeStatus.SUSPENDED,
    NodeStatus.ORPHANED,
    NodeStatus.FAILED,
    NodeStatus.TIMED_OUT,
    NodeStatus.CANCELLED,
    NodeStatus.COMPLETED,
    NodeStatus.SKIPPED,
)
"""Of many node runs, the status that says most of them all."""


def graph_nodes(flow: Flow) -> list[GraphNode]:
    return [GraphNode(**_fields(node)) for node in flow.nodes.values()]


def edges_of(flow: Flow) -> list[Edge]:
    return [Edge(source=need, target=node.id) for node in flow.nodes.values() for need in node.needs]


def execution_graph_nodes(flow: Flow, summary: Sequence[Mapping[str, Any]]) -> list[ExecutionGraphNode]:
    """`summary` is what `NodeRuns.summary` gives."""
    rows = {row["node"]: row for row in summary}
    return [_with_status(node, rows.get(node.id)) for node in flow.nodes.values()]


def telling_status(by_status: Mapping[str, int]) -> str | None:
    return next((str(status) for status in _TELLING if by_status.get(status)), None)


def _fields(node: Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "type": node.type,
        "description": node.description,
        "run_if": node.run_if,
        "when": node.when,
        "foreach": node.foreach is not None,
        "compensated_by": None if node.compensate is None else node.compensate.type,
    }


def _with_status(node: Node, row: Mapping[str, Any] | None) -> ExecutionGraphNode:
    by_status: dict[str, int] = {} if row is None else row["by_status"]
    return ExecutionGraphNode(
        **_fields(node),
        status=telling_status(by_status),
        runs=0 if row is None else row["runs"],
        by_status=by_status,
        attempts=0 if row is None else row["attempts"],
        started_at=None if row is None else optional_time(row["started_at"]),
        finished_at=None if row is None else optional_time(row["finished_at"]),
    )
