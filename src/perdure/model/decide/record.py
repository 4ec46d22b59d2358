"""Writing down what happened to a run: its row and its event, without asking what follows."""

from __future__ import annotations

from typing import Any

from perdure.base.ids import id_text
from perdure.model.decide.effects import CancelChild, Effect
from perdure.model.event import EventType
from perdure.model.execution import PAUSED, ExecutionState, NodeRun
from perdure.model.failure import Failure
from perdure.model.states import ExecutionStatus, NodeStatus

_EVENT = {
    NodeStatus.COMPLETED: EventType.NODE_COMPLETED,
    NodeStatus.SKIPPED: EventType.NODE_SKIPPED,
    NodeStatus.FAILED: EventType.NODE_FAILED,
    NodeStatus.TIMED_OUT: EventType.NODE_TIMED_OUT,
    NodeStatus.CANCELLED: EventType.NODE_CANCELLED,
    NodeStatus.ORPHANED: EventType.NODE_ORPHANED,
}
_MESSAGE_LIMIT = 500


def end_run(
    state: ExecutionState, run: NodeRun, status: NodeStatus, at: int, *, data: dict[str, Any] | None = None
) -> None:
    """The run is over: it leaves what is in flight, its row and its event are to be written."""
    leave(state, run)
    run.status = status
    run.finished_at = at
    state.changes.result = True
    state.touch(run)
    if run.child is not None:
        data = {**(data or {}), "child": id_text(run.child)}
    state.tell(_EVENT[status], at, run, data)


def give_up(state: ExecutionState, run: NodeRun, status: NodeStatus, failure: Failure, at: int) -> list[Effect]:
    """End a run that has no attempt in flight; the child that it waits for is cancelled."""
    waits_for_child = run.status is NodeStatus.SUSPENDED and run.child is not None
    run.error = failure.at(node=run.node, ordinal=run.ordinal, attempt=run.attempt)
    end_run(state, run, status, at, data=told(failure))
    return [CancelChild(run)] if waits_for_child else []


def leave(state: ExecutionState, run: NodeRun) -> None:
    """Neither in flight nor waiting any more; an open wait is closed."""
    if run.status is None:
        return
    key = run.key
    if state.stranded:
        state.stranded.pop(key, None)
    if run.status is NodeStatus.RUNNING:
        state.running.pop(key, None)
        return
    state.waiting.pop(key, None)
    if run.wait is not None:
        if state.changes.waits_opened.pop(key, None) is None:
            state.changes.waits_closed.append(key)
        run.wait = None
    run.wake_at = run.retry_at = None


def rouse(state: ExecutionState) -> None:
    """A fact reaches an execution that was about to rest: it does not rest, and nobody hears of it."""
    if state.status is ExecutionStatus.SUSPENDED:
        state.status = ExecutionStatus.RUNNING
        if state.reason == PAUSED:
            state.reason = None
        events = state.changes.events
        events[:] = [event for event in events if event.type != EventType.EXECUTION_SUSPENDED]


def told(failure: Failure) -> dict[str, Any]:
    """What an event says of a failure: never the whole of it."""
    return {"code": failure.code, "message": failure.message[:_MESSAGE_LIMIT]}
