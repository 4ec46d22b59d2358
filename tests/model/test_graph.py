"""What runs after what: needs, `when`, `run_if`, failures that block and failures that are handled."""

from __future__ import annotations

import pytest

from perdure.model.definition import RunIf
from perdure.model.execution import Mode
from perdure.model.states import ExecutionStatus, NodeStatus
from tests.model.drive import BROKEN, UNREADABLE, Drive, node

COMPLETED, FAILED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED


def test_a_flow_without_nodes_completes_at_once() -> None:
    assert Drive().status is COMPLETED


def test_nodes_that_need_nothing_start_at_once() -> None:
    assert Drive(node("a"), node("b")).in_flight == ["a", "b"]


def test_a_node_begins_when_all_it_needs_is_done() -> None:
    drive = Drive(node("a"), node("b"), node("c", "a", "b")).ok("a")
    assert drive.in_flight == ["b"]
    assert drive.ok("b").in_flight == ["c"]


def test_the_last_result_completes_the_execution_with_its_output() -> None:
    drive = Drive(node("a"), output={"title": "done"}).ok("a")
    assert drive.status is COMPLETED
    assert drive.state.output == {"title": "done"}
    assert drive.events[-1] == "execution.completed"


def test_an_output_that_cannot_be_evaluated_fails_the_execution() -> None:
    drive = Drive(node("a"), output=UNREADABLE).ok("a")
    assert drive.status is FAILED
    assert drive.state.error is UNREADABLE


def test_a_false_condition_skips_the_node_and_its_output_is_null() -> None:
    drive = Drive(node("a"), node("b"), when={"a": False}).ok("b")
    assert drive.outcome("a") is NodeStatus.SKIPPED
    assert drive.state.nodes["a"].output is None
    assert drive.status is COMPLETED


def test_what_needs_a_skipped_node_is_skipped_too_unless_it_says_otherwise() -> None:
    drive = Drive(node("a"), node("b", "a"), node("c", "a", run_if=RunIf.SUCCEEDED_OR_SKIPPED), when={"a": False})
    assert drive.outcome("b") is NodeStatus.SKIPPED
    assert drive.in_flight == ["c"]
    assert drive.ok("c").status is COMPLETED


def test_a_condition_that_cannot_be_evaluated_fails_the_node_without_an_attempt() -> None:
    drive = Drive(node("a"), when={"a": UNREADABLE})
    assert drive.status is FAILED
    assert drive.begun == []
    assert drive.run("a").attempt == 0
    assert drive.state.error == UNREADABLE.at(node="a", ordinal=0, attempt=0)


def test_a_failed_node_stops_what_depends_on_it_and_the_rest_drains() -> None:
    drive = Drive(node("a"), node("b", "a"), node("c"), node("d", "c")).fail("a")
    assert drive.outcome("b") is NodeStatus.SKIPPED
    assert drive.status is ExecutionStatus.RUNNING
    drive.ok("c").ok("d")
    assert drive.status is FAILED
    assert drive.outcomes == {"a": "failed", "b": "skipped", "c": "completed", "d": "completed"}


@pytest.mark.parametrize("run_if", [RunIf.SUCCEEDED, RunIf.SUCCEEDED_OR_SKIPPED])
def test_a_failure_blocks_over_several_nodes(run_if: RunIf) -> None:
    drive = Drive(node("a"), node("b", "a", run_if=run_if), node("c", "b", run_if=run_if)).fail("a")
    assert drive.begun == ["a"]
    assert drive.status is FAILED


def test_the_first_failure_that_nobody_handled_is_the_error() -> None:
    drive = Drive(node("a"), node("b"), node("c"), node("d", "a", run_if=RunIf.FAILED))
    drive.fail("a").fail("c").fail("b").ok("d")
    assert drive.state.error is not None
    assert drive.state.error.node == "c"


@pytest.mark.parametrize("status", [NodeStatus.FAILED, NodeStatus.TIMED_OUT, NodeStatus.ORPHANED])
def test_a_failure_is_handled_by_a_completed_node_behind_it(status: NodeStatus) -> None:
    drive = Drive(node("a"), node("rescue", "a", run_if=RunIf.FAILED)).fail("a", status=status)
    assert drive.ok("rescue").status is COMPLETED


def test_a_failure_is_handled_over_blocked_nodes() -> None:
    drive = Drive(node("a"), node("b", "a"), node("c", "b"), node("rescue", "c", run_if=RunIf.FAILED)).fail("a")
    assert drive.in_flight == ["rescue"]
    assert drive.ok("rescue").status is COMPLETED


def test_a_failure_is_not_handled_by_a_handler_that_fails() -> None:
    drive = Drive(node("a"), node("rescue", "a", run_if=RunIf.FAILED)).fail("a").fail("rescue")
    assert drive.status is FAILED
    assert drive.state.error is not None
    assert drive.state.error.node == "a"


def test_a_failure_is_not_handled_by_a_handler_whose_condition_is_false() -> None:
    drive = Drive(node("a"), node("rescue", "a", run_if=RunIf.FAILED), when={"rescue": False}).fail("a")
    assert drive.status is FAILED


def test_every_failure_has_to_be_handled() -> None:
    drive = Drive(node("a"), node("b"), node("rescue", "a", run_if=RunIf.FAILED)).fail("a").ok("rescue").fail("b")
    assert drive.status is FAILED


def test_an_always_node_is_no_handler_and_nothing_is_blocked_behind_it() -> None:
    drive = Drive(node("a"), node("clean", "a", run_if=RunIf.ALWAYS), node("b", "clean")).fail("a")
    drive.ok("clean").ok("b")
    assert drive.outcome("b") is NodeStatus.COMPLETED
    assert drive.status is FAILED


def test_a_handler_is_skipped_when_nothing_failed_and_blocks_nobody() -> None:
    drive = Drive(
        node("a"), node("rescue", "a", run_if=RunIf.FAILED), node("b", "rescue", run_if=RunIf.SUCCEEDED_OR_SKIPPED)
    ).ok("a")
    assert drive.outcome("rescue") is NodeStatus.SKIPPED
    assert drive.ok("b").status is COMPLETED


def test_what_follows_a_result_is_prepared_only_by_an_effect_that_awaits_the_commit() -> None:
    drive = Drive(node("a"), node("b", "a"))
    assert drive.prepared == ["a"]
    drive.ok("a")
    assert drive.prepared == ["a", "b"]


def test_an_answer_that_was_not_asked_for_changes_nothing() -> None:
    drive = Drive(node("a"), node("b", "a"))
    before = len(drive.events)
    drive._prepare("b")
    drive._prepare("a")
    assert drive.in_flight == ["a"]
    assert len(drive.events) == before


def test_a_node_run_is_told_by_its_events_in_order() -> None:
    drive = Drive(node("a"), node("b", "a")).ok("a").fail("b", failure=BROKEN)
    assert drive.events == [
        "node.started", "node.completed", "node.started", "node.failed", "execution.failed",
    ]  # fmt: skip
    assert drive.state.mode is Mode.FAILING
