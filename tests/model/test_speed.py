"""Deciding stays cheap and linear: by the node, by the item, by the failure. Bounds leave room for a busy machine."""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Callable

import pytest

from perdure.model.decide import attempt, graph, lifecycle, wait
from perdure.model.decide.effects import EvaluateOutput, Prepare, RunAttempt
from perdure.model.definition import Flow, Node, OnItemError, RunIf
from perdure.model.execution import ExecutionState, NodeRun
from perdure.model.failure import Failure
from perdure.model.states import ExecutionStatus, NodeStatus
from tests.model.drive import BROKEN, Drive, node, undo

STEP_US = 60
"""Microseconds of deciding that one step may take at most; a quiet machine needs a tenth."""


def chain(length: int, **more: object) -> list[Node]:
    return [node(f"n{i}", *([f"n{i - 1}"] if i else []), **more) for i in range(length)]


def decide(flow: Flow, *, items: int | None = None) -> ExecutionState:
    """A whole execution as the engine would decide it, and nothing else."""
    state = ExecutionState(flow, status=ExecutionStatus.RUNNING)
    queue, now = deque(lifecycle.begun(state, 1)), 1
    flying: deque[NodeRun] = deque()
    while queue or flying:
        while queue:
            effect = queue.popleft()
            if type(effect) is Prepare:
                queue.extend(graph.prepared(state, effect.node, now, items=items))
            elif type(effect) is RunAttempt:
                attempt.begin(state, effect.run, now)
                flying.append(effect.run)
            elif type(effect) is EvaluateOutput:
                graph.output_known(state, None, now)
        if flying:
            now += 1
            queue.extend(attempt.succeeded(state, flying.popleft(), now, now))
            state.take_changes()
    return state


def spent_us(work: Callable[[], object], *, steps: int, rounds: int = 1) -> float:
    """Processor time by the step: of the best round."""
    best = float("inf")
    gc.collect()
    for _ in range(rounds):
        before = time.process_time()
        work()
        best = min(best, time.process_time() - before)
    return best * 1_000_000 / steps


def test_a_step_of_a_chain_is_cheap() -> None:
    flow = Flow("default/chain", {one.id: one for one in chain(10)})
    assert spent_us(lambda: [decide(flow) for _ in range(100)], steps=1_000, rounds=3) < STEP_US


@pytest.mark.parametrize("parallel", [None, 20])
def test_an_item_costs_the_same_however_many_there_are(parallel: int | None) -> None:
    flow = Flow("default/fan", {"n": Node("n", "work", {}, foreach="x", parallel=parallel)})
    few = spent_us(lambda: [decide(flow, items=1_000) for _ in range(5)], steps=5_000, rounds=3)
    many = spent_us(lambda: decide(flow, items=10_000), steps=10_000, rounds=2)
    assert many < STEP_US
    assert many < 5 * few


def test_a_chain_of_a_thousand_nodes_is_done_step_by_step() -> None:
    flow = Flow("default/chain", {one.id: one for one in chain(1_000)})
    assert decide(flow).status is ExecutionStatus.COMPLETED
    assert spent_us(lambda: decide(flow), steps=1_000) < STEP_US


def test_a_thousand_skipped_nodes_are_skipped_at_once() -> None:
    drive = Drive(*chain(1_000), when={"n0": False})
    assert drive.status is ExecutionStatus.COMPLETED
    assert drive.outcome("n999") is NodeStatus.SKIPPED


def test_a_thousand_blocked_nodes_are_skipped_at_once_and_a_handler_behind_them_handles() -> None:
    drive = Drive(*chain(1_000), node("rescue", "n999", run_if=RunIf.FAILED)).fail("n0").ok("rescue")
    assert drive.status is ExecutionStatus.COMPLETED


def test_a_thousand_nodes_are_left_out_at_once_when_it_is_cancelled() -> None:
    drive = Drive(*chain(1_000), node("clean", "n999", run_if=RunIf.ALWAYS)).cancel().killed("n0")
    assert drive.in_flight == ["clean"]


def test_ten_thousand_failed_items_cost_no_more_than_others() -> None:
    def run() -> None:
        drive = Drive(
            node("a", foreach="x"), *chain(100, run_if=RunIf.FAILED), node("h", "a", run_if=RunIf.FAILED), items={"a": 10_000}
        )  # fmt: skip
        flying = [*drive.flying.values()]
        for run in flying:
            attempt.failed(drive.state, run, BROKEN, drive.tick())

    assert spent_us(run, steps=10_000) < 3 * STEP_US


def test_ten_thousand_sleepers_are_woken_one_by_one() -> None:
    def run() -> None:
        drive = Drive(node("a", foreach="x", type="sleep"), items={"a": 10_000})
        for n, one in enumerate([*drive.flying.values()]):
            wait.suspended(drive.state, one, "timer", 1, wake_at=10**9 + n)
        for one in [*drive.state.waiting.values()]:
            wait.woken(drive.state, one, 10**9 + one.ordinal)
            wait.rest(drive.state, 10**9 + one.ordinal)

    assert spent_us(run, steps=10_000) < 3 * STEP_US


def test_undoing_ten_thousand_items_takes_linear_time() -> None:
    def run() -> None:
        drive = Drive(node("a", foreach="x", compensate=undo()), node("b", "a"), items={"a": 10_000})
        for one in [*drive.flying.values()]:
            drive.feed(attempt.succeeded(drive.state, one, None, drive.tick()))
        drive.flying = {("b", 0, ""): drive.run("b")}
        drive.fail("b")
        while drive.flying:
            drive.feed(attempt.succeeded(drive.state, drive.flying.popitem()[1], None, drive.tick()))
        assert drive.status is ExecutionStatus.FAILED

    assert spent_us(run, steps=20_000) < 3 * STEP_US


def test_cancelling_and_resuming_ten_thousand_items_takes_linear_time() -> None:
    def run() -> None:
        drive = Drive(node("a", foreach="x", on_item_error=OnItemError.NULL), items={"a": 10_000}).crash().cancel()
        refused = Failure(code="stopped", message="it was stopped", retryable=False)
        for one in [*drive.flying.values()]:
            drive.feed(attempt.failed(drive.state, one, refused, drive.now, status=NodeStatus.CANCELLED))
        assert drive.status is ExecutionStatus.CANCELLED

    assert spent_us(run, steps=20_000) < 3 * STEP_US
