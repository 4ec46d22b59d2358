"""Attempts: retries, backoff, what does not count, what cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.model.decide import attempt
from perdure.model.definition import OnInterrupt, Retry
from perdure.model.failure import Failure
from perdure.model.retry import backoff, may_retry
from perdure.model.states import ExecutionStatus, NodeStatus
from tests.model.drive import BROKEN, FATAL, Drive, node

SECOND = 1_000_000


def test_a_failed_attempt_is_tried_again_after_its_backoff() -> None:
    drive = Drive(node("a", retry=Retry(attempts=3, backoff_min=SECOND)))
    drive.fail("a")
    run = drive.run("a")
    assert run.status is NodeStatus.RETRYING
    assert drive.wakes == {run.key: drive.now + SECOND // 2}
    drive.wake("a")
    assert (run.status, run.attempt, run.retry_at) == (NodeStatus.RUNNING, 2, None)
    assert drive.ok("a", output=5).status is ExecutionStatus.COMPLETED
    assert run.error is None


def test_after_the_last_attempt_the_node_has_failed() -> None:
    drive = Drive(node("a", retry=Retry(attempts=2))).fail("a").wake("a").fail("a")
    assert drive.run("a").attempt == 2
    assert drive.status is ExecutionStatus.FAILED


def test_what_cannot_become_better_is_not_tried_again() -> None:
    drive = Drive(node("a", retry=Retry(attempts=3))).fail("a", failure=FATAL)
    assert drive.status is ExecutionStatus.FAILED


def test_a_timed_out_attempt_is_tried_again_and_a_last_one_times_the_node_out() -> None:
    drive = Drive(node("a", retry=Retry(attempts=2))).fail("a", status=NodeStatus.TIMED_OUT).wake("a")
    drive.fail("a", status=NodeStatus.TIMED_OUT)
    assert drive.outcome("a") is NodeStatus.TIMED_OUT
    assert drive.status is ExecutionStatus.FAILED


def test_an_orphaned_attempt_is_not_tried_again() -> None:
    drive = Drive(node("a", retry=Retry(attempts=3))).fail("a", status=NodeStatus.ORPHANED)
    assert drive.outcome("a") is NodeStatus.ORPHANED


def test_a_run_has_one_result_and_a_second_one_is_ignored() -> None:
    drive = Drive(node("a"), node("b", "a")).ok("a", output=1)
    run = drive.run("a")
    drive.feed(attempt.succeeded(drive.state, run, 2, drive.now))
    drive.feed(attempt.failed(drive.state, run, BROKEN, drive.now))
    assert (run.status, run.output) == (NodeStatus.COMPLETED, 1)
    assert drive.state.undone == 1


def test_an_interrupted_attempt_begins_anew_and_is_not_counted() -> None:
    drive = Drive(node("a", retry=Retry(attempts=2))).crash().crash()
    run = drive.run("a")
    assert (run.attempt, run.interruptions) == (1, 2)
    drive.fail("a").wake("a")
    assert drive.run("a").attempt == 2


def test_how_long_a_node_took_does_not_count_what_an_interruption_lost() -> None:
    drive = Drive(node("a", retry=Retry(attempts=2)))
    begun = drive.run("a").started_at
    assert begun is not None
    drive.now += 3600 * SECOND
    drive = drive.crash()
    anew = drive.run("a").started_at
    assert anew is not None
    assert anew > begun + 3600 * SECOND
    drive.fail("a").wake("a")
    assert drive.run("a").started_at == anew, "a retry belongs to what the node took"


def test_an_interrupted_attempt_fails_where_the_node_asks_for_that() -> None:
    drive = Drive(node("a", on_interrupt=OnInterrupt.FAIL, retry=Retry(attempts=3))).crash()
    assert drive.begun == []
    assert drive.status is ExecutionStatus.FAILED
    assert drive.state.error is not None
    assert drive.state.error.code == "interrupted"


def test_a_retry_that_was_waited_for_is_waited_for_after_a_crash() -> None:
    drive = Drive(node("a", retry=Retry(attempts=2, backoff_min=60 * SECOND))).fail("a")
    due = dict(drive.wakes)
    drive = drive.crash()
    assert drive.in_flight == []
    assert drive.wakes == due
    assert drive.wake("a").run("a").attempt == 2


def test_a_retry_names_the_errors_it_is_for() -> None:
    retry = Retry(attempts=2, on=("ConnectionError", "http_status"))
    assert may_retry(retry, Failure(code="http_status", message=""), attempt=1)
    refused = Failure(code="node_failed", message="", error_types=("ConnectionRefusedError", "ConnectionError"))
    assert may_retry(retry, refused, attempt=1)
    assert not may_retry(retry, BROKEN, attempt=1)


@given(st.integers(1, 100), st.integers(0, 10**9), st.integers(0, 10**10), st.floats(0, 1, exclude_max=True))
def test_the_backoff_doubles_up_to_its_bound_and_jitter_takes_its_upper_half(
    number: int, shortest: int, longest: int, jitter: float
) -> None:
    ceiling = min(shortest * 2 ** (number - 1), longest)
    got = backoff(Retry(attempts=101, backoff_min=shortest, backoff_max=longest), attempt=number, jitter=jitter)
    if number <= 41:
        assert ceiling // 2 <= got <= ceiling
    assert got <= longest


@pytest.mark.parametrize("status", [NodeStatus.FAILED, NodeStatus.TIMED_OUT, NodeStatus.ORPHANED])
def test_a_failure_says_where_it_happened(status: NodeStatus) -> None:
    drive = Drive(node("a")).fail("a", status=status)
    assert drive.run("a").error == BROKEN.at(node="a", ordinal=0, attempt=1)
