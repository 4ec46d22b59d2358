"""Pausing: what has begun goes on to its end, nothing else is begun until somebody resumes the execution.

Facts are still taken while it is paused: a timer fires, an answer comes, a deadline passes. Only what would follow
from them waits. A stop ends the pause, so that cleaning up is not held up by it.
"""

from __future__ import annotations

from perdure.model.decide.effects import Effect, Prepare, RunAttempt
from perdure.model.decide.record import rouse
from perdure.model.execution import ExecutionState, Mode
from perdure.model.states import NodeStatus


def may_pause(state: ExecutionState) -> bool:
    """Whether a pause means anything to it: one that is being stopped goes on to its end."""
    return not state.ended and state.mode in (Mode.FORWARD, Mode.FAILING)


def paused(state: ExecutionState) -> None:
    """Somebody paused it."""
    if may_pause(state):
        state.paused = True


def resumed(state: ExecutionState) -> list[Effect]:
    """Somebody resumed it: what was withheld meanwhile."""
    rouse(state)
    state.paused = False
    withheld, state.withheld = state.withheld, []
    return withheld


def withholds(state: ExecutionState, effect: Prepare | RunAttempt) -> bool:
    """Whether the effect is kept back, for `resumed` to give it out.

    An attempt that was in flight when its last owner went had begun before: it begins anew all the same. And of a
    vertex that has runs, a new owner has to know the items again.
    """
    if not state.paused or not may_pause(state):
        return False
    if isinstance(effect, RunAttempt):
        if effect.run.status is NodeStatus.RUNNING:
            return False
    elif state.nodes[effect.node].runs:
        return False
    state.withheld.append(effect)
    return True


def stopped(state: ExecutionState) -> list[Effect]:
    """A stop ends the pause. Runs that were withheld are refused as they begin; vertices are decided about anew."""
    return [effect for effect in resumed(state) if isinstance(effect, RunAttempt)]


def is_begun(state: ExecutionState) -> bool:
    """Whether something is about to begin that is not withheld."""
    return len(state.preparing) + len(state.beginning) > len(state.withheld)


def due_while_paused(state: ExecutionState) -> int | None:
    """When the earliest wait is over; a retry that is due would only be withheld."""
    due = [run.wake_at for run in state.waiting.values() if run.retry_at is None and run.wake_at is not None]
    return min(due, default=None)
