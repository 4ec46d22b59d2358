"""A node for each item: order, parallelism, failures, labels, limits."""

from __future__ import annotations

import pytest

from perdure.model.definition import MAX_NODE_RUNS, Node, OnItemError, Retry
from perdure.model.states import ExecutionStatus, NodeStatus
from tests.model.drive import BROKEN, UNREADABLE, Drive, node


def each(node_id: str = "a", *needs: str, **more: object) -> Node:
    return node(node_id, *needs, foreach="${items}", **more)


def test_the_output_is_the_list_of_the_items_outputs_in_order() -> None:
    drive = Drive(each(), items={"a": 3})
    drive.ok("a", 2, output="c").ok("a", 0, output="a").ok("a", 1, output="b")
    assert drive.state.nodes["a"].output == ["a", "b", "c"]
    assert drive.status is ExecutionStatus.COMPLETED


def test_no_items_complete_at_once_with_an_empty_list() -> None:
    drive = Drive(each(), node("b", "a"), items={"a": 0})
    assert drive.outcome("a") is NodeStatus.COMPLETED
    assert drive.state.nodes["a"].output == []
    assert drive.in_flight == ["b"]


def test_at_most_so_many_run_at_once_and_the_next_begins_when_one_ends() -> None:
    drive = Drive(each(parallel=2), items={"a": 4})
    assert drive.in_flight == ["a", "a#1"]
    assert drive.ok("a", 1).in_flight == ["a", "a#2"]
    assert drive.ok("a", 0).ok("a", 2).in_flight == ["a#3"]


def test_an_item_that_waits_for_its_retry_keeps_its_place() -> None:
    drive = Drive(each(parallel=1, retry=Retry(attempts=2)), items={"a": 2}).fail("a")
    assert drive.in_flight == []
    assert drive.wake("a").in_flight == ["a"]


def test_after_a_failed_item_no_other_begins_and_those_in_flight_drain() -> None:
    drive = Drive(each(parallel=2), node("b", "a"), items={"a": 5}).fail("a", 1)
    assert drive.in_flight == ["a"]
    assert drive.outcome("a") is None
    drive.ok("a")
    assert drive.outcome("a") is NodeStatus.FAILED
    assert len(drive.begun) == 2
    assert drive.state.nodes["a"].output is None
    assert drive.status is ExecutionStatus.FAILED


def test_on_item_error_null_puts_null_in_the_place_of_failed_items() -> None:
    drive = Drive(each(on_item_error=OnItemError.NULL, parallel=1), items={"a": 3})
    drive.ok("a", 0, output=1).fail("a", 1).ok("a", 2, output=3)
    assert drive.state.nodes["a"].output == [1, None, 3]
    assert drive.status is ExecutionStatus.COMPLETED


def test_items_that_cannot_be_evaluated_fail_the_node_whatever_on_item_error_says() -> None:
    drive = Drive(each(on_item_error=OnItemError.NULL), items={"a": UNREADABLE})
    assert drive.outcome("a") is NodeStatus.FAILED
    assert drive.status is ExecutionStatus.FAILED


def test_labels_name_the_runs_and_their_events() -> None:
    drive = Drive(each(), items={"a": 2}, labels={"a": ["x", "y"]})
    assert set(drive.rows) == {("a", 0, "x"), ("a", 1, "y")}


def test_equal_labels_are_told_apart_by_their_ordinals() -> None:
    drive = Drive(each(), items={"a": 2}, labels={"a": ["x", "x"]})
    assert drive.ok("a", 1, label="x", output=2).ok("a", 0, label="x", output=1).state.nodes["a"].output == [1, 2]


def test_a_label_cannot_pass_for_a_compensation() -> None:
    drive = Drive(each(), items={"a": 2}, labels={"a": ["x", "compensate"]})
    assert drive.status is ExecutionStatus.FAILED
    assert drive.state.error is not None
    assert "reserved" in drive.state.error.message


def test_the_execution_may_have_so_many_node_runs_and_no_more() -> None:
    half = MAX_NODE_RUNS // 2
    drive = Drive(each("a", parallel=1), each("b", parallel=1), items={"a": half, "b": half})
    assert drive.in_flight == ["a", "b"]
    drive = Drive(each("a", parallel=1), each("b", parallel=1), items={"a": half, "b": half + 1})
    assert drive.outcome("b") is NodeStatus.FAILED
    error = drive.state.nodes["b"].error
    assert error is not None
    assert (error.code, error.retryable) == ("limit_exceeded", False)


def test_the_limit_of_node_runs_holds_over_a_crash() -> None:
    drive = Drive(each("a", parallel=1), each("b", "a"), items={"a": 1, "b": MAX_NODE_RUNS - 1}).crash().crash()
    assert drive.state.node_run_count == 1
    assert Drive(node("x"), each("a", "x"), items={"a": MAX_NODE_RUNS}).ok("x").status is ExecutionStatus.FAILED


@pytest.mark.parametrize("failing", [0, 1])
def test_the_error_of_the_node_is_its_first_failed_items(failing: int) -> None:
    drive = Drive(each(), items={"a": 2}).fail("a", failing).fail("a", 1 - failing)
    assert drive.state.nodes["a"].error == BROKEN.at(node="a", ordinal=failing, attempt=1)
