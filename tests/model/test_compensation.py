"""Undoing what was done: each once, the last completed first."""

from __future__ import annotations

import pytest

from perdure.model.decide import attempt
from perdure.model.decide.effects import RunAttempt, awaits_commit
from perdure.model.definition import OnItemError, Retry, RunIf
from perdure.model.states import ExecutionStatus, NodeStatus
from tests.model.drive import BROKEN, UNREADABLE, Drive, node, undo

UNDO = "compensate"


def three() -> Drive:
    nodes = [node(name, compensate=undo()) for name in "abc"]
    return Drive(*nodes, node("last", "a", "b", "c")).ok("b").ok("c").ok("a")


def ending(drive: Drive, how: str) -> Drive:
    if how == "failed":
        return drive.fail("last")
    return (drive.cancel() if how == "cancelled" else drive.deadline()).killed("last")


@pytest.mark.parametrize("how", ["failed", "cancelled", "timed_out"])
def test_completed_nodes_are_undone_one_by_one_the_last_completed_first(how: str) -> None:
    drive = ending(three(), how)
    assert drive.in_flight == ["undo a"]
    assert drive.undone("a").in_flight == ["undo c"]
    assert drive.undone("c").in_flight == ["undo b"]
    assert str(drive.undone("b").status) == how
    assert drive.begun.count("undo a") == drive.begun.count("undo b") == drive.begun.count("undo c") == 1


def test_an_execution_that_completes_undoes_nothing() -> None:
    assert three().ok("last").begun == ["a", "b", "c", "last"]


def test_only_what_completed_is_undone() -> None:
    drive = Drive(node("a", compensate=undo()), node("b", compensate=undo()), node("c")).ok("b").fail("a").fail("c")
    assert drive.in_flight == ["undo b"]


def test_every_completed_item_is_undone() -> None:
    drive = Drive(node("a", foreach="x", compensate=undo()), node("b", "a"), items={"a": 3})
    drive.ok("a", 1).ok("a", 0).ok("a", 2).fail("b").undone("a", 2).undone("a", 0).undone("a", 1)
    assert drive.begun[-3:] == ["undo a#2", "undo a", "undo a#1"]
    assert drive.status is ExecutionStatus.FAILED


def test_the_completed_items_of_a_failed_foreach_are_undone() -> None:
    drive = Drive(node("a", foreach="x", compensate=undo()), items={"a": 2}).ok("a", 1).fail("a", 0)
    assert drive.in_flight == ["undo a#1"]


def test_what_completed_in_the_same_microsecond_or_while_the_clock_went_back_is_undone_in_order_too() -> None:
    drive = Drive(node("a", compensate=undo()), node("b", "a", compensate=undo()), node("c", "b"))
    drive.ok("a")
    drive.now -= 500
    drive.ok("b").crash().fail("c")
    resumed = drive.crash().fail("c")
    assert resumed.in_flight == ["undo b"]


def test_a_failed_compensation_is_recorded_and_the_others_still_run() -> None:
    drive = three().fail("last").fail("a", label=UNDO)
    assert drive.in_flight == ["undo c"]
    drive.undone("c").undone("b")
    assert drive.status is ExecutionStatus.FAILED
    assert drive.state.error is not None
    assert drive.state.error.node == "last"


def test_a_compensation_is_retried_as_it_says() -> None:
    drive = Drive(node("a", compensate=undo(retry=Retry(attempts=2))), node("b", "a")).ok("a").fail("b")
    drive.fail("a", label=UNDO).wake("a", label=UNDO)
    assert drive.run("a", label=UNDO).attempt == 2
    assert drive.undone("a").status is ExecutionStatus.FAILED


def test_handled_failures_undo_nothing() -> None:
    drive = Drive(node("a", compensate=undo()), node("b", "a"), node("rescue", "b", run_if=RunIf.FAILED))
    assert drive.ok("a").fail("b").ok("rescue").status is ExecutionStatus.COMPLETED
    assert "undo a" not in drive.begun


def test_tolerated_failures_undo_nothing() -> None:
    drive = Drive(
        node("a", compensate=undo()), node("b", foreach="x", on_item_error=OnItemError.NULL), items={"b": 1}
    ).ok("a")  # fmt: skip
    assert drive.fail("b").status is ExecutionStatus.COMPLETED


def test_an_output_that_cannot_be_evaluated_undoes_all() -> None:
    drive = Drive(node("a", compensate=undo()), output=UNREADABLE).ok("a")
    assert drive.in_flight == ["undo a"]
    assert drive.undone("a").state.error is UNREADABLE


def test_undoing_waits_for_the_commit_of_what_it_follows_from() -> None:
    drive = Drive(node("a", compensate=undo()), node("b", "a")).ok("a")
    run = drive.flying.pop(("b", 0, ""))
    effects = attempt.failed(drive.state, run, BROKEN, drive.tick())
    assert [(type(effect), awaits_commit(effect)) for effect in effects] == [(RunAttempt, True)]


def test_on_cancel_undoing_comes_before_always_nodes() -> None:
    drive = Drive(node("a", compensate=undo()), node("b", "a"), node("clean", "b", run_if=RunIf.ALWAYS)).ok("a")
    assert drive.cancel().killed("b").in_flight == ["undo a"]
    assert drive.undone("a").in_flight == ["clean"]
    assert drive.ok("clean").status is ExecutionStatus.CANCELLED


def test_always_nodes_that_can_be_undone_are_undone_too() -> None:
    drive = Drive(node("a"), node("clean", "a", run_if=RunIf.ALWAYS, compensate=undo())).cancel().killed("a")
    assert drive.ok("clean").in_flight == ["undo clean"]
    assert drive.undone("clean").status is ExecutionStatus.CANCELLED


def test_when_the_grace_is_over_what_was_not_undone_is_told() -> None:
    drive = ending(three(), "cancelled").grace_over().killed("a", label=UNDO)
    assert drive.status is ExecutionStatus.CANCELLED
    undone = {key[0]: row.status for key, row in drive.rows.items() if key[2] == UNDO}
    assert undone == {"a": NodeStatus.CANCELLED, "b": NodeStatus.SKIPPED, "c": NodeStatus.SKIPPED}
