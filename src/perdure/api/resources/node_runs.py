"""An execution from within: node runs, graph, counts, and why it is where it is."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from perdure.api.answer import Answer
from perdure.api.call import Call
from perdure.api.cursors import decode_cursor, encode_cursor
from perdure.api.graphs import edges_of, execution_graph_nodes
from perdure.api.resources.lookup import ANSWER_BYTES, find_execution, next_link, value_size, value_text
from perdure.api.route import API, NoQuery, Outcome, Route
from perdure.api.shapes import duration_ms, node_run, optional_time
from perdure.auth.roles import Role
from perdure.base.ids import id_text
from perdure.errors import ExecutionNotFound, InvalidCursor, NodeRunNotFound
from perdure.model.queue_line import queue_of, tags_of
from perdure.model.states import ExecutionKind, NodeStatus
from perdure.store.records import NodeRunRecord
from perdure.wire.executions import Explanation
from perdure.wire.nodes import ExecutionGraph, ExecutionNodeStats, NodeRun, NodeRunList, NodeStats, UnitPlace

RUNS_INCLUDED = 1_000
"""Node runs in `include=nodes`; the list goes on at /nodes."""
_MILLISECOND = 1_000


class RunsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: str | None = None


class RunQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    label: Annotated[str, Meta(max_length=255)] | None = None


async def rendered_runs(call: Call[Any, Any], records: list[NodeRunRecord]) -> tuple[list[NodeRun], int]:
    """The runs with their values, as many as one answer may hold, and how many these are."""
    now = call.services.clock.now()
    places = await _unit_places(call, records)
    runs: list[NodeRun] = []
    size = 0
    for record in records:
        size += value_size(record.input) + value_size(record.output)
        if size > ANSWER_BYTES and runs:
            break
        input = await value_text(call, record.input)
        output = await value_text(call, record.output)
        place = None if record.child is None else places.get(record.child)
        runs.append(node_run(record, input=input, output=output, now=now, unit=place))
    return runs, len(runs)


async def _unit_places(call: Call[Any, Any], records: list[NodeRunRecord]) -> dict[bytes, UnitPlace]:
    """By unit: where those are that runs wait for."""
    waiting = (record for record in records if record.status is NodeStatus.SUSPENDED)
    ids = [record.child for record in waiting if record.child is not None]
    if not ids:
        return {}
    store = call.services.engine.store
    units = [one for one in await store.executions.several(call.workspace, ids) if one.kind is ExecutionKind.UNIT]
    owned = any(unit.worker is not None for unit in units)
    names = {worker.id: worker.name for worker in await store.workers.list()} if owned else {}
    return {
        unit.id: UnitPlace(
            status=unit.status,
            queue=queue_of(unit.queue),
            requires=list(tags_of(unit.queue)),
            worker=unit.worker,
            worker_name=None if unit.worker is None else names.get(unit.worker),
        )
        for unit in units
    }


async def list_node_runs(call: Call[RunsQuery, None]) -> Answer:
    """By node, ordinal and label."""
    return await _page_of_runs(call)


async def list_runs_of_node(call: Call[RunsQuery, None]) -> Answer:
    """By ordinal and label. Raises NodeRunNotFound when the node has none (yet)."""
    return await _page_of_runs(call)


async def _page_of_runs(call: Call[RunsQuery, None]) -> Answer:
    execution = await find_execution(call)
    kind = f"nodes-{id_text(execution.id)}-{call.path.get('node', '')}"
    query = call.query
    after = None
    if query.cursor is not None:
        after = decode_cursor(query.cursor, kind, call.workspace, tuple[str, int, str])
    records = await call.services.engine.store.node_runs.list(
        call.workspace, execution.id, node=call.path.get("node"), limit=query.limit + 1, after=after
    )
    if not records and after is None and "node" in call.path:
        raise _not_found(call)
    runs, read = await rendered_runs(call, records[: query.limit])
    cursor = None
    if read < len(records):
        last = records[read - 1]
        cursor = encode_cursor(kind, call.workspace, [last.node, last.ordinal, last.label])
    return Answer(body=NodeRunList(data=runs, next=cursor), headers=next_link(call, cursor))


async def get_node_run(call: Call[RunQuery, None]) -> Answer:
    """One run of a node; without `label` the one of the node itself, or its item's."""
    execution = await find_execution(call)
    node, ordinal, label = call.path["node"], call.path["ordinal"], call.query.label
    node_runs = call.services.engine.store.node_runs
    record = await node_runs.get(call.workspace, execution.id, node, ordinal, label or "")
    if record is None and label is None:
        # A keyed foreach labels its items: the ordinal alone still names one.
        near = await node_runs.list(call.workspace, execution.id, node=node, limit=1, after=(node, ordinal, ""))
        record = near[0] if near and near[0].ordinal == ordinal else None
    if record is None:
        raise _not_found(call)
    [run], _ = await rendered_runs(call, [record])
    return Answer(body=run)


async def get_execution_graph(call: Call[NoQuery, None]) -> Answer:
    """The flow's graph with what has become of each node."""
    execution = await find_execution(call)
    engine = call.services.engine
    _, program = await engine.catalog.program(call.workspace, execution.flow, execution.flow_version)
    summary = await engine.store.node_runs.summary(call.workspace, execution.id)
    return Answer(
        body=ExecutionGraph(
            execution=id_text(execution.id),
            flow=execution.flow,
            flow_version=execution.flow_version,
            status=execution.status,
            nodes=execution_graph_nodes(program.flow, summary),
            edges=edges_of(program.flow),
        )
    )


async def get_execution_stats(call: Call[NoQuery, None]) -> Answer:
    """Runs, attempts and durations by node."""
    execution = await find_execution(call)
    rows = await call.services.engine.store.node_runs.summary(call.workspace, execution.id)
    by_status: dict[str, int] = {}
    for row in rows:
        for status, count in row["by_status"].items():
            by_status[status] = by_status.get(status, 0) + count
    now = call.services.clock.now()
    return Answer(
        body=ExecutionNodeStats(
            execution=id_text(execution.id),
            status=execution.status,
            duration_ms=duration_ms(execution.started_at, execution.finished_at, now),
            runs=sum(row["runs"] for row in rows),
            attempts=sum(row["attempts"] for row in rows),
            by_status=by_status,
            nodes=[_node_stats(row) for row in rows],
        )
    )


async def explain_execution(call: Call[NoQuery, None]) -> Answer:
    """Exactly what it is waiting for, or who holds it up."""
    execution = await find_execution(call)
    return Answer(body=await call.services.engine.why(call.workspace, execution.id))


def _node_stats(row: dict[str, Any]) -> NodeStats:
    return NodeStats(
        node=row["node"],
        type=row["type"],
        runs=row["runs"],
        by_status=row["by_status"],
        attempts=row["attempts"],
        duration_ms=(row["duration_us_sum"] or 0) / _MILLISECOND,
        started_at=optional_time(row["started_at"]),
        finished_at=optional_time(row["finished_at"]),
    )


def _not_found(call: Call[Any, Any]) -> NodeRunNotFound:
    node = call.path["node"]
    which = f"node {node!r}" if "ordinal" not in call.path else f"run {call.path['ordinal']} of node {node!r}"
    return NodeRunNotFound(f"there is no {which} in this execution (yet)")


_ONE = f"{API}/executions/{{execution}}"

ROUTES = (
    Route(
        method="GET",
        path=f"{_ONE}/nodes",
        summary="Node runs of an execution",
        tag="executions",
        handler=list_node_runs,
        role=Role.VIEWER,
        query=RunsQuery,
        outcomes=(Outcome(type=NodeRunList, headers=("Link",)),),
        errors=(ExecutionNotFound, InvalidCursor),
    ),
    Route(
        method="GET",
        path=f"{_ONE}/nodes/{{node}}",
        summary="Runs of one node",
        tag="executions",
        handler=list_runs_of_node,
        role=Role.VIEWER,
        query=RunsQuery,
        outcomes=(Outcome(type=NodeRunList, headers=("Link",)),),
        errors=(ExecutionNotFound, NodeRunNotFound, InvalidCursor),
    ),
    Route(
        method="GET",
        path=f"{_ONE}/nodes/{{node}}/{{ordinal}}",
        summary="One run of a node",
        tag="executions",
        handler=get_node_run,
        role=Role.VIEWER,
        query=RunQuery,
        outcomes=(Outcome(type=NodeRun),),
        errors=(ExecutionNotFound, NodeRunNotFound),
    ),
    Route(
        method="GET",
        path=f"{_ONE}/dag",
        summary="The graph with the status of its nodes",
        tag="executions",
        handler=get_execution_graph,
        role=Role.VIEWER,
        outcomes=(Outcome(type=ExecutionGraph),),
        errors=(ExecutionNotFound,),
    ),
    Route(
        method="GET",
        path=f"{_ONE}/stats",
        summary="Counts and durations by node",
        tag="executions",
        handler=get_execution_stats,
        role=Role.VIEWER,
        outcomes=(Outcome(type=ExecutionNodeStats),),
        errors=(ExecutionNotFound,),
    ),
    Route(
        method="GET",
        path=f"{_ONE}/why",
        summary="Why it is where it is",
        tag="executions",
        handler=explain_execution,
        role=Role.VIEWER,
        outcomes=(Outcome(type=Explanation),),
        errors=(ExecutionNotFound,),
    ),
)
