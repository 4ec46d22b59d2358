"""What a decision asks the engine to do. Values only; the engine carries them out and answers with facts."""

from __future__ import annotations

import msgspec

from perdure.model.execution import NodeRun


class Effect(msgspec.Struct, frozen=True, gc=False):
    """Root of all effects. Nothing that they hold leads back to them, so the garbage collector need not look."""


class Prepare(Effect, frozen=True, gc=False):
    """Evaluate a vertex's `when` and `foreach`, then report `graph.prepared`, `graph.condition_false` or `graph.refused`.

    Waits for the commit of the results it follows from.
    """

    node: str


class RunAttempt(Effect, frozen=True, gc=False):
    """Render the run's call and begin its attempt; a control type is carried out instead.

    One that is `held` waits for the commit of the results it follows from, as a `Prepare` does.
    """

    run: NodeRun
    held: bool = False


class WakeAt(Effect, frozen=True, gc=False):
    """Report `wait.woken` at `run.due_at`."""

    run: NodeRun


class Expire(Effect, frozen=True, gc=False):
    """Have the store decide that the run's wait is over, unless somebody has answered by now.

    Either comes back as a message, and becomes `wait.decided`.
    """

    run: NodeRun


class StopAttempt(Effect, frozen=True, gc=False):
    """Stop the attempt for certain, then report how it ended."""

    run: NodeRun
    force: bool = False


class CancelChild(Effect, frozen=True, gc=False):
    """Cancel the run's child execution."""

    run: NodeRun


class EvaluateOutput(Effect, frozen=True, gc=False):
    """Evaluate the flow's output, then report `graph.output_known` or `graph.output_refused`."""


class LimitCleanup(Effect, frozen=True, gc=False):
    """Report `stop.cleanup_ended` when the grace for cleaning up is over."""


def awaits_commit(effect: Effect) -> bool:
    """Whether it must not be carried out before everything decided so far is durable (`Changes.result`)."""
    return type(effect) is Prepare or (type(effect) is RunAttempt and effect.held)
