"""Facts about attempts: about to begin, ended well, ended badly."""

from __future__ import annotations

from typing import Any

from perdure.base.clock import to_rfc3339
from perdure.model.decide.effects import Effect
from perdure.model.decide.flight import linger
from perdure.model.decide.record import end_run, leave, told
from perdure.model.decide.vertex import run_ended
from perdure.model.decide.winding import completes, forgo, goes_on, why_stopped
from perdure.model.definition import Node, OnInterrupt
from perdure.model.event import EventType
from perdure.model.execution import ExecutionState, NodeRun
from perdure.model.failure import Failure
from perdure.model.retry import backoff, may_retry
from perdure.model.states import NodeStatus

_INTERRUPTED = Failure(
    code="interrupted",
    message="the process that ran this attempt ended, and the node says on_interrupt: fail",
    retryable=False,
)


def spec_of(state: ExecutionState, run: NodeRun) -> Node:
    """What the run runs: its vertex, or the compensation of it."""
    spec = state.nodes[run.node].spec
    if run.compensates:
        assert spec.compensate is not None
        return spec.compensate
    return spec


def begin(state: ExecutionState, run: NodeRun, at: int) -> list[Effect] | None:
    """The run's next attempt is to begin now. None: go on; else it must not.

    A run that still says running was in flight when its last owner went: the same attempt begins anew,
    or fails where the node asks for that.
    """
    if state.beginning.pop(run.key, None) is None:
        return []
    if state.stopping and not goes_on(state, run):
        return failed(state, run, why_stopped(state), at, status=NodeStatus.CANCELLED)
    if run.status is NodeStatus.RUNNING:
        run.interruptions += 1
        if spec_of(state, run).on_interrupt is OnInterrupt.FAIL:
            return failed(state, run, _INTERRUPTED, at)
        # How long it took must not count the time in which nobody ran it.
        run.started_at = at
    else:
        leave(state, run)
        run.attempt += 1
        run.status = NodeStatus.RUNNING
        run.child = None
        if run.started_at is None:
            run.started_at = at
    state.running[run.key] = run
    state.touch(run)
    items = state.nodes[run.node].items
    state.tell(EventType.NODE_STARTED, at, run, None if items is None or run.compensates else {"items": items})
    return None


def succeeded(state: ExecutionState, run: NodeRun, output: Any, at: int) -> list[Effect]:
    """The attempt ended well. A run that is over already stays as it is."""
    if run.ended:
        return []
    run.output = output
    run.error = None
    if state.nodes[run.node].spec.compensate is not None and not run.compensates:
        at = completes(state, run, at)
    end_run(state, run, NodeStatus.COMPLETED, at)
    if state.completed and state.curtailed:
        forgo(state, at)
    return run_ended(state, run, at)


def failed(
    state: ExecutionState,
    run: NodeRun,
    failure: Failure,
    at: int,
    *,
    status: NodeStatus = NodeStatus.FAILED,
    jitter: float = 0.0,
) -> list[Effect]:
    """The attempt ended with `status` failed, timed_out, cancelled or orphaned; `jitter` in [0, 1) spreads a retry.

    A run that is over already stays as it is.
    """
    if run.ended:
        return []
    if status is NodeStatus.CANCELLED and state.stopping:
        failure = why_stopped(state)
    failure = failure.at(node=run.node, ordinal=run.ordinal, attempt=run.attempt)
    run.error = failure
    if status in (NodeStatus.FAILED, NodeStatus.TIMED_OUT) and goes_on(state, run):
        retry = spec_of(state, run).retry
        if may_retry(retry, failure, attempt=run.attempt):
            leave(state, run)
            run.status = NodeStatus.RETRYING
            run.retry_at = at + backoff(retry, attempt=run.attempt, jitter=jitter)
            state.touch(run)
            state.tell(EventType.NODE_RETRYING, at, run, {"retry_at": to_rfc3339(run.retry_at), **told(failure)})
            return linger(state, run)
    end_run(state, run, status, at, data=told(failure))
    return run_ended(state, run, at)
