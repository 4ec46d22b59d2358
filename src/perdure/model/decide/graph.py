"""Facts about the graph: a vertex's expressions are evaluated, and in the end the flow's output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.model.decide.effects import Effect
from perdure.model.decide.record import give_up
from perdure.model.decide.vertex import begin_items, go_on, may_begin, release, settle_vertex, skip, without_items
from perdure.model.decide.winding import proceed
from perdure.model.definition import MAX_NODE_RUNS
from perdure.model.event import EventType
from perdure.model.execution import COMPENSATE, ExecutionState, Mode, NodeRun, NodeState
from perdure.model.failure import Failure
from perdure.model.states import ExecutionStatus, NodeStatus


def prepared(
    state: ExecutionState, node_id: str, at: int, *, items: int | None, labels: Sequence[str] | None = None
) -> list[Effect]:
    """The vertex shall run: once, or (`items`) for each item of its foreach, `labels` naming them."""
    if node_id not in state.preparing:
        return []
    node = state.nodes[node_id]
    count = 1 if items is None else items
    failure = _misfit(state, node, count, labels)
    if failure is not None:
        return refused(state, node_id, failure, at)
    del state.preparing[node_id]
    if items == 0 and not node.runs:
        return go_on(state, without_items(state, node, at), at)
    state.node_run_count += count
    node.items, node.labels = items, labels
    if node.runs:
        node.unbegun = iter([ordinal for ordinal in range(count) if ordinal not in node.runs])
    else:
        node.unbegun = iter(range(count))
    effects = begin_items(state, node)
    return effects if node.unfinished else effects + settle_vertex(state, node, at)


def condition_false(state: ExecutionState, node_id: str, at: int) -> list[Effect]:
    """The vertex's `when` is false."""
    if node_id not in state.preparing:
        return []
    node = state.nodes[node_id]
    if node.runs:
        message = f"the condition of {node_id} was true before the worker changed, and is false now"
        return refused(state, node_id, Failure(code="expression_changed", message=message, retryable=False), at)
    del state.preparing[node_id]
    skip(state, node, at, blocked=False, reason="condition")
    return go_on(state, release(state, node), at)


def refused(state: ExecutionState, node_id: str, failure: Failure, at: int) -> list[Effect]:
    """The vertex's `when`, `foreach` or `key` could not be evaluated: it fails without an attempt."""
    if node_id not in state.preparing:
        return []
    del state.preparing[node_id]
    node = state.nodes[node_id]
    if not may_begin(state, node):
        node.outcome = NodeStatus.CANCELLED
        return go_on(state, release(state, node), at)
    node.refused = True
    run = next((run for run in node.runs.values() if run.ended and run.attempt == 0), None)
    if run is None:
        ordinal = next(ordinal for ordinal in range(len(node.runs) + 1) if ordinal not in node.runs)
        run = node.runs[ordinal] = NodeRun(node_id, node.spec.type, ordinal=ordinal)
        give_up(state, run, NodeStatus.FAILED, failure, at)
        node.failed_runs += 1
    if run not in state.failures:
        state.failures.append(run)
    node.error = run.error
    return settle_vertex(state, node, at)


def output_known(state: ExecutionState, output: Any, at: int) -> list[Effect]:
    """The execution is complete."""
    if state.ended or state.stopping:
        return []
    if state.compensations:
        message = (
            "the flow's output could not be evaluated before the worker changed, and what was done is being undone"
        )
        return output_refused(state, Failure(code="expression_changed", message=message, retryable=False), at)
    state.output = output
    state.status = ExecutionStatus.COMPLETED
    state.tell(EventType.EXECUTION_COMPLETED, at)
    return []


def output_refused(state: ExecutionState, failure: Failure, at: int) -> list[Effect]:
    """The flow's output could not be evaluated: the execution fails."""
    if state.ended or state.stopping:
        return []
    state.error = failure
    state.mode = Mode.FAILING
    return proceed(state, at)


def _misfit(state: ExecutionState, node: NodeState, count: int, labels: Sequence[str] | None) -> Failure | None:
    """What forbids the vertex to have so many runs, or these labels."""
    node_id = node.spec.id
    if state.node_run_count + count > MAX_NODE_RUNS:
        message = f"{node_id} would bring the execution above {MAX_NODE_RUNS} node runs; use a pipeline for more"
        return Failure(code="limit_exceeded", message=message, retryable=False)
    if labels is not None and COMPENSATE in labels:
        message = f"the key of {node_id} gave {COMPENSATE!r} for item {labels.index(COMPENSATE)}, which is reserved"
        return Failure(code="expression_error", message=message, retryable=False)
    if node.runs and max(node.runs) >= count:
        message = f"{node_id} had more than {count} items before the worker changed"
        return Failure(code="expression_changed", message=message, retryable=False)
    return None
