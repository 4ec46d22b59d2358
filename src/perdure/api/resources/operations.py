"""Operations: one action on many executions, its progress, and what became of each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from perdure.api.answer import Answer, Header
from perdure.api.call import Call
from perdure.api.cursors import cut_page, decode_cursor, decode_id_cursor
from perdure.api.resources.bulk import BulkExecutions, operation_request
from perdure.api.resources.filtering import Moment, wrong_ranges
from perdure.api.resources.lookup import next_link
from perdure.api.route import API, NoQuery, Outcome, Route
from perdure.api.shapes import optional_id, optional_time, time_text
from perdure.auth.roles import Role
from perdure.base.clock import to_micros
from perdure.base.codec import decode
from perdure.base.ids import id_text
from perdure.errors import (
    IdempotencyConflict,
    InvalidCursor,
    InvalidIdentifier,
    LimitExceeded,
    OperationEnded,
    OperationNotFound,
    invalid_request,
)
from perdure.model.operation import OPEN, Action, ItemOutcome, OperationStatus
from perdure.store.operation_records import OperationFilter, OperationItem, OperationRecord
from perdure.wire import operations as wire
from perdure.wire.operations import (
    BulkPlan,
    Operation,
    OperationError,
    OperationItemList,
    OperationList,
)


class OperationsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """All conditions hold together; several statuses or actions are alternatives."""

    status: list[OperationStatus] = []
    action: list[Action] = []
    created_after: Moment | None = None
    created_before: Moment | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: str | None = None


class ItemsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    outcome: Literal["waiting", "asked", "succeeded", "refused", "skipped"] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: str | None = None


async def change_executions(call: Call[NoQuery, BulkExecutions]) -> Answer:
    """An operation that is carried out from now on, or what it would concern."""
    request = operation_request(call, call.body)
    operations = call.services.engine.operations
    if call.body.dry_run:
        found = await operations.preview(request)
        plan = BulkPlan(
            action=request.action,
            total=found.total,
            refused=found.refused,
            capped=found.is_capped,
            by_status=found.by_status,
            sample=[id_text(id) for id in found.sample],
        )
        return Answer(body=plan)
    created = await operations.create(request)
    headers: list[Header] = [(b"location", f"{API}/operations/{id_text(created.operation.id)}".encode())]
    if not created.is_new:
        headers.append((b"idempotent-replayed", b"true"))
    return Answer(status=202, headers=headers, body=operation(created.operation))


async def list_operations(call: Call[OperationsQuery, None]) -> Answer:
    """The newest first."""
    query, kind = call.query, "operations"
    before = decode_id_cursor(query.cursor, kind, call.workspace)
    if wrong := tuple(wrong_ranges(query)):
        raise invalid_request(wrong, part="query")
    filter = OperationFilter(
        statuses=tuple(query.status),
        actions=tuple(query.action),
        created_after=None if query.created_after is None else to_micros(query.created_after),
        created_before=None if query.created_before is None else to_micros(query.created_before),
    )
    found = await call.services.engine.store.operations.list(
        call.workspace, filter=filter, before=before, limit=query.limit + 1
    )
    records, cursor = cut_page(found, query.limit, kind, call.workspace, lambda record: record.id.hex())
    return Answer(
        body=OperationList(data=[operation(record) for record in records], next=cursor), headers=next_link(call, cursor)
    )


async def get_operation(call: Call[NoQuery, None]) -> Answer:
    """How far it is."""
    return Answer(body=operation(await _found(call)))


async def list_operation_items(call: Call[ItemsQuery, None]) -> Answer:
    """What became of each execution, in the order in which they are taken."""
    record = await _found(call)
    query = call.query
    kind = f"items-{id_text(record.id)}-{query.outcome or 'any'}"
    after = 0 if query.cursor is None else decode_cursor(query.cursor, kind, call.workspace, int)
    found: list[OperationItem] = []
    is_over = record.status not in OPEN
    if query.outcome is None or (query.outcome not in _IMPOSSIBLE[is_over]):
        outcome = None if query.outcome is None else _STORED.get(query.outcome, ItemOutcome(query.outcome))
        found = await call.services.engine.store.operations.items(
            record.id, outcome=outcome, after=after, limit=query.limit + 1
        )
    items, cursor = cut_page(found, query.limit, kind, call.workspace, lambda item: item.n)
    body = OperationItemList(data=[_item(one, is_over=is_over) for one in items], next=cursor)
    return Answer(body=body, headers=next_link(call, cursor))


_STORED = {"skipped": ItemOutcome.WAITING}
_IMPOSSIBLE = {True: {"waiting"}, False: {"skipped"}}
"""What waits when an operation ends is told as skipped."""


async def cancel_operation(call: Call[NoQuery, None]) -> Answer:
    """What was done stays; nothing more is done."""
    return Answer(body=operation(await call.services.engine.operations.cancel(call.workspace, call.path["operation"])))


def operation(record: OperationRecord) -> Operation:
    """The record as the wire shows it."""
    request = decode(record.request)
    is_over = record.status not in OPEN
    return Operation(
        id=id_text(record.id),
        workspace=record.workspace,
        action=record.action,
        status=record.status,
        by=record.asked_by,
        arguments=request["arguments"],
        filter=request["filter"],
        total=record.total,
        succeeded=record.succeeded,
        refused=record.refused,
        skipped=record.left if is_over else 0,
        left=0 if is_over else record.left,
        error=None if record.error is None else OperationError(**record.error),
        created_at=time_text(record.created_at),
        updated_at=time_text(record.updated_at),
        finished_at=optional_time(record.finished_at),
    )


def _item(item: OperationItem, *, is_over: bool) -> wire.OperationItem:
    is_skipped = is_over and item.outcome is ItemOutcome.WAITING
    return wire.OperationItem(
        n=item.n,
        execution=id_text(item.execution_id),
        outcome=ItemOutcome.SKIPPED if is_skipped else item.outcome,
        code=item.code,
        detail=item.detail,
        replay=optional_id(item.result),
        at=optional_time(item.at),
    )


async def _found(call: Call[Any, Any]) -> OperationRecord:
    return await call.services.engine.operations.get(call.workspace, call.path["operation"])


_ONE = f"{API}/operations/{{operation}}"

ROUTES = (
    Route(
        method="POST",
        path=f"{API}/executions/bulk",
        summary="Cancel, retry, replay, tag or delete many executions",
        description=(
            "Durable when it is answered, and carried out from then on, whatever happens to the server: each execution exactly "
            "once. A filter means those that were there when it was asked. What the single call refuses is told as this "
            "execution's outcome, and the others go on."
        ),
        tag="operations",
        handler=change_executions,
        role=Role.OPERATOR,
        body=BulkExecutions,
        request_headers=("Idempotency-Key",),
        outcomes=(
            Outcome(status=202, type=Operation, description="Accepted", headers=("Location", "Idempotent-Replayed")),
            Outcome(status=200, type=BulkPlan, description="With `dry_run`: which executions it would concern"),
        ),
        errors=(InvalidIdentifier, IdempotencyConflict, LimitExceeded),
    ),
    Route(
        method="GET",
        path=f"{API}/operations",
        summary="List operations",
        description=(
            "The newest first, by status, action and time of creation, with an index behind each. They are kept for a week "
            "after their end."
        ),
        tag="operations",
        handler=list_operations,
        role=Role.VIEWER,
        query=OperationsQuery,
        outcomes=(Outcome(type=OperationList, headers=("Link",)),),
        errors=(InvalidCursor,),
    ),
    Route(
        method="GET",
        path=_ONE,
        summary="One operation, and how far it is",
        tag="operations",
        handler=get_operation,
        role=Role.VIEWER,
        outcomes=(Outcome(type=Operation),),
        errors=(OperationNotFound,),
    ),
    Route(
        method="GET",
        path=f"{_ONE}/items",
        summary="What became of each execution",
        tag="operations",
        handler=list_operation_items,
        role=Role.VIEWER,
        query=ItemsQuery,
        outcomes=(Outcome(type=OperationItemList, headers=("Link",)),),
        errors=(OperationNotFound, InvalidCursor),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/cancel",
        summary="Do no more of it",
        tag="operations",
        handler=cancel_operation,
        role=Role.OPERATOR,
        outcomes=(Outcome(type=Operation, description="Cancelled; what was done stays"),),
        errors=(OperationNotFound, OperationEnded),
    ),
)
