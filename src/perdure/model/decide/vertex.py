"""What follows in the graph: which vertices become ready, are skipped, are done, and when the execution is over."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from perdure.model.decide.effects import Effect, EvaluateOutput, Prepare
from perdure.model.decide.flight import depart
from perdure.model.decide.record import end_run
from perdure.model.decide.winding import proceed
from perdure.model.definition import MAX_NODE_RUNS, MAX_SPREAD, RunIf
from perdure.model.execution import ExecutionState, Mode, NodeRun, NodeState
from perdure.model.states import NodeStatus
from perdure.model.unit import may_leave

_BAD = frozenset({NodeStatus.FAILED, NodeStatus.TIMED_OUT, NodeStatus.CANCELLED, NodeStatus.ORPHANED})


def ready_roots(state: ExecutionState, at: int) -> list[Effect]:
    """The execution begins (or goes on): every vertex without open needs."""
    return follow(state, deque(node for node in state.nodes.values() if node.missing == 0), at)


def run_ended(state: ExecutionState, run: NodeRun, at: int) -> list[Effect]:
    """A run is over and written down: begin the next item, or go on behind its vertex."""
    if run.compensates:
        return proceed(state, at) if state.stopping else []
    node = state.nodes[run.node]
    node.unfinished -= 1
    if run.status is not NodeStatus.COMPLETED:
        note_failure(state, node, run)
    effects = begin_items(state, node) if node.repeated else []
    return effects if node.unfinished else effects + settle_vertex(state, node, at)


def follow(state: ExecutionState, ready: deque[NodeState], at: int) -> list[Effect]:
    """Work through vertices whose needs are all done, and through those that become so by a skip."""
    effects: list[Effect] = []
    while ready:
        node = ready.popleft()
        if node.outcome is not None:
            continue
        if state.mode is not Mode.FORWARD:
            effects += _wind_past(state, node, ready)
            continue
        verdict = None if _was_begun(node) else _verdict(state, node)
        if verdict is None:
            effects += _begin_vertex(state, node, ready)
        else:
            blocked, reason = verdict
            skip(state, node, at, blocked=blocked, reason=reason)
            ready.extend(release(state, node))
    if state.undone == 0 and state.mode is Mode.FORWARD:
        effects += _conclude(state, at)
    return effects


def begin_items(state: ExecutionState, node: NodeState) -> list[Effect]:
    """Begin as many runs as `parallel` leaves room for; none after a failure that counts."""
    if (node.failed_runs and not node.tolerant) or not may_begin(state, node):
        node.unbegun = iter(())
        return []
    effects: list[Effect] = []
    spec, labels = node.spec, node.labels
    at_once = MAX_SPREAD if may_leave(spec) else MAX_NODE_RUNS
    room = (spec.parallel or at_once) - node.unfinished
    while room > 0:
        ordinal = next(node.unbegun, None)
        if ordinal is None:
            break
        run = NodeRun(spec.id, spec.type, ordinal=ordinal, label=labels[ordinal] if labels else "")
        node.runs[ordinal] = run
        node.unfinished += 1
        effects.append(depart(state, run))
        room -= 1
    return effects


def may_begin(state: ExecutionState, node: NodeState) -> bool:
    """Whether more runs of the vertex may begin."""
    return state.mode is Mode.FORWARD or (node.always and not state.curtailed)


def settle_vertex(state: ExecutionState, node: NodeState, at: int) -> list[Effect]:
    """Go on behind the vertex if nothing of it is left to do."""
    return go_on(state, _over(state, node), at)


def go_on(state: ExecutionState, ready: Sequence[NodeState], at: int) -> list[Effect]:
    """Go on with what became ready, and with the winding down."""
    effects = follow(state, deque(ready), at)
    return effects + proceed(state, at) if state.mode is not Mode.FORWARD else effects


def release(state: ExecutionState, node: NodeState) -> list[NodeState]:
    """The vertex has its outcome: those of its successors that this makes ready."""
    state.undone -= 1
    ready = []
    for successor in state.flow.successors[node.spec.id]:
        following = state.nodes[successor]
        following.missing -= 1
        if following.missing == 0:
            ready.append(following)
    return ready


def skip(state: ExecutionState, node: NodeState, at: int, *, blocked: bool, reason: str) -> None:
    node.blocked = blocked
    node.outcome = NodeStatus.SKIPPED
    if 0 not in node.runs:
        run = node.runs[0] = NodeRun(node.spec.id, node.spec.type)
        end_run(state, run, NodeStatus.SKIPPED, at, data={"reason": reason})


def without_items(state: ExecutionState, node: NodeState, at: int) -> list[NodeState]:
    """A foreach over nothing is complete. One run, which never began an attempt, tells so whoever takes it over."""
    node.items = 0
    run = node.runs[0] = NodeRun(node.spec.id, node.spec.type)
    end_run(state, run, NodeStatus.COMPLETED, at, data={"items": 0})
    return _stood_for(state, node, run.output)


def _stood_for(state: ExecutionState, node: NodeState, output: Any) -> list[NodeState]:
    """One run that made no attempt stands for the whole of a foreach: over nothing, or with an edited output."""
    node.outcome, node.output = NodeStatus.COMPLETED, output or []
    return release(state, node)


def note_failure(state: ExecutionState, node: NodeState, run: NodeRun) -> None:
    """Count a run that ended badly."""
    if run.status not in _BAD:
        return
    if run.status is NodeStatus.CANCELLED and state.stopping:
        node.cancelled_runs += 1
    else:
        node.failed_runs += 1
    if not node.tolerant:
        state.failures.append(run)
        if node.error is None:
            node.error = run.error


def _was_begun(node: NodeState) -> bool:
    """Whether an earlier owner let the vertex run: that stands, whatever its needs look like now."""
    return bool(node.runs) and (0 not in node.runs or node.runs[0].status is not NodeStatus.SKIPPED)


def _verdict(state: ExecutionState, node: NodeState) -> tuple[bool, str] | None:
    """None when the vertex shall run; else whether it is blocked by a failure (or merely skipped), and why."""
    run_if = node.spec.run_if
    if run_if is RunIf.ALWAYS:
        return None
    failed = skipped = False
    for name in node.spec.needs:
        need = state.nodes[name]
        if need.outcome is NodeStatus.SKIPPED:
            skipped = True
            failed = failed or need.blocked
        elif need.outcome is not NodeStatus.COMPLETED:
            failed = True
    if run_if is RunIf.FAILED:
        return None if failed else (False, "nothing_failed")
    if failed:
        return (True, "upstream_failed")
    if skipped and run_if is RunIf.SUCCEEDED:
        return (False, "upstream_skipped")
    return None


def _begin_vertex(state: ExecutionState, node: NodeState, ready: deque[NodeState]) -> list[Effect]:
    """Prepare it; or, where rows of it were loaded, go on from them."""
    if not node.runs:
        state.preparing[node.spec.id] = None
        return [Prepare(node.spec.id)]
    first = node.runs.get(0)
    if first is not None and first.status is NodeStatus.SKIPPED:
        node.outcome = NodeStatus.SKIPPED
        ready.extend(release(state, node))
        return []
    if first is not None and first.itemless:
        ready.extend(_stood_for(state, node, first.output))
        return []
    effects = [depart(state, run) for run in node.runs.values() if state.stranded.pop(run.key, None) is not None]
    if node.repeated and node.items is None:
        state.preparing[node.spec.id] = None
        effects.append(Prepare(node.spec.id))
    else:
        ready.extend(_over(state, node))
    return effects


def _wind_past(state: ExecutionState, node: NodeState, ready: deque[NodeState]) -> list[Effect]:
    """A vertex became ready while the execution is stopped.

    One that an earlier owner began is seen to its end; `run_if: always` waits until all else has stopped; others are
    left out.
    """
    if node.runs:
        return _begin_vertex(state, node, ready)
    if node.always and not state.curtailed:
        if state.cleaning:
            return _begin_vertex(state, node, ready)
        state.held.append(node)
        return []
    node.outcome = NodeStatus.CANCELLED
    ready.extend(release(state, node))
    return []


def _over(state: ExecutionState, node: NodeState) -> Sequence[NodeState]:
    """Give the vertex its outcome when nothing of it is left to do; the vertices that this makes ready."""
    if node.outcome is not None or node.unfinished:
        return ()
    if node.refused:
        node.outcome = NodeStatus.FAILED
    elif not node.repeated:
        run = node.runs[0]
        node.outcome, node.output = run.status, run.output
    elif node.items is None:
        return ()
    elif node.failed_runs and not node.tolerant:
        node.outcome = NodeStatus.FAILED
    elif node.cancelled_runs or len(node.runs) != node.items:
        node.outcome = NodeStatus.CANCELLED
    else:
        node.outcome = NodeStatus.COMPLETED
        node.output = [node.runs[ordinal].output for ordinal in range(node.items)]
    return release(state, node)


def _conclude(state: ExecutionState, at: int) -> list[Effect]:
    """Every vertex has its outcome."""
    handled = _handled(state) if state.failures else frozenset()
    unhandled = [run for run in state.failures if run.node not in handled]
    if not unhandled:
        return [EvaluateOutput()]
    first = min(unhandled, key=lambda run: (run.finished_at or 0, state.nodes[run.node].index, run.ordinal))
    state.error = first.error
    state.mode = Mode.FAILING
    return proceed(state, at)


def _handled(state: ExecutionState) -> set[str]:
    """Vertices with a completed `run_if: failed` vertex behind them, directly or over blocked ones."""
    back = [
        need
        for node in state.nodes.values()
        if node.spec.run_if is RunIf.FAILED and node.outcome is NodeStatus.COMPLETED
        for need in node.spec.needs
    ]
    handled: set[str] = set()
    while back:
        need = back.pop()
        if need not in handled:
            handled.add(need)
            if state.nodes[need].blocked:
                back += state.nodes[need].spec.needs
    return handled
