"""Operations: created, claimed, collected, carried out step by step, forgotten.

What a step does to executions and what it notes about them are one transaction, under the lock of the operation's row and
for its holder alone: so each is done exactly once, whoever dies in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.base.codec import decode, encode_text
from perdure.base.ids import id_text
from perdure.errors import IdempotencyConflict, OperationEnded, OperationNotFound
from perdure.model.operation import OPEN, ItemOutcome, OperationStatus
from perdure.store.commands import (
    CancelOperation,
    ClaimOperation,
    CollectOperation,
    CreateOperation,
    ForgetOperations,
    ReleaseOperation,
    StepOperation,
)
from perdure.store.operation_records import Created, OperationItem, OperationRecord
from perdure.store.procedures.context import Context
from perdure.store.procedures.deeds import carry_out
from perdure.store.statements import All, Many, Procedure


def operation_of(row: Sequence[Any]) -> OperationRecord:
    """The record of a row of the shape `operation`."""
    fields = dict(zip(OperationRecord.__struct_fields__, row, strict=True))
    fields["error"] = None if fields["error"] is None else decode(fields["error"])
    return msgspec.convert(fields, OperationRecord, builtin_types=(bytes,))


def item_of(row: Sequence[Any]) -> OperationItem:
    n, execution_id, outcome, *rest = row
    code, detail, result, at = rest
    return OperationItem(
        n=n, execution_id=execution_id, outcome=ItemOutcome(outcome), code=code, detail=detail, result=result, at=at
    )


def create_operation(context: Context, command: CreateOperation) -> Procedure[Created]:
    new = command.operation
    if (known := (yield from _by_key(new))) is not None:
        return known
    row = msgspec.structs.astuple(new)
    error_at = OperationRecord.__struct_fields__.index("error")
    yield Many("operations_put", [(*row[:error_at], None, *row[error_at + 1 :])])
    # Another process may have put the same key at the same moment.
    if (
        new.idempotency_key is not None
        and (known := (yield from _by_key(new))) is not None
        and known.operation.id != new.id
    ):
        return known
    if command.ids:
        waiting = ItemOutcome.WAITING
        yield Many("operation_items_put", [(new.id, n, id, waiting) for n, id in enumerate(command.ids, 1)])
    return Created(new, is_new=True)


def claim_operation(context: Context, command: ClaimOperation) -> Procedure[OperationRecord | None]:
    rows = yield All("operation_next", {"at": command.at})
    if not rows:
        return None
    return (yield from _move(operation_of(rows[0]), command.at, holder=command.holder, free_at=command.free_at))


def collect_operation(context: Context, command: CollectOperation) -> Procedure[OperationRecord | None]:
    operation = yield from _held(command.id, command.holder)
    if operation is None or operation.status is not OperationStatus.COLLECTING:
        return None
    first = operation.total + 1
    rows = [(operation.id, n, id, ItemOutcome.WAITING) for n, id in enumerate(command.ids, first)]
    if rows:
        yield Many("operation_items_put", rows)
    total = operation.total + len(rows)
    if command.collected_to is not None:
        return (
            yield from _move(
                operation, command.at, free_at=command.free_at, total=total, collected_to=command.collected_to
            )
        )
    status = OperationStatus.RUNNING if total else OperationStatus.COMPLETED
    finished_at = None if total else command.at
    return (
        yield from _move(
            operation, command.at, free_at=command.free_at, total=total, status=status, finished_at=finished_at
        )
    )


def step_operation(context: Context, command: StepOperation) -> Procedure[OperationRecord | None]:
    operation = yield from _held(command.id, command.holder)
    if operation is None or operation.status is not OperationStatus.RUNNING:
        return None
    known = yield Many("operation_items_open", [(operation.id, step.n) for step in command.steps])
    outcomes = {n: ItemOutcome(outcome) for n, outcome in known}
    steps = [step for step in command.steps if step.n in outcomes]
    settled = yield from carry_out(context, operation, steps, outcomes, command.at)
    if settled:
        yield Many(
            "operation_items_settle",
            [
                (operation.id, one.n, one.outcome, one.code, one.detail, one.result, command.at)
                for one in sorted(settled, key=lambda one: one.n)
            ],
        )
    succeeded = operation.succeeded + sum(one.outcome is ItemOutcome.SUCCEEDED for one in settled)
    refused = operation.refused + sum(one.outcome is ItemOutcome.REFUSED for one in settled)
    is_done = succeeded + refused == operation.total
    return (
        yield from _move(
            operation, command.at, free_at=command.free_at, succeeded=succeeded, refused=refused,
            status=OperationStatus.COMPLETED if is_done else operation.status,
            finished_at=command.at if is_done else None,
        )
    )  # fmt: skip


def release_operation(context: Context, command: ReleaseOperation) -> Procedure[None]:
    operation = yield from _held(command.id, command.holder)
    if operation is None or operation.status not in OPEN:
        return
    if command.error is None:
        yield from _move(operation, command.at, holder=None, free_at=command.at)
        return
    yield from _move(
        operation,
        command.at,
        holder=None,
        status=OperationStatus.FAILED,
        error=command.error._asdict(),
        finished_at=command.at,
    )


def cancel_operation(context: Context, command: CancelOperation) -> Procedure[OperationRecord]:
    """What its holder is about to do finds it cancelled, by the lock of its row."""
    rows = yield All("operation_locked", {"id": command.id})
    operation = operation_of(rows[0]) if rows else None
    name = id_text(command.id)
    if operation is None or operation.workspace != command.workspace:
        raise OperationNotFound(f"there is no operation {name}", id=name)
    if operation.status not in OPEN:
        message = f"operation {name} is over: it is {operation.status}"
        raise OperationEnded(message, id=name, status=str(operation.status))
    return (yield from _move(operation, command.at, status=OperationStatus.CANCELLED, finished_at=command.at))


def forget_operations(context: Context, command: ForgetOperations) -> Procedure[int]:
    rows = yield All("operations_stale", {"before": command.before})
    if not rows:
        return 0
    [(id,)] = rows
    items = yield All("operation_items", {"id": id, "after": 0, "limit": command.limit})
    if items:
        yield All("operation_items_drop", {"id": id, "last": items[-1][0]})
    if len(items) < command.limit:
        yield All("operation_drop", {"id": id})
    return command.limit


def _by_key(new: OperationRecord) -> Procedure[Created | None]:
    """The operation that was asked for before under the same key. Raises IdempotencyConflict for another request."""
    if new.idempotency_key is None:
        return None
    rows = yield All("operation_by_key", {"workspace": new.workspace, "key": new.idempotency_key})
    if not rows:
        return None
    known = operation_of(rows[0])
    if known.request_hash != new.request_hash:
        raise IdempotencyConflict(
            f"the idempotency key {new.idempotency_key!r} was used with another request, for operation {id_text(known.id)}; "
            "use a new key",
            operation=id_text(known.id),
        )
    return Created(known, is_new=False)


def _held(id: bytes, holder: str) -> Procedure[OperationRecord | None]:
    """The operation, locked; None when it belongs to somebody else by now, or is gone."""
    rows = yield All("operation_locked", {"id": id})
    operation = operation_of(rows[0]) if rows else None
    return operation if operation is not None and operation.holder == holder else None


def _move(operation: OperationRecord, at: int, **changes: Any) -> Procedure[OperationRecord]:
    after = msgspec.structs.replace(operation, updated_at=max(at, operation.updated_at), **changes)
    yield All(
        "operation_move",
        {
            "id": after.id,
            "status": str(after.status),
            "collected_to": after.collected_to,
            "total": after.total,
            "succeeded": after.succeeded,
            "refused": after.refused,
            "error": None if after.error is None else encode_text(after.error),
            "holder": after.holder,
            "free_at": after.free_at,
            "updated_at": after.updated_at,
            "finished_at": after.finished_at,
        },
    )
    return after
