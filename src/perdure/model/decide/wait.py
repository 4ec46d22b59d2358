"""Facts about waits: a run suspends, a timer fires, a child ends; and when the execution itself suspends."""

from __future__ import annotations

from typing import Any

import msgspec

from perdure.base.clock import optional_rfc3339
from perdure.base.ids import id_text
from perdure.model.answer import ANSWERED, PAUSE
from perdure.model.decide.answer import Verdict
from perdure.model.decide.attempt import failed, spec_of, succeeded
from perdure.model.decide.effects import CancelChild, Effect, Expire
from perdure.model.decide.flight import depart, linger, next_due
from perdure.model.decide.pause import due_while_paused, is_begun, may_pause
from perdure.model.decide.record import give_up, rouse
from perdure.model.decide.vertex import run_ended
from perdure.model.decide.winding import goes_on, proceed, why_stopped
from perdure.model.event import EventType
from perdure.model.execution import PAUSED, UNIT, ExecutionState, Mode, NodeRun
from perdure.model.failure import Failure
from perdure.model.states import ExecutionStatus, NodeStatus

LINGER = 5_000_000
"""Microseconds: an execution that goes on sooner than this stays with its owner."""
CHILD_LINGER = 1_000_000
"""Microseconds: after the end of a child, while others are waited for, as they mostly end close to each other."""
_CAUSE_LIMIT = 2_000
"""Characters of the message of a child's failure that its ancestors repeat."""
TIMER = "timer"
"""The kind of wait that is over well when its time has come."""


def suspended(
    state: ExecutionState,
    run: NodeRun,
    kind: str,
    at: int,
    *,
    wake_at: int | None = None,
    child: bytes | None = None,
    terms: dict[str, Any] | None = None,
) -> list[Effect]:
    """The run's attempt waits now, for `kind` (timer, child, unit, …), until `wake_at` at the latest where given.

    `terms` go into the wait's row. The node's `timeout` bounds any wait but a timer's; a unit observes it by itself, once it has its place.
    """
    if run.ended:
        return []
    timeout = spec_of(state, run).timeout
    if kind not in (TIMER, UNIT) and timeout is not None:
        wake_at = at + timeout if wake_at is None else min(wake_at, at + timeout)
    state.running.pop(run.key, None)
    run.status = NodeStatus.SUSPENDED
    run.wait, run.wake_at, run.child, run.terms = kind, wake_at, child, terms
    state.touch(run)
    state.changes.waits_opened[run.key] = run
    data: dict[str, Any] = {"wait": kind, "due_at": optional_rfc3339(wake_at)}
    if child is not None:
        data["child"] = id_text(child)
    state.tell(EventType.NODE_SUSPENDED, at, run, data)
    if not goes_on(state, run):
        effects = give_up(state, run, NodeStatus.CANCELLED, why_stopped(state), at)
        return effects + run_ended(state, run, at)
    return linger(state, run)


def woken(state: ExecutionState, run: NodeRun, at: int) -> list[Effect]:
    """The time has come that `WakeAt` asked for. A run that no longer waits is left alone."""
    if state.waiting.get(run.key) is not run or run.due_at is None or run.key in state.beginning:
        return []
    rouse(state)
    if run.status is NodeStatus.RETRYING:
        return _retried(state, run, at)
    if run.wait == TIMER:
        return succeeded(state, run, None, at)
    if run.wait in ANSWERED:
        return [Expire(run)]
    child: list[Effect] = [CancelChild(run)] if run.child is not None else []
    late = Failure(code="timeout", message=f"what it waits for ({run.wait}) did not come in time")
    return child + failed(state, run, late, at, status=NodeStatus.TIMED_OUT)


def _retried(state: ExecutionState, run: NodeRun, at: int) -> list[Effect]:
    if state.nodes[run.node].missing == 0 and not run.compensates:
        return [depart(state, run)]
    del state.waiting[run.key]
    state.stranded[run.key] = run
    return proceed(state, at) if state.stopping else []


def decided(
    state: ExecutionState, run: NodeRun, verdict: Verdict, at: int, *, attempt: int, jitter: float = 0.0
) -> list[Effect]:
    """Somebody answered, a signal came, or nobody did in time; the answer is the run's output."""
    if state.waiting.get(run.key) is not run or run.status is not NodeStatus.SUSPENDED or run.attempt != attempt:
        return []
    rouse(state)
    if verdict.failure is None:
        return succeeded(state, run, verdict.output, at)
    status = NodeStatus.TIMED_OUT if verdict.expired else NodeStatus.FAILED
    return failed(state, run, verdict.failure, at, status=status, jitter=jitter)


def child_ended(
    state: ExecutionState,
    run: NodeRun,
    status: ExecutionStatus,
    at: int,
    *,
    output: Any = None,
    failure: Failure | None = None,
    jitter: float = 0.0,
) -> list[Effect]:
    """The child that the run waits for ended."""
    if state.waiting.get(run.key) is not run or run.status is not NodeStatus.SUSPENDED:
        return []
    rouse(state)
    if any(other.child is not None for other in state.waiting.values() if other is not run):
        state.lingers_until = at + CHILD_LINGER
    if status is ExecutionStatus.COMPLETED:
        return succeeded(state, run, output, at)
    if run.elsewhere:
        return _unit_ended_badly(state, run, status, failure, at)
    return failed(state, run, _child_failure(run, status, failure), at, jitter=jitter)


def _unit_ended_badly(
    state: ExecutionState, run: NodeRun, status: ExecutionStatus, failure: Failure | None, at: int
) -> list[Effect]:
    """A unit's failure is its run's own, and has been retried there as often as it may be."""
    if status is ExecutionStatus.CANCELLED and state.stopping:
        return failed(state, run, why_stopped(state), at, status=NodeStatus.CANCELLED)
    if failure is None:
        failure = Failure(code=f"child_{status}", message=f"its unit ended as {status}")
    details = {**(failure.details or {}), "child": id_text(run.child) if run.child else None}
    if failure.attempt is not None:
        details["attempts"] = failure.attempt
    failure = msgspec.structs.replace(failure, details=details, retryable=False)
    late = failure.code == "timeout"
    return failed(state, run, failure, at, status=NodeStatus.TIMED_OUT if late else NodeStatus.FAILED)


def _child_failure(run: NodeRun, status: ExecutionStatus, failure: Failure | None) -> Failure:
    """What the child's end is to its parent.

    Where the child failed because of its own child, and so on, the message tells of the first cause and its depth,
    not of every level.
    """
    message = f"the child execution ended as {status}"
    details: dict[str, Any] = {"child": id_text(run.child) if run.child else None, "code": None}
    if failure is not None:
        first = failure.details or {}
        if not failure.code.startswith("child_") or "cause" not in first:
            first = {"depth": 0, "cause": {"code": failure.code, "message": failure.message[:_CAUSE_LIMIT]}}
        depth, cause = first["depth"] + 1, first["cause"]
        message += (
            f": {cause['message']}" if depth == 1 else f", because of one {depth} levels down: {cause['message']}"
        )
        details |= {"code": failure.code, "depth": depth, "cause": cause}
    return Failure(code=f"child_{status}", message=message, details=details)


def rest(state: ExecutionState, at: int, *, patient: bool = False) -> bool:
    """Whether nothing can happen for a while, so that the owner may let go; the state is then suspended.

    It rests until `next_wake`, or until somebody sends a message: a fact that comes before the owner has let go
    sets it running again. A failing execution may rest too, while a
    compensation waits: whoever resumes it finds it failing again. A paused one rests as soon as nothing that had
    begun is in flight. A `patient` owner, who can spare the place, keeps it until `lingers_until`.
    """
    if state.mode not in (Mode.FORWARD, Mode.FAILING) or state.status is not ExecutionStatus.RUNNING:
        return False
    if state.running or is_begun(state) or not (state.waiting or state.paused):
        return False
    wake_at = next_wake(state)
    if wake_at is not None and wake_at - at <= LINGER:
        return False
    if patient and at < state.lingers_until:
        return False
    state.status = ExecutionStatus.SUSPENDED
    kinds = {run.wait or TIMER for run in state.waiting.values()}
    if state.paused:
        kinds.add(PAUSE)
        state.reason = PAUSED
    data = {"waits": sorted(kinds), "wake_at": optional_rfc3339(wake_at)}
    state.tell(EventType.EXECUTION_SUSPENDED, at, data=data)
    return True


def next_wake(state: ExecutionState) -> int | None:
    """When the earliest timer of the waiting runs is due; while it is paused, of those that may come to something."""
    return due_while_paused(state) if state.paused and may_pause(state) else next_due(state)
