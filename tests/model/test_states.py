"""The tables of legal transitions."""

from __future__ import annotations

from itertools import product

import pytest

from perdure.model.event import TERMINAL_TYPES, EventType
from perdure.model.states import (
    NODE_TERMINAL,
    NODE_TRANSITIONS,
    TERMINAL,
    TRANSITIONS,
    ExecutionStatus,
    NodeStatus,
    may_become,
)

LEGAL = """
    pending → queued cancelling cancelled timed_out
    queued → running cancelling cancelled timed_out abandoned
    running → suspended interrupted cancelling cancelled completed failed timed_out
    suspended → running cancelling cancelled timed_out
    interrupted → running cancelling cancelled abandoned
    cancelling → cancelled
"""
NODE_LEGAL = """
    None → running suspended skipped failed completed cancelled
    running → running retrying suspended completed failed cancelled timed_out orphaned
    suspended → running retrying completed failed cancelled timed_out orphaned
    retrying → running suspended completed failed cancelled timed_out orphaned
"""


def pairs(table: str) -> set[tuple[str, str]]:
    rows = [line.split("→") for line in table.strip().splitlines()]
    return {(before.strip(), after) for before, afters in rows for after in afters.split()}


@pytest.mark.parametrize(("before", "after"), [*product(ExecutionStatus, repeat=2)])
def test_an_execution_may_become_what_the_diagram_says_and_nothing_else(
    before: ExecutionStatus, after: ExecutionStatus
) -> None:
    assert may_become(before, after) is ((str(before), str(after)) in pairs(LEGAL))


@pytest.mark.parametrize(("before", "after"), [*product([None, *NodeStatus], NodeStatus)])
def test_a_node_run_may_become_what_the_table_says_and_nothing_else(
    before: NodeStatus | None, after: NodeStatus
) -> None:
    assert (after in NODE_TRANSITIONS[before]) is ((str(before), str(after)) in pairs(NODE_LEGAL))


def test_every_status_has_its_row_in_the_tables() -> None:
    assert TRANSITIONS.keys() == set(ExecutionStatus)
    assert NODE_TRANSITIONS.keys() == {None, *NodeStatus}


def test_nothing_follows_a_terminal_status() -> None:
    assert {status for status in ExecutionStatus if not TRANSITIONS[status]} == TERMINAL
    assert {status for status in NodeStatus if not NODE_TRANSITIONS[status]} == NODE_TERMINAL


def test_every_status_can_be_reached_and_every_other_can_end() -> None:
    reached = {ExecutionStatus.PENDING}
    while more := {after for before in reached for after in TRANSITIONS[before]} - reached:
        reached |= more
    assert reached == set(ExecutionStatus)
    for status in set(ExecutionStatus) - TERMINAL:
        assert ExecutionStatus.CANCELLED in TRANSITIONS[status]


def test_every_end_has_its_event() -> None:
    assert {str(status) for status in TERMINAL} == {event.removeprefix("execution.") for event in TERMINAL_TYPES}
    events = {event.removeprefix("node.") for event in EventType if event.startswith("node.")}
    assert {str(status) for status in NODE_TERMINAL} <= events
