"""Runs on their way: about to begin an attempt, waiting, or taken over from an earlier owner."""

from __future__ import annotations

from heapq import heappop, heappush

from perdure.model.decide.effects import Effect, RunAttempt, WakeAt
from perdure.model.execution import ExecutionState, NodeRun
from perdure.model.states import NodeStatus


def depart(state: ExecutionState, run: NodeRun, *, held: bool = False) -> Effect:
    """The run's next attempt is to begin."""
    state.beginning[run.key] = run
    return RunAttempt(run, held)


def linger(state: ExecutionState, run: NodeRun) -> list[Effect]:
    """The run waits, for its time to come or for a message."""
    state.waiting[run.key] = run
    due_at = run.due_at
    if due_at is None:
        return []
    heappush(state.timers, (due_at, run.key, run))
    return [WakeAt(run)]


def take_up(state: ExecutionState, run: NodeRun) -> list[Effect]:
    """Go on with a loaded run that has not ended: a wait waits on, an attempt in flight was interrupted."""
    if run.status is NodeStatus.RUNNING:
        state.stranded[run.key] = run
        return []
    return linger(state, run)


def next_due(state: ExecutionState) -> int | None:
    """When the earliest timer of the waiting runs fires."""
    timers = state.timers
    while timers:
        due_at, key, run = timers[0]
        if state.waiting.get(key) is run and run.due_at == due_at:
            return due_at
        heappop(timers)
    return None
