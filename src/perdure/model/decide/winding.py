"""Winding down: what still runs once an execution is failing, cancelling or timing out, and its end."""

from __future__ import annotations

from perdure.model.decide.effects import Effect, LimitCleanup, Prepare
from perdure.model.decide.flight import depart
from perdure.model.decide.record import give_up, told
from perdure.model.event import EventType
from perdure.model.execution import COMPENSATE, ExecutionState, Mode, NodeRun
from perdure.model.failure import Failure
from perdure.model.states import ExecutionStatus, NodeStatus

CANCELLED = Failure(code="cancelled", message="the execution was cancelled", retryable=False)
DEADLINE = Failure(code="timeout", message="the execution did not end before its deadline", retryable=False)
CLEANUP_OVER = Failure(code="cleanup_timeout", message="cleaning up took longer than its grace", retryable=False)
FORGONE = Failure(code="cleanup_skipped", message="the execution ends without cleaning up any further", retryable=False)

_END = {
    Mode.FAILING: (ExecutionStatus.FAILED, EventType.EXECUTION_FAILED),
    Mode.CANCELLING: (ExecutionStatus.CANCELLED, EventType.EXECUTION_CANCELLED),
    Mode.TIMING_OUT: (ExecutionStatus.TIMED_OUT, EventType.EXECUTION_TIMED_OUT),
}


def proceed(state: ExecutionState, at: int) -> list[Effect]:
    """The next thing to do while winding down.

    First everything in flight ends; then completed runs are undone one by one, the last completed first; then
    `run_if: always` nodes run; then the execution ends.
    """
    if state.ended or state.busy():
        return []
    if not state.curtailed:
        effects = _compensate(state) or _clean_up(state)
        if effects:
            return [*effects, *limit(state)]
    _finish(state, at)
    return []


def limit(state: ExecutionState) -> list[Effect]:
    """Bound the time for cleaning up after a cancellation or the deadline; a failure's own is bounded by the deadline."""
    if state.limited or state.mode is Mode.FAILING:
        return []
    state.limited = True
    return [LimitCleanup()]


def is_cleanup(state: ExecutionState, run: NodeRun) -> bool:
    """Whether the run belongs to the winding down itself, so that a stop lets it go on."""
    return run.compensates or state.nodes[run.node].always


def goes_on(state: ExecutionState, run: NodeRun) -> bool:
    """Whether the run may begin an attempt, now or again."""
    return not state.stopping or (not state.curtailed and is_cleanup(state, run))


def why_stopped(state: ExecutionState) -> Failure:
    """What a run is told that ends because the execution does."""
    if state.cleanup_over:
        return CLEANUP_OVER
    return DEADLINE if state.mode is Mode.TIMING_OUT else CANCELLED


def completes(state: ExecutionState, run: NodeRun, at: int) -> int:
    """Note a completed run that something would undo; the time of its completion, later than any other's.

    The order of completions is the order of these times, whatever the wall clock does: a resumed execution
    has nothing else to know it by.
    """
    if state.completed:
        at = max(at, (state.completed[-1].finished_at or 0) + 1)
    state.completed.append(run)
    return at


def forgo(state: ExecutionState, at: int) -> None:
    """Nothing is cleaned up any more: what is left out becomes skipped runs, and what is in flight says so.

    An owner that resumes it finds that in the rows, and does not begin to clean up again.
    """
    state.held.clear()
    for run in state.running.values():
        if is_cleanup(state, run):
            run.error = FORGONE
            state.touch(run)
    unbegun = [run for run in state.beginning.values() if run.compensates and run.status is None]
    for run in unbegun:
        del state.beginning[run.key]
        give_up(state, run, NodeStatus.SKIPPED, FORGONE, at)
    for node in state.nodes.values():
        if node.always and node.outcome is None and not node.runs:
            node.outcome = NodeStatus.SKIPPED
            run = node.runs[0] = NodeRun(node.spec.id, node.spec.type)
            give_up(state, run, NodeStatus.SKIPPED, FORGONE, at)
    while state.completed:
        give_up(state, _undoing(state, state.completed.pop()), NodeStatus.SKIPPED, FORGONE, at)


def _compensate(state: ExecutionState) -> list[Effect]:
    stranded = [run for run in state.stranded.values() if run.compensates]
    if stranded:
        del state.stranded[stranded[0].key]
        return [depart(state, stranded[0], held=True)]
    if not state.completed:
        return []
    return [depart(state, _undoing(state, state.completed.pop()), held=True)]


def _undoing(state: ExecutionState, undone: NodeRun) -> NodeRun:
    spec = state.nodes[undone.node].spec.compensate
    assert spec is not None
    run = NodeRun(undone.node, spec.type, ordinal=undone.ordinal, label=COMPENSATE)
    state.compensations[run.node, run.ordinal] = run
    return run


def _clean_up(state: ExecutionState) -> list[Effect]:
    state.cleaning = True
    held, state.held = state.held, []
    for node in held:
        state.preparing[node.spec.id] = None
    return [Prepare(node.spec.id) for node in held]


def _finish(state: ExecutionState, at: int) -> None:
    """The execution ends badly, as its mode says."""
    state.status, event = _END[state.mode]
    data: dict[str, object] = {}
    if state.error is not None:
        data = {**told(state.error)}
    if state.reason is not None:
        data["reason"] = state.reason
    state.tell(event, at, data=data or None)
