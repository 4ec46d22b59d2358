"""Going on from rows: an owner dies at any point, and the next one carries on as if nothing had been."""

from __future__ import annotations

import pytest

from perdure.model.decide import graph, lifecycle, wait
from perdure.model.decide.effects import CancelChild
from perdure.model.definition import OnInterrupt, OnItemError, Retry, RunIf
from perdure.model.execution import Mode
from perdure.model.states import ExecutionStatus, NodeStatus
from tests.model.drive import BROKEN, FATAL, UNREADABLE, Drive, node, undo

ALWAYS = RunIf.ALWAYS
UNDO = "compensate"


def test_results_are_taken_over_and_only_unfinished_nodes_run() -> None:
    drive = Drive(node("a"), node("b", "a"), node("c", "b")).ok("a", output=1).crash()
    assert drive.begun == ["b"]
    assert drive.state.nodes["a"].output == 1
    assert drive.ok("b").ok("c").status is ExecutionStatus.COMPLETED


def test_items_that_are_done_do_not_run_again() -> None:
    drive = Drive(node("a", foreach="x", parallel=2), items={"a": 4}).ok("a", 0, output="x").crash()
    assert drive.begun == ["a#1", "a#2"]
    drive.ok("a", 1).ok("a", 2).ok("a", 3)
    assert drive.state.nodes["a"].output == ["x", None, None, None]


def test_a_foreach_over_nothing_stays_complete_although_it_is_stopped_and_taken_over() -> None:
    drive = Drive(node("a", foreach="x"), node("b", "a"), node("c", "a", run_if=ALWAYS), items={"a": 0})
    assert drive.rows["a", 0, ""].status is NodeStatus.COMPLETED
    drive = drive.cancel().crash()
    assert drive.outcome("a") is NodeStatus.COMPLETED
    assert drive.state.nodes["a"].output == []


def test_a_foreach_over_nothing_leaves_nothing_to_undo() -> None:
    drive = Drive(node("a", foreach="x", compensate=undo()), node("b", "a"), items={"a": 0}).crash().fail("b")
    assert drive.status is ExecutionStatus.FAILED
    assert drive.begun == ["b"]


def test_a_crash_that_is_one_too_many_ends_everything_that_is_open() -> None:
    drive = Drive(node("a"), node("call", type="flow"), node("late", "a", retry=Retry(attempts=2)))
    drive.suspend("call", child=b"child")
    state, limit = drive.state, drive.flow.max_recoveries
    assert lifecycle.handed_back(state, drive.tick(), worker="w", crashed=BROKEN, crashes=limit) == []
    assert state.changes.events[-1].type == "execution.interrupted"
    (effect,) = lifecycle.handed_back(state, drive.tick(), worker="w", crashed=BROKEN, crashes=limit + 1)
    assert isinstance(effect, CancelChild)
    assert effect.run.child == b"child"
    assert drive.status is ExecutionStatus.ABANDONED
    assert {run.status for run in state.changes.node_runs.values()} == {NodeStatus.FAILED}
    assert [event.type for event in state.changes.events][-1] == "execution.abandoned"


def test_a_cancelling_execution_is_handed_back_as_such_however_often_it_crashed() -> None:
    drive = Drive(node("a")).cancel()
    assert lifecycle.handed_back(drive.state, drive.tick(), worker="w", crashed=BROKEN, crashes=99) == []
    assert drive.status is ExecutionStatus.CANCELLING


def test_after_a_failed_item_none_begins_even_after_a_crash() -> None:
    drive = Drive(node("a", foreach="x", parallel=2), items={"a": 4}).fail("a", 0).crash()
    assert drive.begun == ["a#1"]
    assert drive.ok("a", 1).status is ExecutionStatus.FAILED


def test_what_was_blocked_stays_blocked() -> None:
    rescue = node("rescue", "b", run_if=RunIf.FAILED)
    drive = Drive(node("a"), node("b", "a"), node("c"), rescue, node("d", "b", run_if=RunIf.SUCCEEDED_OR_SKIPPED))
    drive = drive.fail("a").crash()
    assert drive.in_flight == ["c", "rescue"]
    assert drive.outcome("d") is NodeStatus.SKIPPED
    assert drive.ok("rescue").ok("c").status is ExecutionStatus.COMPLETED


def test_a_failure_that_was_recorded_still_fails_the_execution() -> None:
    drive = Drive(node("a"), node("b")).fail("a").crash().ok("b")
    assert drive.status is ExecutionStatus.FAILED
    assert drive.state.error is not None
    assert drive.state.error.node == "a"


def test_a_node_that_was_refused_is_refused_again_without_a_second_row() -> None:
    drive = Drive(node("a", foreach="x", on_item_error=OnItemError.NULL), node("b"), items={"a": UNREADABLE}).crash()
    assert len(drive.rows) == 2
    assert drive.ok("b").status is ExecutionStatus.FAILED


def test_a_foreach_whose_items_became_fewer_fails_instead_of_waiting_for_ever() -> None:
    drive = Drive(node("a", foreach="x", parallel=3), items={"a": 3}).ok("a", 2)
    drive.items = {"a": 2}
    drive = drive.crash().ok("a", 0).ok("a", 1)
    assert drive.status is ExecutionStatus.FAILED
    assert drive.state.error is not None
    assert drive.state.error.code == "expression_changed"


def test_a_condition_that_became_false_fails_what_it_had_let_begin() -> None:
    drive = Drive(node("a", foreach="x"), items={"a": 2})
    drive.when = {"a": False}
    drive = drive.crash().ok("a", 0).ok("a", 1)
    assert drive.status is ExecutionStatus.FAILED


def test_what_was_begun_goes_on_although_its_need_now_looks_failed() -> None:
    drive = Drive(node("a", foreach="x"), node("b", "a"), items={"a": 1}).ok("a")
    drive.items = {"a": UNREADABLE}
    drive = drive.crash()
    assert drive.in_flight == ["b"]
    assert drive.ok("b").status is ExecutionStatus.FAILED


def test_an_attempt_begins_anew_only_when_what_it_needs_is_known_again() -> None:
    drive = Drive(node("a", foreach="x"), node("b", "a"), items={"a": 1}).ok("a", output=4).crash()
    assert drive.prepared == ["a"]
    assert drive.in_flight == ["b"]
    assert drive.state.nodes["a"].output == [4]


def test_a_retry_that_comes_due_before_what_it_needs_is_known_again_waits_for_that() -> None:
    drive = Drive(node("a", foreach="x"), node("b", "a", retry=Retry(attempts=2)), items={"a": 1}).ok("a").fail("b")
    drive = drive.crash(carry=False)
    run = drive.run("b")
    assert wait.woken(drive.state, run, 10**12) == []
    drive.feed(graph.prepared(drive.state, "a", drive.now, items=1))
    assert drive.in_flight == ["b"]
    assert run.attempt == 2


def test_force_ends_what_is_not_yet_taken_up_again() -> None:
    nodes = (node("a", run_if=ALWAYS, foreach="x"), node("b", "a", run_if=ALWAYS))
    drive = Drive(*nodes, items={"a": 1}).cancel().ok("a").crash(carry=False).cancel(force=True)
    assert drive.rows["b", 0, ""].status is NodeStatus.CANCELLED
    assert drive.status is ExecutionStatus.CANCELLED


def test_a_cancelling_execution_goes_on_being_cancelled() -> None:
    drive = Drive(node("a"), node("b", "a"), node("clean", "b", run_if=ALWAYS)).cancel().crash()
    assert drive.state.mode is Mode.CANCELLING
    assert drive.rows["a", 0, ""].status is NodeStatus.CANCELLED
    assert drive.in_flight == ["clean"]
    assert drive.limits == 1
    assert drive.ok("clean").status is ExecutionStatus.CANCELLED


def test_an_always_node_in_flight_begins_anew_while_cancelling() -> None:
    drive = Drive(node("a"), node("clean", "a", run_if=ALWAYS)).cancel().killed("a").crash()
    assert drive.in_flight == ["clean"]
    assert drive.ok("clean").status is ExecutionStatus.CANCELLED


def test_a_retry_is_waited_for_by_an_always_node_while_cancelling() -> None:
    clean = node("clean", run_if=ALWAYS, retry=Retry(attempts=2, backoff_min=60_000_000))
    drive = Drive(clean).cancel().fail("clean").crash()
    assert drive.in_flight == []
    assert drive.limits == 1
    assert drive.wake("clean").ok("clean").status is ExecutionStatus.CANCELLED


def test_a_cancelled_execution_that_nobody_owned_cancels_its_children() -> None:
    drive = Drive(node("a", type="flow"), node("clean", "a", run_if=ALWAYS)).suspend("a", child=b"child")
    drive.state.status = ExecutionStatus.CANCELLING
    drive = drive.crash()
    assert drive.cancelled_children == [b"child"]
    assert drive.waits == {}
    assert drive.in_flight == ["clean"]


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_undoing_goes_on_where_it_was(how: str) -> None:
    drive = Drive(*(node(name, compensate=undo()) for name in "abc"), node("last", "a", "b", "c"))
    drive.ok("a").ok("b").ok("c")
    drive = drive.fail("last") if how == "failed" else drive.cancel().killed("last")
    drive = drive.undone("c").crash()
    assert drive.in_flight == ["undo b"]
    assert drive.undone("b").undone("a").begun == ["undo b", "undo a"]
    assert str(drive.status) == how


def test_a_compensation_waits_on_for_its_retry() -> None:
    spec = undo(retry=Retry(attempts=2, backoff_min=60_000_000))
    drive = Drive(node("a", compensate=spec), node("b", "a")).ok("a").fail("b").fail("a", label=UNDO).crash()
    assert drive.in_flight == []
    assert drive.wake("a", label=UNDO).run("a", label=UNDO).attempt == 2
    assert drive.undone("a").status is ExecutionStatus.FAILED
    assert drive.state.error is not None
    assert drive.state.error.node == "b"


def test_a_compensation_that_was_interrupted_fails_where_it_asks_for_that() -> None:
    spec = undo(on_interrupt=OnInterrupt.FAIL)
    drive = Drive(node("a", compensate=spec), node("b", "a")).ok("a").fail("b").crash()
    assert drive.rows["a", 0, UNDO].status is NodeStatus.FAILED
    assert drive.status is ExecutionStatus.FAILED


def test_undoing_because_of_the_output_ends_with_that_error() -> None:
    drive = Drive(node("a", compensate=undo()), output=UNREADABLE).ok("a").crash()
    assert drive.undone("a").status is ExecutionStatus.FAILED
    assert drive.state.error is UNREADABLE


def test_an_execution_that_undid_something_never_completes() -> None:
    drive = Drive(node("a", compensate=undo()), output=UNREADABLE).ok("a")
    drive.output = "readable now"
    drive = drive.crash().undone("a")
    assert drive.status is ExecutionStatus.FAILED


def test_one_whose_deadline_has_passed_goes_on_timing_out_and_begins_nothing() -> None:
    drive = Drive(node("a"), node("clean", "a", run_if=ALWAYS)).crash(deadline_at=5)
    assert drive.in_flight == ["clean"]
    assert drive.ok("clean").status is ExecutionStatus.TIMED_OUT


def test_one_that_was_timing_out_goes_on_so_although_the_clock_went_back() -> None:
    drive = Drive(node("a"), node("b"), node("clean", "a", run_if=ALWAYS)).deadline().killed("a")
    drive = drive.crash(deadline_at=10**15)
    assert drive.state.mode is Mode.TIMING_OUT
    assert drive.in_flight == ["clean"]
    assert drive.ok("clean").status is ExecutionStatus.TIMED_OUT


def test_force_holds_over_a_crash() -> None:
    drive = Drive(node("a", compensate=undo()), node("b", "a"), node("clean", "b", run_if=ALWAYS)).ok("a")
    drive = drive.cancel(force=True).crash()
    assert drive.begun == []
    assert drive.status is ExecutionStatus.CANCELLED


def test_force_holds_over_a_crash_for_an_always_node_in_flight() -> None:
    drive = Drive(node("clean", run_if=ALWAYS)).cancel(force=True).crash()
    assert drive.begun == []
    assert drive.status is ExecutionStatus.CANCELLED


def test_the_end_of_the_grace_holds_over_a_crash() -> None:
    drive = Drive(*(node(name, compensate=undo()) for name in "ab"), node("c", "a", "b")).ok("a").ok("b").cancel()
    drive = drive.killed("c").grace_over().crash()
    assert drive.begun == []
    assert drive.status is ExecutionStatus.CANCELLED


def test_crash_after_crash_comes_to_the_same_end() -> None:
    drive = Drive(node("a"), node("b", "a", foreach="x", parallel=1), node("c", "b"), items={"b": 3})
    drive = drive.crash().ok("a", output=0).crash().crash().ok("b", 0, output=1).crash().ok("b", 1, output=2)
    drive = drive.crash().ok("b", 2, output=3).crash().ok("c", output=4)
    assert drive.status is ExecutionStatus.COMPLETED
    assert drive.state.nodes["b"].output == [1, 2, 3]


def test_the_error_is_the_same_after_a_crash() -> None:
    drive = Drive(node("a"), node("b"), node("c")).fail("b", failure=FATAL).fail("a").crash().ok("c")
    assert drive.state.error == FATAL.at(node="b", ordinal=0, attempt=1)
