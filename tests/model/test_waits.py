"""Waits: timers, children, and when an execution may rest."""

from __future__ import annotations

import pytest

from perdure.model.decide import wait
from perdure.model.definition import Retry
from perdure.model.states import ExecutionStatus, NodeStatus
from tests.model.drive import Drive, node, undo

SECOND = 1_000_000
CHILD = b"a child"


def sleeping(*more: object) -> Drive:
    drive = Drive(node("nap", type="sleep"), *more)  # type: ignore[arg-type]
    return drive.suspend("nap", "timer", wake_at=60 * SECOND)


def calling(**more: object) -> Drive:
    return Drive(node("call", type="flow", **more)).suspend("call", child=CHILD)


def test_a_timer_ends_its_node_when_its_time_has_come() -> None:
    drive = sleeping()
    assert drive.waits == {("nap", 0, ""): ("timer", None)}
    assert drive.wake("nap").status is ExecutionStatus.COMPLETED
    assert drive.waits == {}


def test_a_childs_output_is_the_nodes_output() -> None:
    drive = calling().child_ended("call", ExecutionStatus.COMPLETED, output=7)
    assert drive.state.nodes["call"].output == 7
    assert drive.status is ExecutionStatus.COMPLETED


@pytest.mark.parametrize("status", ["failed", "cancelled", "timed_out", "abandoned"])
def test_a_child_that_ends_badly_fails_its_node_by_the_name_of_its_end(status: str) -> None:
    drive = calling().child_ended("call", ExecutionStatus(status))
    assert drive.outcome("call") is NodeStatus.FAILED
    assert drive.state.error is not None
    assert drive.state.error.code == f"child_{status}"


def test_a_child_that_ended_badly_is_tried_again_as_another_child() -> None:
    drive = calling(retry=Retry(attempts=2)).child_ended("call", ExecutionStatus.FAILED).wake("call")
    assert drive.run("call").child is None
    drive.suspend("call", child=b"another").child_ended("call", ExecutionStatus.COMPLETED)
    assert drive.status is ExecutionStatus.COMPLETED


def test_a_second_message_of_the_same_child_is_ignored() -> None:
    drive = calling(retry=Retry(attempts=3)).child_ended("call", ExecutionStatus.FAILED)
    drive.child_ended("call", ExecutionStatus.FAILED).wake("call")
    assert drive.run("call").attempt == 2


def test_a_timeout_bounds_how_long_a_child_is_waited_for_and_the_child_is_cancelled() -> None:
    drive = calling(timeout=30 * SECOND).wake("call")
    assert drive.cancelled_children == [CHILD]
    assert drive.outcome("call") is NodeStatus.TIMED_OUT


def test_the_timeout_of_a_wait_holds_over_a_crash() -> None:
    drive = calling(timeout=30 * SECOND).crash().wake("call")
    assert drive.cancelled_children == [CHILD]
    assert drive.outcome("call") is NodeStatus.TIMED_OUT


def test_a_timer_that_fires_for_a_run_that_waits_no_more_is_ignored() -> None:
    drive = calling(timeout=30 * SECOND)
    run = drive.run("call")
    drive.child_ended("call", ExecutionStatus.COMPLETED)
    assert wait.woken(drive.state, run, drive.now) == []


def test_an_execution_rests_when_nothing_can_happen_for_more_than_a_moment() -> None:
    drive = sleeping()
    assert wait.rest(drive.state, drive.now)
    assert drive.status is ExecutionStatus.SUSPENDED
    assert wait.next_wake(drive.state) == 60 * SECOND


def test_an_execution_does_not_rest_while_an_attempt_is_in_flight() -> None:
    assert not wait.rest(sleeping(node("work")).state, 1)


def test_an_execution_does_not_rest_when_it_goes_on_in_a_moment() -> None:
    drive = sleeping()
    assert not wait.rest(drive.state, 60 * SECOND - wait.LINGER)
    assert wait.rest(drive.state, 60 * SECOND - wait.LINGER - 1)


def test_a_long_backoff_rests_too() -> None:
    drive = Drive(node("a", retry=Retry(attempts=2, backoff_min=60 * SECOND))).fail("a")
    assert wait.rest(drive.state, drive.now)


def test_the_earliest_timer_wakes_it() -> None:
    drive = Drive(node("a"), node("b"), node("c"))
    drive.suspend("a", "timer", wake_at=90 * SECOND).suspend("b", "timer", wake_at=70 * SECOND)
    drive.suspend("c", "timer", wake_at=80 * SECOND)
    assert wait.next_wake(drive.state) == 70 * SECOND
    assert wait.next_wake(drive.wake("b").state) == 80 * SECOND


def test_an_execution_that_waits_for_a_message_rests_without_a_time() -> None:
    drive = calling()
    assert wait.rest(drive.state, drive.now)
    assert wait.next_wake(drive.state) is None


def test_a_fact_before_the_owner_has_let_go_sets_it_running_again_as_if_it_had_not_rested() -> None:
    drive = calling()
    wait.rest(drive.state, drive.now)
    drive.child_ended("call", ExecutionStatus.COMPLETED)
    assert drive.status is ExecutionStatus.COMPLETED
    assert "execution.suspended" not in drive.events


def test_a_failing_execution_rests_while_its_compensation_waits_and_fails_once_that_is_done() -> None:
    drive = Drive(node("a", compensate=undo(retry=Retry(attempts=2, backoff_min=60 * SECOND))), node("b", "a"))
    drive.ok("a").fail("b").fail("a", label="compensate")
    assert wait.rest(drive.state, drive.now)
    drive = drive.crash()
    assert drive.in_flight == []
    assert drive.wake("a", label="compensate").undone("a").status is ExecutionStatus.FAILED


def test_a_cancelling_execution_does_not_rest() -> None:
    drive = Drive(node("a", compensate=undo(retry=Retry(attempts=2, backoff_min=60 * SECOND))), node("b", "a"))
    drive.ok("a").cancel().killed("b").fail("a", label="compensate")
    assert not wait.rest(drive.state, drive.now)


def test_a_wait_goes_on_over_a_crash() -> None:
    drive = sleeping().crash()
    assert drive.begun == []
    assert drive.wake("nap").status is ExecutionStatus.COMPLETED


def test_a_message_finds_its_run_waiting_before_the_graph_is_worked_out_again() -> None:
    nodes = (node("items", type="flow", foreach="x"), node("other"))
    drive = Drive(*nodes, items={"items": 1}).suspend("items", child=CHILD).ok("other")
    resumed = drive.crash(carry=False)
    assert [run.child for run in resumed.state.waiting.values()] == [CHILD]
