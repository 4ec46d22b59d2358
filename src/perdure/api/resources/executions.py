"""One execution: reading, cancelling, tagging, deleting it."""

from __future__ import annotations

from typing import Literal

import msgspec

from perdure.api.answer import Answer
from perdure.api.call import Call
from perdure.api.resources.lookup import (
    find_execution,
    find_whole,
)
from perdure.api.resources.node_runs import RUNS_INCLUDED, rendered_runs
from perdure.api.resources.starts import full_execution
from perdure.api.route import API, NoQuery, Outcome, Route
from perdure.api.shapes import artifact, raw_json, wait
from perdure.auth.roles import Role
from perdure.base.tags import MAX_TAGS
from perdure.errors import (
    CallerError,
    ExecutionEnded,
    ExecutionNotEnded,
    ExecutionNotFound,
)
from perdure.model.states import ExecutionStatus
from perdure.store.records import ExecutionRecord
from perdure.wire.executions import (
    CancelExecution,
    Execution,
    TagExecution,
)

ARTIFACTS_INCLUDED = 1_000


class OneQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    include: list[Literal["nodes", "waits", "artifacts", "config"]] = []


async def get_execution(call: Call[OneQuery, None]) -> Answer:
    """One execution with its values, and with what `include` names."""
    record, payload = await find_whole(call)
    body = await full_execution(call, record, payload)
    for part in call.query.include:
        await _include(call, record, body, part)
    return Answer(body=body)


async def cancel_execution(call: Call[NoQuery, CancelExecution | None]) -> Answer:
    """Ask for its end. What runs is stopped for certain before it says `cancelled`."""
    record = await find_execution(call)
    order = call.body or CancelExecution()
    engine = call.services.engine
    [outcome] = await engine.cancel_executions(call.workspace, [record.id], reason=order.reason, force=order.force)
    if isinstance(outcome, CallerError):
        raise outcome
    after = await engine.store.executions.whole(call.workspace, record.id)
    if after is None:
        raise ExecutionNotFound("the execution was deleted while it was being cancelled")
    body = await full_execution(call, *after)
    if after[0].finished_at is None:
        # Its owner has the message, durably; that it is cancelling is settled, though not yet written.
        body.status = ExecutionStatus.CANCELLING
    return Answer(body=body)


async def tag_execution(call: Call[NoQuery, TagExecution]) -> Answer:
    """What changes is an event `execution.tagged`; lists find it by its new tags at once."""
    record = await find_execution(call)
    await call.services.engine.tag_execution(
        call.workspace, record.id, put=call.body.set, remove=call.body.remove, by=call.principal.name
    )
    return Answer(body=await full_execution(call, *await find_whole(call)))


async def delete_execution(call: Call[NoQuery, None]) -> Answer:
    """It goes with all that it started, for good."""
    record = await find_execution(call)
    [refusal] = await call.services.engine.delete_executions(call.workspace, [record.id])
    if refusal is not None:
        raise refusal
    return Answer(status=204)


async def _include(call: Call[OneQuery, None], record: ExecutionRecord, body: Execution, part: str) -> None:
    store = call.services.engine.store
    if part == "nodes":
        runs = await store.node_runs.list(call.workspace, record.id, limit=RUNS_INCLUDED)
        body.nodes, _ = await rendered_runs(call, runs)
    elif part == "waits":
        body.waits = [wait(one) for one in await store.waits.of(call.workspace, record.id)]
    elif part == "artifacts":
        found = await store.artifacts.list(call.workspace, execution_id=record.id, limit=ARTIFACTS_INCLUDED)
        body.artifacts = [artifact(one, base=f"{API}/artifacts") for one in found]
    else:
        version = await store.flows.version(call.workspace, record.flow, record.flow_version)
        body.config = None if version is None else raw_json(version.document)


_ONE = f"{API}/executions/{{execution}}"

ROUTES = (
    Route(
        method="GET",
        path=_ONE,
        summary="One execution",
        tag="executions",
        handler=get_execution,
        role=Role.VIEWER,
        query=OneQuery,
        outcomes=(Outcome(type=Execution),),
        errors=(ExecutionNotFound,),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/cancel",
        summary="Cancel an execution",
        tag="executions",
        handler=cancel_execution,
        role=Role.OPERATOR,
        body=CancelExecution,
        body_required=False,
        outcomes=(Outcome(type=Execution, description="Cancelled, or on its way to it"),),
        errors=(ExecutionNotFound, ExecutionEnded),
    ),
    Route(
        method="PATCH",
        path=f"{_ONE}/tags",
        summary="Set and remove tags",
        description=f"Of an execution that goes on or has ended. At most {MAX_TAGS} tags, its flow's among them.",
        tag="executions",
        handler=tag_execution,
        role=Role.OPERATOR,
        body=TagExecution,
        outcomes=(Outcome(type=Execution),),
        errors=(ExecutionNotFound,),
    ),
    Route(
        method="DELETE",
        path=_ONE,
        summary="Delete an execution that has ended",
        description=(
            "Its children and units go with it: values, node runs, events, tags, artifacts, and its idempotency key, which "
            "starts a new execution from then on. Counts and lists forget it; replays of it stay whole. While it, one below it "
            "or its parent goes on, it is refused."
        ),
        tag="executions",
        handler=delete_execution,
        role=Role.OPERATOR,
        outcomes=(Outcome(status=204, description="Deleted"),),
        errors=(ExecutionNotFound, ExecutionNotEnded),
    ),
)
