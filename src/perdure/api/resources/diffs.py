"""Comparing two executions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from perdure.api.answer import Answer
from perdure.api.call import Call
from perdure.api.graphs import telling_status
from perdure.api.path import PARAMETERS
from perdure.api.resources.lookup import find_execution
from perdure.api.route import API, Outcome, Route
from perdure.api.shapes import execution_summary
from perdure.auth.roles import Role
from perdure.base.texts import NO_NUL
from perdure.engine import diffs
from perdure.errors import ExecutionNotFound, Problem, invalid_request
from perdure.store.records import ExecutionRecord, Payload
from perdure.wire.diffs import Difference, Differences, ExecutionDiff, ExecutionSide, NodeDifference, NodeSide
from perdure.wire.failure import Failure

_MILLISECOND = 1_000


class DiffQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename={"other": "with"}):
    other: Annotated[
        str,
        Meta(max_length=64, pattern=NO_NUL, description="an execution's id or number, or `last_success`",
             examples=[diffs.LAST_SUCCESS]),
    ] = diffs.LAST_SUCCESS  # fmt: skip


async def compare_executions(call: Call[DiffQuery, None]) -> Answer:
    """What is different, from the other one to the one of the path."""
    record = await find_execution(call)
    engine = call.services.engine
    compared = await engine.diffs.compare(call.workspace, await _other(call, record), record.id)
    now = call.services.clock.now()
    return Answer(
        body=ExecutionDiff(
            before=_side(compared.before, now),
            after=_side(compared.after, now),
            input=_differences(compared.input_),
            output=_differences(compared.output),
            nodes=[_node(one) for one in compared.nodes],
        )
    )


async def _other(call: Call[DiffQuery, None], record: ExecutionRecord) -> bytes:
    named = call.query.other
    if named == diffs.LAST_SUCCESS:
        return await call.services.engine.diffs.last_success(record)
    key = PARAMETERS["execution"].parse(named)
    if key is None:
        detail = f"write an execution's id or number, or {diffs.LAST_SUCCESS}"
        raise invalid_request([Problem("invalid_value", detail, parameter="with")], part="query")
    if isinstance(key, bytes):
        return key
    found = await call.services.engine.store.executions.by_number(call.workspace, key)
    if found is None:
        raise ExecutionNotFound.of(key)
    return found.id


def _side(found: tuple[ExecutionRecord, Payload], now: int) -> ExecutionSide:
    record, payload = found
    return ExecutionSide(execution=execution_summary(record, now), error=_failure(payload.error))


def _node(one: diffs.NodeComparison) -> NodeDifference:
    before, after = _node_side(one.before, one.errors[0]), _node_side(one.after, one.errors[1])
    change: Literal["same", "changed", "added", "removed"] = "same"
    if before is None and after is not None:
        change = "added"
    elif before is not None and after is None:
        change = "removed"
    elif one.definition_changed or one.differing_runs:
        change = "changed"
    return NodeDifference(
        node=one.node,
        type=one.type,
        change=change,
        definition_changed=one.definition_changed,
        before=before,
        after=after,
        differing_runs=one.differing_runs,
        output=_differences(one.output),
    )


def _node_side(row: Mapping[str, Any] | None, error: Mapping[str, Any] | None) -> NodeSide | None:
    if row is None:
        return None
    return NodeSide(
        status=telling_status(row["by_status"]),
        runs=row["runs"],
        by_status=row["by_status"],
        attempts=row["attempts"],
        duration_ms=None if row["started_at"] is None else (row["duration_us_sum"] or 0) / _MILLISECOND,
        error=_failure(error),
    )


def _failure(error: Mapping[str, Any] | None) -> Failure | None:
    return None if error is None else msgspec.convert(error, Failure)


def _differences(found: diffs.Differences) -> Differences:
    data = [
        Difference(pointer=one.pointer, change=one.change.value, before=one.before, after=one.after, cut=one.is_cut)
        for one in found.places
    ]
    return Differences(data=data, more=found.more)


ROUTES = (
    Route(
        method="GET",
        path=f"{API}/executions/{{execution}}/diff",
        summary="Compare with another execution",
        description=(
            "Input, output, versions, and node by node the status, the duration and where the outputs differ. Without `with` "
            "it is compared with the newest execution of the same flow that completed before it."
        ),
        tag="executions",
        handler=compare_executions,
        role=Role.VIEWER,
        query=DiffQuery,
        outcomes=(Outcome(type=ExecutionDiff),),
        errors=(ExecutionNotFound,),
    ),
)
