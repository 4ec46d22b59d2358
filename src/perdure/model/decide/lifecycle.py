"""The beginning of an owner's work: a fresh execution, or one loaded from its rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from perdure.model.decide.effects import CancelChild, Effect
from perdure.model.decide.flight import take_up
from perdure.model.decide.record import give_up, told
from perdure.model.decide.vertex import note_failure, ready_roots
from perdure.model.decide.winding import DEADLINE, FORGONE, goes_on, limit, proceed, why_stopped
from perdure.model.event import EventType
from perdure.model.execution import ExecutionState, Mode, NodeRun, NodeState
from perdure.model.failure import RECOVERIES_EXHAUSTED, Failure
from perdure.model.states import ExecutionStatus, NodeStatus


def begun(state: ExecutionState, at: int) -> list[Effect]:
    """The execution starts."""
    return ready_roots(state, at)


def resumed(
    state: ExecutionState,
    runs: Iterable[NodeRun],
    at: int,
    *,
    deadline_at: int | None = None,
    whole: Collection[str] = (),
) -> list[Effect]:
    """The execution goes on from the rows of its node runs, under a new owner.

    Results are taken over, waits wait on, and attempts that were in flight begin anew. One that was being cancelled,
    or whose deadline has passed, goes on winding down. One that was failing comes to the same verdict again, as all
    that leads to it is recorded. A replay begins so too, from what it took over; `whole` names each foreach of which
    that is all, so that its items are not told anew.
    """
    _load(state, runs)
    for name in whole:
        _settle_items(state.nodes[name])
    if state.status is ExecutionStatus.CANCELLING:
        state.mode = Mode.CANCELLING
    elif (deadline_at is not None and deadline_at <= at) or _was_stopped(state):
        state.mode = Mode.TIMING_OUT
        state.error = DEADLINE
    effects = _take_over(state, at) + ready_roots(state, at)
    if not state.stopping:
        return effects
    state.changes.result = True
    effects += proceed(state, at)
    return [*effects, *limit(state)] if state.busy() else effects


def handed_back(
    state: ExecutionState, at: int, *, worker: str, crashed: Failure | None = None, crashes: int
) -> list[Effect]:
    """The owner lets go so that another goes on: its worker drains, or an attempt took its process down (`crashed`).

    `crashes` counts those in a row, with this one; above the flow's `max_recoveries` the execution is abandoned, and
    with it everything that is still open.
    """
    if state.status is not ExecutionStatus.CANCELLING:
        state.status = ExecutionStatus.INTERRUPTED
    data = {"worker": worker, "crash": crashed is not None, "crashes": crashes}
    state.tell(EventType.EXECUTION_INTERRUPTED, at, data=data)
    if crashed is None or crashes <= state.flow.max_recoveries or state.status is not ExecutionStatus.INTERRUPTED:
        return []
    message = f"its process died {crashes} times in a row: {crashed.message}"
    state.error = Failure(code=RECOVERIES_EXHAUSTED, message=message, node=crashed.node, ordinal=crashed.ordinal)
    state.status = ExecutionStatus.ABANDONED
    state.reason = RECOVERIES_EXHAUSTED
    effects: list[Effect] = []
    for run in [*state.running.values(), *state.waiting.values(), *state.stranded.values()]:
        effects += give_up(state, run, NodeStatus.FAILED, state.error, at)
    state.tell(EventType.EXECUTION_ABANDONED, at, data=told(state.error))
    return effects


def _load(state: ExecutionState, runs: Iterable[NodeRun]) -> None:
    for run in runs:
        if run.compensates:
            state.compensations[run.node, run.ordinal] = run
        else:
            state.nodes[run.node].runs[run.ordinal] = run
        if run.error is not None and run.error.code == FORGONE.code:
            state.cleanup_over = True
    state.completed = [
        run
        for node in state.nodes.values()
        if node.spec.compensate is not None
        for run in node.runs.values()
        if run.status is NodeStatus.COMPLETED
        and not run.itemless
        # What another execution did is its own to undo.
        and run.reused_from is None
        and (run.node, run.ordinal) not in state.compensations
    ]
    state.completed.sort(key=lambda run: (run.finished_at or 0, state.nodes[run.node].index, run.ordinal))


def _settle_items(node: NodeState) -> None:
    node.items = len(node.runs)
    first = node.runs.get(0)
    if first is not None and first.status is NodeStatus.FAILED and first.attempt == 0:
        node.refused, node.error = True, first.error


def _take_over(state: ExecutionState, at: int) -> list[Effect]:
    """Every run that has not ended goes on or is ended now, so that a message to it finds it waiting."""
    effects: list[Effect] = []
    for node in state.nodes.values():
        if not node.repeated or node.items is not None:
            state.node_run_count += len(node.runs)
        for run in sorted(node.runs.values(), key=lambda run: (run.finished_at or 0, run.ordinal)):
            if not run.ended and goes_on(state, run):
                node.unfinished += 1
                effects += take_up(state, run)
                continue
            if run.elsewhere and not state.curtailed:
                node.unfinished += 1
                effects += [*take_up(state, run), CancelChild(run)]
                continue
            if not run.ended:
                effects += give_up(state, run, NodeStatus.CANCELLED, why_stopped(state), at)
            note_failure(state, node, run)
    for run in state.compensations.values():
        if not run.ended and goes_on(state, run):
            effects += take_up(state, run)
        elif not run.ended:
            effects += give_up(state, run, NodeStatus.CANCELLED, why_stopped(state), at)
    return effects


def _was_stopped(state: ExecutionState) -> bool:
    """Whether an earlier owner had begun to wind down: only that cancels the runs of vertices."""
    return any(run.status is NodeStatus.CANCELLED for node in state.nodes.values() for run in node.runs.values())
