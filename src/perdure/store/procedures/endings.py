"""The end of executions: what every end does, and ends that nobody but the store brings about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from perdure.base.codec import encode_text
from perdure.base.ids import id_text
from perdure.model.event import Event, EventType
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.procedures.context import Context, Standing, took
from perdure.store.procedures.limits import release_slots
from perdure.store.procedures.queueing import CHILD_ENDED, Letter, send
from perdure.store.records import Value
from perdure.store.statements import Many, Procedure

END_EVENTS: dict[str, EventType] = {
    ExecutionStatus.COMPLETED: EventType.EXECUTION_COMPLETED,
    ExecutionStatus.FAILED: EventType.EXECUTION_FAILED,
    ExecutionStatus.CANCELLED: EventType.EXECUTION_CANCELLED,
    ExecutionStatus.TIMED_OUT: EventType.EXECUTION_TIMED_OUT,
    ExecutionStatus.ABANDONED: EventType.EXECUTION_ABANDONED,
}


class Ended(NamedTuple):
    """An execution that this transaction brought to its end; `standing` is from before."""

    standing: Standing
    status: ExecutionStatus
    reason: str | None = None
    output: Value | None = None
    error: dict[str, Any] | None = None


def settle_ended(context: Context, ended: Sequence[Ended], at: int) -> Procedure[None]:
    """What belongs to every end: nothing waits or is due any more, slots go on, parents are told."""
    if not ended:
        return
    ids = [(one.standing.id,) for one in ended]
    yield Many("waiting_clear", ids)
    timed = [
        (one.standing.id,) for one in ended if one.standing.deadline_at is not None or _may_have_timer(one.standing)
    ]
    if timed:
        yield Many("timers_clear", timed)
    holders = [
        (one.standing.id, one.standing.workspace, one.standing.concurrency_key)
        for one in ended
        if one.standing.concurrency_key is not None
    ]
    yield from release_slots(context, holders, at)
    letters = [letter for one in ended if (letter := _to_parent(one)) is not None]
    yield from send(context, letters, at)


def _may_have_timer(standing: Standing) -> bool:
    return standing.status in (ExecutionStatus.PENDING, ExecutionStatus.SUSPENDED)


def _to_parent(ended: Ended) -> Letter | None:
    child = ended.standing
    if child.parent is None:
        return None
    output = ended.output
    return Letter(
        child.parent,
        CHILD_ENDED,
        {
            "child": id_text(child.id),
            "node": child.parent_node,
            "ordinal": child.parent_ordinal,
            "attempt": child.parent_attempt,
            "status": ended.status,
            "reason": ended.reason,
            "output": None
            if output is None
            else {"text": output.text, "blob": output.blob.hex() if output.blob else None, "size": output.size},
            "error": ended.error,
        },
    )


def end_unowned(
    context: Context,
    endings: Sequence[Ended],
    at: int,
    *,
    node_status: NodeStatus = NodeStatus.CANCELLED,
    node_error: dict[str, Any] | None = None,
) -> Procedure[None]:
    """End executions that nobody owns; their unfinished node runs end as `node_status`."""
    if not endings:
        return
    ids = [(one.standing.id,) for one in endings]
    active = yield Many("node_runs_active", ids)
    error_text = None if node_error is None else encode_text(node_error)
    if active:
        yield Many("node_runs_end", [(*row[:4], node_status, error_text, at) for row in active])
    ended_nodes: dict[bytes, list[Event]] = {}
    for execution_id, node, ordinal, _, attempt, _ in active:
        data = None if node_error is None else {"code": node_error["code"], "message": node_error["message"]}
        ended_nodes.setdefault(execution_id, []).append(Event(f"node.{node_status}", at, node, ordinal, attempt, data))
    moves: list[tuple[Any, ...]] = []
    errors: list[tuple[Any, ...]] = []
    for one in endings:
        standing = one.standing
        events = ended_nodes.get(standing.id, [])
        events.append(Event(END_EVENTS[one.status], at, data=_end_data(one)))
        context.tell(standing, events)
        context.moved(standing, one.status, took=took(standing.started_at, at))
        moves.append(
            (
                *standing.key,
                one.status,
                one.reason,
                None,
                len(events),
                standing.recoveries,
                standing.crashes,
                None,
                at,
                at,
            )
        )
        if one.error is not None:
            errors.append((standing.id, None, None, None, encode_text(one.error)))
    yield Many("executions_move", moves)
    if errors:
        yield Many("payloads_end", errors)
    yield Many("queue_clear", ids)
    yield from settle_ended(context, endings, at)


def _end_data(ended: Ended) -> dict[str, Any] | None:
    if ended.error is not None:
        return {"code": ended.error["code"], "message": ended.error["message"]}
    return {"reason": ended.reason}
