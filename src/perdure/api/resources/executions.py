"""Reading and cancelling executions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from perdure.api.answer import Answer
from perdure.api.call import Call
from perdure.api.cursors import decode_cursor, encode_cursor
from perdure.api.resources.lookup import (
    ANSWER_BYTES,
    find_execution,
    find_whole,
    flow_parameter,
    next_link,
    value_size,
    value_text,
)
from perdure.api.resources.node_runs import RUNS_INCLUDED, rendered_runs
from perdure.api.resources.starts import full_execution
from perdure.api.route import API, NoQuery, Outcome, Route
from perdure.api.shapes import artifact, execution, execution_summary, raw_json, wait
from perdure.auth.roles import Role
from perdure.base.clock import to_micros
from perdure.base.ids import id_bytes
from perdure.errors import (
    CallerError,
    ExecutionEnded,
    ExecutionNotFound,
    InvalidCursor,
    InvalidIdentifier,
    InvalidRequest,
)
from perdure.model.states import ExecutionKind, ExecutionStatus
from perdure.store.interface import ExecutionFilter, Page
from perdure.store.records import ExecutionRecord
from perdure.wire.executions import (
    CancelExecution,
    Execution,
    ExecutionList,
    ExecutionSelection,
    ExecutionStats,
)

COUNT_CAP = 10_000
ARTIFACTS_INCLUDED = 1_000

Moment = Annotated[datetime, Meta(tz=True)]
Uuid = Annotated[str, Meta(pattern="^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
Tags = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=320)]],
    Meta(max_length=16, description="`key:value`, or `key` for any value; all must match",
         extra_json_schema={"x-separate": True}),
]  # fmt: skip
Field = Literal[
    "id", "number", "workspace", "namespace", "flow", "flow_version", "status", "reason", "priority", "queue", "tags",
    "trigger", "kind", "parent", "root", "replay_of", "idempotency_key", "concurrency_key", "recoveries", "worker", "created_at",
    "queued_at", "started_at", "finished_at", "updated_at", "deadline_at", "duration_ms", "input", "output", "error",
]  # fmt: skip
_VALUES = frozenset({"input", "output", "error"})


class Filters(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    status: list[ExecutionStatus] = []
    flow: Annotated[str, Meta(max_length=127)] | None = None
    namespace: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_.-]{0,62}$")] | None = None
    tag: Tags = []
    trigger: Annotated[str, Meta(pattern="^[a-z]{1,20}$")] | None = None
    kind: Annotated[
        Literal["flow", "unit", "any"], Meta(description="Units are parts of executions that run elsewhere.")
    ] = "flow"
    parent: Uuid | None = None
    root: Uuid | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None


class ListQuery(Filters, kw_only=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: str | None = None
    offset: Annotated[int, Meta(ge=0, le=10_000)] = 0
    order: Literal["newest", "oldest"] = "newest"
    count: Literal["none", "capped", "exact"] = "none"
    fields: list[Field] = []


class StatsQuery(Filters, kw_only=True, forbid_unknown_fields=True):
    group_by: Annotated[
        list[Literal["status", "flow", "namespace", "trigger", "hour", "day"]], Meta(min_length=1, max_length=3)
    ] = msgspec.field(default_factory=lambda: ["status"])


class OneQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    include: list[Literal["nodes", "waits", "artifacts", "config"]] = []


async def list_executions(call: Call[ListQuery, None]) -> Answer:
    """One page, newest first unless `order` says otherwise."""
    query = call.query
    if query.cursor is not None and query.offset:
        raise InvalidRequest("cursor and offset exclude each other; give one of them")
    executions = call.services.engine.store.executions
    filter = _filter(query)
    page = Page(
        limit=query.limit + 1,
        after=_after(call, query),
        offset=query.offset,
        newest_first=query.order == "newest",
    )
    records = await executions.list(call.workspace, filter, page)
    more = len(records) > query.limit
    records = records[: query.limit]
    total, capped = await _total(call, filter)
    wanted = set(query.fields)
    if not wanted:
        now = call.services.clock.now()
        data: list[Any] = [execution_summary(record, now) for record in records]
    else:
        data, read = await _selected(call, records, wanted | {"id"})
        more = more or read < len(records)
        records = records[:read]
    cursor = None
    if more and records:
        cursor = encode_cursor(f"executions-{query.order}", call.workspace, records[-1].id.hex())
    kind: Any = ExecutionSelection if wanted else ExecutionList
    body = kind(data=data, next=cursor, total=total, total_capped=capped)
    return Answer(body=body, headers=next_link(call, cursor))


async def execution_stats(call: Call[StatsQuery, None]) -> Answer:
    """Counts by group; exact, from the counters where these suffice."""
    query = call.query
    rows = await call.services.engine.store.executions.stats(call.workspace, _filter(query), query.group_by)
    return Answer(body=ExecutionStats(data=rows, exact=True))


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


def _filter(query: Filters) -> ExecutionFilter:
    tags = []
    for tag in query.tag:
        key, separator, value = tag.partition(":")
        tags.append((key, value if separator else None))
    return ExecutionFilter(
        statuses=tuple(query.status),
        flow=None if query.flow is None else flow_parameter(query.flow),
        namespace=query.namespace,
        tags=tuple(tags),
        trigger_kind=query.trigger,
        kind=None if query.kind == "any" else ExecutionKind(query.kind),
        parent=None if query.parent is None else id_bytes(query.parent),
        root=None if query.root is None else id_bytes(query.root),
        created_after=None if query.created_after is None else to_micros(query.created_after),
        created_before=None if query.created_before is None else to_micros(query.created_before),
    )


def _after(call: Call[Any, Any], query: ListQuery) -> bytes | None:
    if query.cursor is None:
        return None
    place = decode_cursor(query.cursor, f"executions-{query.order}", call.workspace, str)
    try:
        after = bytes.fromhex(place)
    except ValueError:
        after = b""
    if len(after) != 16:
        raise InvalidCursor("the cursor is damaged; take one from `next`")
    return after


async def _total(call: Call[ListQuery, None], filter: ExecutionFilter) -> tuple[int | None, bool]:
    if call.query.count == "none":
        return None, False
    cap = COUNT_CAP if call.query.count == "capped" else None
    total = await call.services.engine.store.executions.count(call.workspace, filter, cap)
    return total, cap is not None and total >= cap


async def _selected(
    call: Call[ListQuery, None], records: list[ExecutionRecord], wanted: set[str]
) -> tuple[list[dict[str, Any]], int]:
    """The wanted fields of as many records as one answer may hold, and how many these are."""
    now = call.services.clock.now()
    payloads = {}
    if wanted & _VALUES:
        ids = [record.id for record in records]
        payloads = await call.services.engine.store.executions.payloads(call.workspace, ids)
    rows: list[dict[str, Any]] = []
    size = 0
    for record in records:
        payload = payloads.get(record.id)
        if payload is None:
            whole = execution(record, input=None, output=None, error=None, now=now)
        else:
            size += value_size(payload.input) * ("input" in wanted) + value_size(payload.output) * ("output" in wanted)
            if size > ANSWER_BYTES and rows:
                break
            whole = execution(
                record,
                input=await value_text(call, payload.input) if "input" in wanted else None,
                output=await value_text(call, payload.output) if "output" in wanted else None,
                error=payload.error,
                now=now,
            )
        rows.append({name: getattr(whole, name) for name in whole.__struct_fields__ if name in wanted})
    return rows, len(rows)


async def _include(call: Call[OneQuery, None], record: ExecutionRecord, body: Execution, part: str) -> None:
    store = call.services.engine.store
    if part == "nodes":
        runs = await store.node_runs.list(call.workspace, record.id, limit=RUNS_INCLUDED)
        body.nodes, _ = await rendered_runs(call, runs)
    elif part == "waits":
        body.waits = [wait(one) for one in await store.node_runs.waits(call.workspace, record.id)]
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
        path=f"{API}/executions",
        summary="List executions",
        description=(
            "Newest first, by cursor (or `offset` for small skips). Entries are summaries; `fields` picks their fields, "
            "values (`input`, `output`, `error`) among them. A page whose values grow large ends early and has a `next`."
        ),
        tag="executions",
        handler=list_executions,
        role=Role.VIEWER,
        query=ListQuery,
        outcomes=(
            Outcome(type=ExecutionList, headers=("Link",)),
            Outcome(type=ExecutionSelection, description="With `fields`", headers=("Link",)),
        ),
        errors=(InvalidCursor, InvalidIdentifier),
    ),
    Route(
        method="GET",
        path=f"{API}/executions/stats",
        summary="Count executions by group",
        tag="executions",
        handler=execution_stats,
        role=Role.VIEWER,
        query=StatsQuery,
        outcomes=(Outcome(type=ExecutionStats),),
        errors=(InvalidIdentifier,),
    ),
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
)
