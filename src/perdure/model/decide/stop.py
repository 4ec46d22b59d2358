"""Facts that end an execution before its graph does: a cancellation, the deadline, the end of the cleanup's grace."""

from __future__ import annotations

from collections import deque

from perdure.model.decide import pause
from perdure.model.decide.effects import CancelChild, Effect, StopAttempt
from perdure.model.decide.record import give_up, rouse
from perdure.model.decide.vertex import follow, run_ended
from perdure.model.decide.winding import DEADLINE, forgo, goes_on, limit, proceed, why_stopped
from perdure.model.event import EventType
from perdure.model.execution import ExecutionState, Mode
from perdure.model.states import ExecutionStatus, NodeStatus


def cancelled(state: ExecutionState, at: int, *, reason: str | None = None, force: bool = False) -> list[Effect]:
    """Somebody asks to cancel. With `force` nothing is cleaned up and attempts are killed without grace."""
    if state.ended:
        return []
    forcing = force and not state.forced
    if state.mode in (Mode.CANCELLING, Mode.TIMING_OUT) and not forcing:
        return []
    state.forced = state.forced or force
    if state.mode is not Mode.TIMING_OUT:
        state.mode = Mode.CANCELLING
        state.reason = reason if reason is not None else state.reason
        state.error = None
        if state.status is not ExecutionStatus.CANCELLING:
            state.status = ExecutionStatus.CANCELLING
            state.tell(EventType.EXECUTION_CANCELLING, at, data={"reason": reason, "force": force})
    return _wind_down(state, at)


def deadline_passed(state: ExecutionState, at: int) -> list[Effect]:
    """The execution's time is over."""
    if state.ended or state.mode in (Mode.CANCELLING, Mode.TIMING_OUT):
        return []
    state.mode = Mode.TIMING_OUT
    state.error = DEADLINE
    return _wind_down(state, at)


def cleanup_ended(state: ExecutionState, at: int) -> list[Effect]:
    """Compensations and `run_if: always` nodes had their grace: what still runs is killed, nothing more begins."""
    if state.ended or not state.stopping or state.cleanup_over:
        return []
    state.cleanup_over = True
    return _wind_down(state, at)


def _wind_down(state: ExecutionState, at: int) -> list[Effect]:
    """Stop what may not go on; begin to clean up, or give that up, when nothing is in flight."""
    rouse(state)
    state.changes.result = True
    withheld = pause.stopped(state)
    ready = deque(state.nodes[node_id] for node_id in state.preparing)
    state.preparing.clear()
    if state.curtailed:
        forgo(state, at)
    effects = withheld + follow(state, ready, at)
    effects += _stop_runs(state, at)
    effects += proceed(state, at)
    if state.busy() and not state.curtailed and _needs_bound(state):
        effects += limit(state)
    return effects


def _stop_runs(state: ExecutionState, at: int) -> list[Effect]:
    """Attempts are stopped, also those in units; other waits end at once; what is about to begin is refused when it does.

    A unit is over when it says so, as an attempt is: nothing is called cancelled that may still run. Only once
    nothing is cleaned up any more, or by force, its end is not waited for.
    """
    effects: list[Effect] = [
        StopAttempt(run, state.curtailed) for run in state.running.values() if not goes_on(state, run)
    ]
    for run in [*state.waiting.values(), *state.stranded.values()]:
        if goes_on(state, run) or run.key in state.beginning:
            continue
        if run.elsewhere and not state.curtailed:
            effects.append(CancelChild(run))
        else:
            effects += give_up(state, run, NodeStatus.CANCELLED, why_stopped(state), at)
            effects += run_ended(state, run, at)
    return effects


def _needs_bound(state: ExecutionState) -> bool:
    """Whether something of the cleanup was begun before the stop and goes on, or units elsewhere are waited for."""
    under_way = (*state.running.values(), *state.waiting.values(), *state.beginning.values())
    return any(run.elsewhere or goes_on(state, run) for run in under_way)
