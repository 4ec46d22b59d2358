"""Runs whose work a unit does: what their execution makes of its end, and how they are stopped."""

from __future__ import annotations

import pytest

from perdure.model.decide import wait
from perdure.model.definition import MAX_SPREAD, Flow, Node, OnItemError, Retry, RunIf
from perdure.model.failure import Failure
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.model.unit import leaves, unit_flow, unit_line
from tests.model.drive import Drive, node, undo

SECOND = 1_000_000
UNIT = b"a unit"


def away(*more: Node, **fields: object) -> Drive:
    drive = Drive(node("train", queue="gpu", **fields), *more)
    return drive.suspend("train", "unit", child=UNIT)


def spread(count: int, **fields: object) -> Drive:
    drive = Drive(node("each", spread=True, foreach="x", **fields), items={"each": count})
    for ordinal in range(len(drive.flying)):
        drive.suspend("each", "unit", child=b"unit %d" % ordinal, ordinal=ordinal)
    return drive


@pytest.mark.parametrize(
    ("fields", "line", "expected"),
    [
        ({}, "default", False),
        ({"queue": "gpu"}, "default", True),
        ({"queue": "gpu"}, "gpu", False),
        ({"spread": True, "foreach": "x"}, "default", True),
        ({"spread": True, "foreach": "x", "queue": "gpu"}, "gpu", True),
        ({"queue": "gpu"}, "gpu+fast", False),
        ({"requires": ("fast",)}, "default", True),
        ({"requires": ("fast",)}, "default+fast", False),
        ({"requires": ("fast", "big")}, "default+fast", True),
        ({"requires": ()}, "default", False),
        ({"requires": ()}, "default+fast", True),
    ],
)
def test_a_node_leaves_where_it_is_spread_or_other_workers_are_to_run_it(
    fields: dict, line: str, expected: bool
) -> None:
    assert leaves(node("a", **fields), line=line) is expected


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "cpu+fast"),
        ({"queue": "gpu"}, "gpu+fast"),
        ({"requires": ("linux", "big")}, "cpu+big+linux"),
        ({"requires": ()}, "cpu"),
        ({"queue": "gpu", "requires": ("big",)}, "gpu+big"),
    ],
)
def test_a_unit_waits_where_its_node_says_and_else_where_its_execution_does(fields: dict, line: str) -> None:
    assert unit_line(node("a", **fields), line="cpu+fast") == line


def test_a_unit_runs_its_node_alone_and_nothing_of_what_its_execution_decides() -> None:
    train = node(
        "train", "load", queue="gpu", when="false", run_if=RunIf.ALWAYS, foreach="x", parallel=2, key="k",
        on_item_error=OnItemError.NULL, retry=Retry(attempts=3), timeout=9, compensate=undo(timeout=4),
    )  # fmt: skip
    flow = Flow("default/all", {"load": node("load"), "train": train}, output="o", timeout=7, max_recoveries=2)
    alone = unit_flow(flow, "train", compensates=False)
    assert alone.nodes == {"train": Node("train", "work", {}, retry=Retry(attempts=3), timeout=9)}
    assert (alone.timeout, alone.max_recoveries) == (None, 2)
    assert unit_flow(flow, "train", compensates=True).nodes == {"train": Node("train", "work", {}, timeout=4)}


def test_a_units_output_is_the_nodes() -> None:
    drive = away().child_ended("train", ExecutionStatus.COMPLETED, output=7)
    assert (drive.status, drive.state.nodes["train"].output) == (ExecutionStatus.COMPLETED, 7)


def test_a_units_failure_is_the_runs_own_and_was_retried_there() -> None:
    drive = away(retry=Retry(attempts=5))
    broken = Failure(code="exit_code", message="it exited with 3", attempt=5, stack="where", details={"exit_code": 3})
    drive.child_ended("train", ExecutionStatus.FAILED, failure=broken)
    error = drive.run("train").error
    assert drive.outcome("train") is NodeStatus.FAILED
    assert error is not None
    assert (error.code, error.message, error.stack, error.attempt) == ("exit_code", "it exited with 3", "where", 1)
    assert error.details is not None
    assert (error.details["exit_code"], error.details["attempts"]) == (3, 5)


def test_a_unit_whose_last_attempt_was_too_late_times_its_run_out() -> None:
    drive = away(timeout=SECOND)
    late = Failure(code="timeout", message="the attempt took longer than 1 s", attempt=1)
    assert drive.child_ended("train", ExecutionStatus.FAILED, failure=late).outcome("train") is NodeStatus.TIMED_OUT


def test_a_unit_that_somebody_cancelled_fails_its_run() -> None:
    drive = away(retry=Retry(attempts=2)).child_ended("train", ExecutionStatus.CANCELLED, failure=None)
    error = drive.run("train").error
    assert drive.outcome("train") is NodeStatus.FAILED
    assert error is not None
    assert error.code == "child_cancelled"


def test_the_nodes_timeout_does_not_count_the_time_in_the_queue() -> None:
    drive = away(timeout=SECOND)
    assert drive.wakes == {}
    assert wait.rest(drive.state, drive.now)
    assert wait.next_wake(drive.state) is None


def test_so_many_units_exist_at_a_time_as_parallel_says() -> None:
    drive = spread(5, parallel=2)
    assert len(drive.state.waiting) == 2
    drive.child_ended("each", ExecutionStatus.COMPLETED, ordinal=1)
    assert drive.in_flight == ["each#2"]


def test_without_parallel_their_number_has_a_bound() -> None:
    drive = spread(MAX_SPREAD + 1)
    assert len(drive.state.waiting) == MAX_SPREAD
    drive.child_ended("each", ExecutionStatus.COMPLETED, ordinal=9)
    assert drive.in_flight == [f"each#{MAX_SPREAD}"]


def test_an_item_error_is_judged_as_without_units() -> None:
    drive = spread(2, on_item_error=OnItemError.NULL).child_ended("each", ExecutionStatus.FAILED, ordinal=0)
    drive.child_ended("each", ExecutionStatus.COMPLETED, ordinal=1, output=5)
    assert drive.state.nodes["each"].output == [None, 5]


def test_a_patient_owner_stays_while_ends_of_others_are_to_be_expected() -> None:
    drive = spread(3)
    assert wait.rest(drive.state, drive.now, patient=True)
    drive.child_ended("each", ExecutionStatus.COMPLETED, ordinal=0)
    assert not wait.rest(drive.state, drive.now, patient=True)
    assert wait.rest(drive.state, drive.now)
    drive.child_ended("each", ExecutionStatus.COMPLETED, ordinal=1)
    assert wait.rest(drive.state, drive.now + wait.CHILD_LINGER, patient=True)


def test_nothing_is_called_cancelled_before_its_unit_has_ended() -> None:
    drive = away(node("clean", "train", run_if=RunIf.ALWAYS)).cancel()
    assert drive.cancelled_children == [UNIT]
    assert (drive.status, drive.begun) == (ExecutionStatus.CANCELLING, ["train"])
    drive.child_ended("train", ExecutionStatus.CANCELLED, failure=None)
    assert drive.outcome("train") is NodeStatus.CANCELLED
    assert drive.in_flight == ["clean"]
    assert drive.ok("clean").status is ExecutionStatus.CANCELLED


def test_a_result_that_comes_before_its_unit_was_stopped_is_kept() -> None:
    drive = away().cancel().child_ended("train", ExecutionStatus.COMPLETED, output=7)
    assert drive.status is ExecutionStatus.CANCELLED
    assert drive.run("train").output == 7


def test_a_unit_that_does_not_end_is_waited_for_within_the_grace_only() -> None:
    drive = away().cancel()
    assert drive.limits == 1
    drive.grace_over()
    assert drive.status is ExecutionStatus.CANCELLED


def test_force_waits_for_no_unit() -> None:
    drive = away().cancel(force=True)
    assert drive.cancelled_children == [UNIT]
    assert drive.status is ExecutionStatus.CANCELLED


@pytest.mark.parametrize("stop", [Drive.cancel, Drive.deadline])
def test_who_takes_over_a_stop_waits_for_the_unit_too(stop: object) -> None:
    drive = away()
    stop(drive)  # type: ignore[operator]
    resumed = drive.crash(deadline_at=1)
    assert resumed.cancelled_children == [UNIT]
    assert resumed.limits == 1
    assert not resumed.state.ended
    assert resumed.child_ended("train", ExecutionStatus.CANCELLED, failure=None).state.ended


def test_what_undoes_may_run_in_a_unit_too() -> None:
    drive = Drive(node("a", compensate=undo(queue="gpu")), node("b", "a")).ok("a").fail("b")
    drive.suspend("a", "unit", child=UNIT, label="compensate")
    drive.child_ended("a", ExecutionStatus.COMPLETED, label="compensate")
    assert drive.status is ExecutionStatus.FAILED
    assert drive.run("a", label="compensate").status is NodeStatus.COMPLETED
