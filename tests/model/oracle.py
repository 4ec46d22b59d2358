"""What a scenario must come to when nobody stops it: worked out from the rules, node by node, without any runtime."""

from __future__ import annotations

from typing import NamedTuple

from perdure.model.definition import Node, OnItemError, RunIf
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.model.unit import leaves
from tests.model.scenario import Scenario

COMPLETED, SKIPPED, FAILED = NodeStatus.COMPLETED, NodeStatus.SKIPPED, NodeStatus.FAILED


class Expected(NamedTuple):
    status: ExecutionStatus
    outcomes: dict[str, NodeStatus]
    outputs: dict[str, object]
    unhandled: set[str]


def expect(scenario: Scenario) -> Expected:
    nodes = scenario.flow.nodes
    outcomes: dict[str, NodeStatus] = {}
    outputs: dict[str, object] = {}
    blocked: set[str] = set()
    for name, node in nodes.items():
        bad = any(need in blocked or outcomes[need] not in (COMPLETED, SKIPPED) for need in node.needs)
        skipped = any(outcomes[need] is SKIPPED for need in node.needs)
        outputs[name] = None
        if bad and node.run_if in (RunIf.SUCCEEDED, RunIf.SUCCEEDED_OR_SKIPPED):
            outcomes[name] = SKIPPED
            blocked.add(name)
        elif (node.run_if is RunIf.FAILED and not bad) or (node.run_if is RunIf.SUCCEEDED and skipped):
            outcomes[name] = SKIPPED
        else:
            outcomes[name], outputs[name] = _vertex(scenario, node, outputs)
    failed = {name for name, outcome in outcomes.items() if outcome not in (COMPLETED, SKIPPED)}
    unhandled = {name for name in failed if not _handled(scenario, name, outcomes, blocked)}
    ended_well = not unhandled and not scenario.output_fails
    status = ExecutionStatus.COMPLETED if ended_well else ExecutionStatus.FAILED
    return Expected(status, outcomes, outputs, unhandled)


def _vertex(scenario: Scenario, node: Node, outputs: dict[str, object]) -> tuple[NodeStatus, object]:
    if node.when == "error" or (node.foreach == "error" and node.when != "false"):
        return FAILED, None
    if node.when == "false":
        return SKIPPED, None
    ordinals = range(1 if node.foreach is None else node.foreach)
    ends = [_run(scenario, node, ordinal) for ordinal in ordinals]
    values = [
        [node.id, ordinal, *(outputs[need] for need in node.needs)] if end is COMPLETED else None
        for ordinal, end in zip(ordinals, ends, strict=True)
    ]
    if node.type == "sleep":
        values = [None for _ in values]
    if node.foreach is None:
        return ends[0], values[0]
    if node.on_item_error is OnItemError.FAIL and any(end is not COMPLETED for end in ends):
        return FAILED, None
    return COMPLETED, values


def _run(scenario: Scenario, node: Node, ordinal: int) -> NodeStatus:
    for attempt in range(1, node.retry.attempts + 1):
        last = attempt == node.retry.attempts
        match scenario.attempt_outcome(node.id, ordinal, attempt):
            case "ok":
                return COMPLETED
            case "orphan":
                # Of a unit, that is told where it happened.
                return FAILED if leaves(node, line="default") else NodeStatus.ORPHANED
            case "late" if last:
                return NodeStatus.TIMED_OUT
            case "refused":
                return FAILED
            case "fatal" if node.type != "flow":
                return FAILED
            case "fail" | "fatal" if last:
                return FAILED
    raise AssertionError("unreachable")


def _handled(scenario: Scenario, failed: str, outcomes: dict[str, NodeStatus], blocked: set[str]) -> bool:
    """Whether a completed `run_if: failed` node stands behind the failed one, directly or over blocked ones."""
    for name, node in scenario.flow.nodes.items():
        if failed not in node.needs:
            continue
        if node.run_if is RunIf.FAILED and outcomes[name] is COMPLETED:
            return True
        if name in blocked and _handled(scenario, name, outcomes, blocked):
            return True
    return False
