"""Replaying and retrying executions, and finding the replays of one."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from perdure.api.answer import Answer
from perdure.api.call import Call
from perdure.api.cursors import cut_page, decode_id_cursor
from perdure.api.resources.lookup import find_execution, next_link
from perdure.api.resources.starts import ERRORS as START_ERRORS
from perdure.api.resources.starts import answer_started, given_key, placed, request_hash
from perdure.api.route import API, NoQuery, Outcome, Route
from perdure.api.shapes import execution_summary
from perdure.auth.roles import Role
from perdure.base.ids import id_text
from perdure.engine.replays import Draft
from perdure.engine.requests import ReplayRequest
from perdure.errors import (
    ExecutionNotEnded,
    ExecutionNotFound,
    InvalidCursor,
    InvalidInput,
    NothingToRetry,
)
from perdure.model.replay import Reach
from perdure.store.interface import ExecutionFilter, Page
from perdure.wire.executions import Execution, ExecutionList
from perdure.wire.replays import PlannedNode, ReplayExecution, ReplayPlan, RetryExecution


class ReplaysQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: str | None = None


async def replay_execution(call: Call[NoQuery, ReplayExecution | None]) -> Answer:
    """A new execution from what an ended one recorded, or what that would be."""
    return await _replay(call, call.body or ReplayExecution())


async def retry_execution(call: Call[NoQuery, RetryExecution | None]) -> Answer:
    """The same, from what failed."""
    asked = call.body or RetryExecution()
    body = ReplayExecution(
        begin="failed", input=asked.input, outputs=asked.outputs, version=asked.version, dry_run=asked.dry_run,
        idempotency_key=asked.idempotency_key,
    )  # fmt: skip
    return await _replay(call, body)


async def list_replays(call: Call[ReplaysQuery, None]) -> Answer:
    """Executions that were made from it, newest first."""
    original = await find_execution(call)
    kind = f"replays-{id_text(original.id)}"
    query = call.query
    after = decode_id_cursor(query.cursor, kind, call.workspace)
    found = await call.services.engine.store.executions.list(
        call.workspace, ExecutionFilter(replay_of=original.id), Page(limit=query.limit + 1, after=after)
    )
    records, cursor = cut_page(found, query.limit, kind, call.workspace, lambda record: record.id.hex())
    now = call.services.clock.now()
    body = ExecutionList(data=[execution_summary(record, now) for record in records], next=cursor)
    return Answer(body=body, headers=next_link(call, cursor))


async def _replay(call: Call[Any, Any], body: ReplayExecution) -> Answer:
    original = await find_execution(call)
    key = given_key(call, body.idempotency_key)
    request = ReplayRequest(
        workspace=call.workspace,
        id=original.id,
        begin=body.begin,
        input=body.input,
        outputs=body.outputs,
        version=body.version,
        reach=Reach(body.reuse),
        may_decide=call.principal.role.covers(Role.EDITOR),
        asked_by=None if call.principal.token_id is None else call.principal.name,
        idempotency_key=key,
        request_hash=None if key is None else request_hash(body, b"replay" + original.id),
    )
    engine = call.services.engine
    if body.dry_run:
        try:
            return Answer(body=_plan(await engine.replays.draft(request)))
        except InvalidInput as error:
            raise placed(error) from None
    [started] = await engine.replay_executions([request])
    return await answer_started(call, started)


def _plan(draft: Draft) -> ReplayPlan:
    nodes = [
        PlannedNode(
            node=one.node,
            type=one.type,
            action="run" if one.runs else "reuse",
            reason=str(one.reason),
            because=list(one.because),
            reused_runs=len(one.taken) or int(one.node in draft.request.outputs),
        )
        for one in draft.planned.values()
    ]
    again = sum(one.action == "run" for one in nodes)
    return ReplayPlan(
        execution=id_text(draft.original.id),
        flow=draft.original.flow,
        flow_version=draft.version,
        reused=len(nodes) - again,
        run=again,
        nodes=nodes,
    )


_ONE = f"{API}/executions/{{execution}}"
_HEADERS = ("Location", "Preference-Applied", "Idempotent-Replayed")
_OUTCOMES = (
    Outcome(status=202, type=Execution, description="The new execution", headers=_HEADERS),
    Outcome(status=200, type=ReplayPlan, description="With `dry_run`: what would be reused and what would run"),
    Outcome(status=200, type=Execution, description="The new execution, finished", headers=_HEADERS),
)
_ERRORS = (ExecutionNotFound, ExecutionNotEnded, NothingToRetry, *START_ERRORS)

ROUTES = (
    Route(
        method="POST",
        path=f"{_ONE}/replay",
        summary="Replay an execution",
        description=(
            "A new execution of the same flow, from the start or from any nodes: recorded results of what does not depend "
            "on them are taken over and do not run again. Edit its input, or outputs of nodes; choose the version. It "
            "stands alone: the original may be deleted. Outputs of approvals and questions are edited by an editor. `dry_run` tells what would happen and why, and writes nothing."
        ),
        tag="executions",
        handler=replay_execution,
        role=Role.OPERATOR,
        body=ReplayExecution,
        body_required=False,
        request_headers=("Prefer", "Idempotency-Key"),
        outcomes=_OUTCOMES,
        errors=_ERRORS,
    ),
    Route(
        method="POST",
        path=f"{_ONE}/retry",
        summary="Retry what failed in an execution",
        description="A replay from what failed, was cancelled or never ran; "
        "completed nodes and items keep their results, in the children of `flow` nodes too.",
        tag="executions",
        handler=retry_execution,
        role=Role.OPERATOR,
        body=RetryExecution,
        body_required=False,
        request_headers=("Prefer", "Idempotency-Key"),
        outcomes=_OUTCOMES,
        errors=_ERRORS,
    ),
    Route(
        method="GET",
        path=f"{_ONE}/replays",
        summary="Replays of an execution",
        tag="executions",
        handler=list_replays,
        role=Role.VIEWER,
        query=ReplaysQuery,
        outcomes=(Outcome(type=ExecutionList, headers=("Link",)),),
        errors=(ExecutionNotFound, InvalidCursor),
    ),
)
