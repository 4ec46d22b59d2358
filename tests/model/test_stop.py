"""Cancelling, deadlines, and the time for cleaning up."""

from __future__ import annotations

import pytest

from perdure.model.decide import wait
from perdure.model.definition import Retry, RunIf
from perdure.model.execution import Mode
from perdure.model.states import ExecutionStatus, NodeStatus
from tests.model.drive import Drive, node, undo

ALWAYS = RunIf.ALWAYS
CANCELLING, CANCELLED = ExecutionStatus.CANCELLING, ExecutionStatus.CANCELLED
TIMED_OUT = ExecutionStatus.TIMED_OUT


def code(drive: Drive, name: str) -> str | None:
    """Why the run ended."""
    error = drive.run(name).error
    return None if error is None else error.code


def test_cancelling_stops_what_is_in_flight_and_ends_when_that_is_dead() -> None:
    drive = Drive(node("a"), node("b", "a")).cancel(reason="enough")
    assert drive.status is CANCELLING
    assert [(stop.run.node, stop.force) for stop in drive.stops] == [("a", False)]
    drive.killed("a")
    assert drive.status is CANCELLED
    assert drive.begun == ["a"]
    assert drive.state.reason == "enough"
    assert code(drive, "a") == "cancelled"


def test_cancelling_ends_waits_at_once_and_cancels_the_child() -> None:
    drive = Drive(node("a", type="flow")).suspend("a", child=b"child").cancel()
    assert drive.cancelled_children == [b"child"]
    assert drive.outcome("a") is NodeStatus.CANCELLED
    assert drive.status is CANCELLED


def test_cancelling_ends_retries_that_are_waited_for() -> None:
    assert Drive(node("a", retry=Retry(attempts=3))).fail("a").cancel().status is CANCELLED


def test_a_stopped_attempt_is_not_tried_again() -> None:
    drive = Drive(node("a", retry=Retry(attempts=3))).cancel().fail("a")
    assert drive.status is CANCELLED
    assert drive.outcome("a") is NodeStatus.FAILED


def test_a_result_that_came_first_is_kept_and_nothing_follows_from_it() -> None:
    drive = Drive(node("a"), node("b", "a")).cancel().ok("a", output=3)
    assert drive.run("a").output == 3
    assert drive.status is CANCELLED
    assert drive.begun == ["a"]


def test_items_that_had_not_begun_leave_no_trace_when_it_is_cancelled() -> None:
    drive = Drive(node("a", foreach="x", parallel=1), items={"a": 3}).cancel().killed("a")
    assert set(drive.rows) == {("a", 0, "")}
    assert drive.status is CANCELLED


def test_a_second_cancellation_changes_nothing() -> None:
    drive = Drive(node("a")).cancel(reason="first").cancel(reason="second")
    assert drive.state.reason == "first"
    assert len(drive.stops) == 1


def test_always_nodes_run_when_everything_else_has_stopped() -> None:
    drive = Drive(node("a"), node("b"), node("clean", "a", run_if=ALWAYS)).cancel().killed("a")
    assert drive.in_flight == ["b"]
    assert drive.killed("b").in_flight == ["clean"]
    assert drive.ok("clean").status is CANCELLED


def test_always_nodes_follow_each_other_in_their_order_over_nodes_that_are_left_out() -> None:
    drive = Drive(
        node("a"), node("c1", "a", run_if=ALWAYS), node("b", "c1"), node("c2", "b", run_if=ALWAYS)
    ).cancel().killed("a")  # fmt: skip
    assert drive.in_flight == ["c1"]
    assert drive.ok("c1").in_flight == ["c2"]
    drive.ok("c2")
    assert drive.status is CANCELLED
    assert drive.outcomes == {"a": "cancelled", "c1": "completed", "b": "cancelled", "c2": "completed"}
    assert "b" not in [key[0] for key in drive.rows]


def test_an_always_node_in_flight_goes_on() -> None:
    drive = Drive(node("clean", run_if=ALWAYS), node("a")).cancel()
    assert [stop.run.node for stop in drive.stops] == ["a"]
    assert drive.killed("a").status is CANCELLING
    assert drive.ok("clean").status is CANCELLED


def test_an_always_node_may_be_tried_again() -> None:
    drive = Drive(node("clean", run_if=ALWAYS, retry=Retry(attempts=2))).cancel().fail("clean")
    assert drive.wake("clean").ok("clean").status is CANCELLED


def test_an_always_node_whose_condition_is_false_is_skipped() -> None:
    drive = Drive(node("a"), node("clean", run_if=ALWAYS), when={"clean": False}).cancel().killed("a")
    assert drive.outcome("clean") is NodeStatus.SKIPPED
    assert drive.status is CANCELLED


def test_an_always_foreach_runs_all_its_items() -> None:
    clean = node("clean", "a", run_if=ALWAYS, foreach="x", parallel=1)
    drive = Drive(node("a"), clean, items={"clean": 2}).cancel().killed("a").ok("clean", 0)
    assert drive.in_flight == ["clean#1"]
    assert drive.ok("clean", 1).status is CANCELLED


def test_the_time_for_cleaning_up_is_bounded_from_its_beginning() -> None:
    drive = Drive(node("a"), node("clean", "a", run_if=ALWAYS)).cancel()
    assert drive.limits == 0
    assert drive.killed("a").limits == 1


def test_the_time_is_bounded_at_once_when_cleaning_up_is_under_way_already() -> None:
    drive = Drive(node("clean", run_if=ALWAYS)).suspend("clean", "timer", wake_at=10**12).cancel()
    assert drive.limits == 1


def test_when_the_grace_is_over_what_cleans_up_is_killed_and_nothing_more_begins() -> None:
    drive = Drive(node("a"), node("c1", run_if=ALWAYS), node("c2", "c1", run_if=ALWAYS)).cancel().killed("a")
    drive.grace_over()
    assert [(stop.run.node, stop.force) for stop in drive.stops[1:]] == [("c1", True)]
    assert drive.killed("c1").status is CANCELLED
    assert code(drive, "c1") == "cleanup_timeout"
    assert drive.outcome("c2") is NodeStatus.SKIPPED


def test_force_kills_at_once_and_cleans_nothing_up() -> None:
    drive = Drive(node("a", compensate=undo()), node("b", "a"), node("clean", "b", run_if=ALWAYS)).ok("a")
    drive.cancel(force=True)
    assert [(stop.run.node, stop.force) for stop in drive.stops] == [("b", True)]
    assert drive.killed("b").status is CANCELLED
    assert drive.begun == ["a", "b"]


def test_what_force_leaves_out_is_told() -> None:
    drive = Drive(node("a", compensate=undo()), node("clean", "a", run_if=ALWAYS)).ok("a").cancel(force=True)
    drive.killed("clean")
    assert drive.rows["a", 0, "compensate"].status is NodeStatus.SKIPPED


def test_force_ends_a_cleaning_up_that_is_under_way() -> None:
    drive = Drive(node("a"), node("clean", "a", run_if=ALWAYS)).cancel().killed("a").cancel(force=True)
    assert drive.killed("clean").status is CANCELLED


def test_force_ends_a_compensation_that_waits_for_its_retry() -> None:
    drive = Drive(node("a", compensate=undo(retry=Retry(attempts=9))), node("b", "a")).ok("a").cancel().killed("b")
    drive.fail("a", label="compensate").cancel(force=True)
    assert drive.status is CANCELLED
    assert drive.rows["a", 0, "compensate"].status is NodeStatus.CANCELLED


def test_a_deadline_times_the_execution_out() -> None:
    drive = Drive(node("a")).deadline().killed("a")
    assert drive.status is TIMED_OUT
    assert drive.state.error is not None
    assert drive.state.error.code == "timeout"
    assert code(drive, "a") == "timeout"


def test_on_timeout_always_nodes_run_too() -> None:
    drive = Drive(node("a"), node("clean", "a", run_if=ALWAYS)).deadline().killed("a")
    assert drive.in_flight == ["clean"]
    assert drive.limits == 1
    assert drive.ok("clean").status is TIMED_OUT


def test_a_deadline_while_cancelling_changes_nothing() -> None:
    assert Drive(node("a")).cancel().deadline().killed("a").status is CANCELLED


def test_a_cancellation_while_timing_out_changes_nothing_but_force_ends_the_cleaning_up() -> None:
    drive = Drive(node("a"), node("clean", "a", run_if=ALWAYS)).deadline().cancel().killed("a")
    assert drive.in_flight == ["clean"]
    assert drive.cancel(force=True).killed("clean").status is TIMED_OUT


def test_a_deadline_while_failing_times_it_out_and_undoing_goes_on_in_bounded_time() -> None:
    drive = Drive(node("a", compensate=undo()), node("b", "a")).ok("a").fail("b")
    assert (drive.state.mode, drive.limits) == (Mode.FAILING, 0)
    drive.deadline()
    assert drive.limits == 1
    assert drive.undone("a").status is TIMED_OUT


def test_a_cancellation_while_failing_cancels_it_and_undoing_goes_on() -> None:
    drive = Drive(node("a", compensate=undo()), node("b", "a")).ok("a").fail("b").cancel()
    assert drive.status is CANCELLING
    assert drive.undone("a").status is CANCELLED
    assert drive.state.error is None


def test_the_end_of_the_grace_means_nothing_to_an_execution_that_runs() -> None:
    assert Drive(node("a")).grace_over().in_flight == ["a"]


def test_a_child_that_was_being_made_when_the_stop_came_is_cancelled() -> None:
    drive = Drive(node("a", type="flow")).cancel().suspend("a", child=b"late")
    assert drive.cancelled_children == [b"late"]
    assert drive.status is CANCELLED


@pytest.mark.parametrize("stop", [Drive.cancel, Drive.deadline])
def test_a_stop_reaches_an_execution_that_was_about_to_rest(stop: object) -> None:
    drive = Drive(node("a", type="flow"), node("clean", "a", run_if=ALWAYS)).suspend("a", child=b"child")
    assert wait.rest(drive.state, drive.now)
    stop(drive)  # type: ignore[operator]
    assert drive.in_flight == ["clean"]
    assert drive.status is not ExecutionStatus.SUSPENDED
