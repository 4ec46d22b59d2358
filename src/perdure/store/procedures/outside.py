"""What comes from outside to an execution: whether it is still taken, and how its owner, or nobody, hears of it."""

from __future__ import annotations

from typing import Any

from perdure.base.ids import id_text
from perdure.errors import ExecutionEnded, ExecutionNotFound, ExecutionStopping
from perdure.model.event import Event
from perdure.model.states import TERMINAL, ExecutionStatus
from perdure.store.procedures.cancel import CANCEL
from perdure.store.procedures.context import Context, Standing
from perdure.store.procedures.queueing import Letter, send, standings
from perdure.store.procedures.rows import message_of, wait_of
from perdure.store.procedures.timers import DEADLINE
from perdure.store.records import WaitRecord
from perdure.store.statements import Many, Procedure

Note = tuple[str, dict[str, Any]]
"""Kind and data of a message."""
TOLD = "told"
"""The kind of message that only has an owner tell an event."""


def locked(workspace: str, execution_id: bytes) -> Procedure[Standing]:
    """The execution, whose row nobody else changes until the transaction ends.

    Raises ExecutionNotFound, ExecutionEnded, ExecutionStopping.
    """
    one = (yield from standings([execution_id])).get(execution_id)
    name = id_text(execution_id)
    if one is None or one.workspace != workspace:
        raise ExecutionNotFound.of(name)
    if one.status in TERMINAL:
        raise ExecutionEnded.of(name, one.status)
    stopping = one.status == ExecutionStatus.CANCELLING
    if one.worker is not None and not stopping:
        # Its owner has a message that ends it, and has not read it yet.
        rows = yield Many("inbox_of", [(one.id,)])
        stopping = any(message_of(row).kind in (CANCEL, DEADLINE) for row in rows)
    if stopping:
        raise ExecutionStopping.of(name)
    return one


def open_waits(execution_id: bytes) -> Procedure[list[WaitRecord]]:
    rows = yield Many("waits_of", [(execution_id,)])
    return [wait_of(row) for row in rows]


def tell(context: Context, one: Standing, event: Event, at: int, *, letter: Note | None = None) -> Procedure[None]:
    """Tell the event, and send the letter, if there is one.

    The events of an owned execution are told by its owner, so the event goes with the letter then.
    """
    if one.worker is None:
        context.tell(one, [event])
        yield Many("executions_told", [(*one.key, 1)])
        if letter is not None:
            yield from send(context, [Letter(one.id, letter[0], {**letter[1], "event": None})], at)
        return
    kind, data = letter or (TOLD, {})
    told = {"type": event.type, "node": event.node, "ordinal": event.ordinal, "attempt": event.attempt}
    yield from send(context, [Letter(one.id, kind, {**data, "event": {**told, "data": event.data}})], at)
