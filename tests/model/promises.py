"""What has to hold while an execution runs, and at its end; each broken promise is an AssertionError."""

from __future__ import annotations

from typing import Any

from perdure.model.decide.attempt import spec_of
from perdure.model.event import EventType
from perdure.model.execution import COMPENSATE, ExecutionState, Key, Mode, NodeRun
from perdure.model.states import ExecutionStatus, NodeStatus
from tests.model.ledger import Ledger
from tests.model.scenario import Scenario


class Watcher:
    """Looks at every attempt when it begins."""

    def __init__(self, ledger: Ledger, scenario: Scenario) -> None:
        self._ledger = ledger
        self._scenario = scenario
        self._attempts: dict[Key, int] = {}

    def claimed(self) -> None:
        """A new owner: an attempt that was in flight may begin once more."""
        self._attempts = dict.fromkeys(self._attempts, 0)

    def begun(self, owner: Any, run: NodeRun) -> None:
        state: ExecutionState = owner.state
        assert not state.ended
        assert run.attempt != self._attempts.get(run.key), f"{run} begins twice"
        self._attempts[run.key] = run.attempt
        assert run.attempt <= spec_of(state, run).retry.attempts, run
        row = self._ledger.rows.get(run.key)
        assert row is None or not row.ended, f"{run} begins again after its result"
        self._limits(state, run)
        if run.compensates:
            self._compensation(owner, run)
        else:
            self._needs(state, run)
        if state.mode in (Mode.CANCELLING, Mode.TIMING_OUT):
            self._cleanup(state, run)

    def _limits(self, state: ExecutionState, run: NodeRun) -> None:
        parallel = state.nodes[run.node].spec.parallel
        if parallel is not None and not run.compensates:
            runs = state.nodes[run.node].runs.values()
            under_way = [run for run in runs if run.status is not None and not run.ended]
            assert len(under_way) <= parallel, under_way

    def _needs(self, state: ExecutionState, run: NodeRun) -> None:
        """Whatever it needs is done, and durable."""
        for need in state.nodes[run.node].spec.needs:
            assert state.nodes[need].outcome is not None, f"{run} begins before {need} is done"
            for needed in state.nodes[need].runs.values():
                row = self._ledger.rows.get(needed.key)
                assert row is not None, f"{run} begins before {needed} is committed"
                assert row.status is needed.status, f"{run} begins before {needed} is committed"

    def _compensation(self, owner: Any, run: NodeRun) -> None:
        state: ExecutionState = owner.state
        assert state.stopping or run.interruptions or run.attempt > 1, run
        undone = self._ledger.rows[run.node, run.ordinal, state.nodes[run.node].runs[run.ordinal].label]
        assert undone.status is NodeStatus.COMPLETED, f"{undone} is undone"
        for other in (run for node in state.nodes.values() for run in node.runs.values()):
            durable = other.key in self._ledger.rows and self._ledger.rows[other.key].status is other.status
            assert durable, f"{run} begins before {other} is committed"
        unfinished = [row for row in self._ledger.rows.values() if row.compensates and not row.ended]
        assert all(row.key == run.key for row in unfinished), f"{run} begins before {unfinished} are committed"
        completed = [
            other.finished_at
            for node in state.nodes.values()
            if node.spec.compensate is not None
            for other in node.runs.values()
            if other.status is NodeStatus.COMPLETED
            and other.attempt > 0
            and other.reused_from is None
            and (other.node, other.ordinal, COMPENSATE) not in self._ledger.rows
        ]
        assert undone.finished_at is not None
        assert all(at is not None and at <= undone.finished_at for at in completed), "undone out of order"
        others = [other for other in (*state.running.values(), *state.waiting.values()) if other is not run]
        assert not others, f"{run} begins beside {others}"

    def _cleanup(self, state: ExecutionState, run: NodeRun) -> None:
        given_up = self._ledger.forced or state.curtailed
        assert not given_up, f"{run} begins after a forced cancellation"
        assert run.compensates or state.nodes[run.node].always, f"{run} begins in {state.mode}"
        if not run.compensates and run.attempt == 1 and not run.interruptions and len(state.nodes[run.node].runs) == 1:
            under_way = (*state.running.values(), *state.waiting.values())
            ordinary = [other for other in under_way if not state.nodes[other.node].always]
            assert not ordinary, f"{run} begins beside {ordinary}"


def check_end(ledger: Ledger, scenario: Scenario, *, forced: bool) -> None:
    """What the rows and events of an ended execution have to tell."""
    assert ledger.ended
    status = ledger.status
    nodes = scenario.flow.nodes
    ends = [event for event in ledger.events if event.type == f"execution.{status}"]
    assert len(ends) == 1
    for key, row in ledger.rows.items():
        spec = nodes[row.node].compensate if row.compensates else nodes[row.node]
        assert spec is not None
        if row.status is NodeStatus.COMPLETED and row.attempt == 0:
            assert nodes[row.node].foreach == 0, f"{row} completed without an attempt"
        started = [
            event
            for event in ledger.events
            if event.type == EventType.NODE_STARTED
            and (event.node, event.ordinal, (event.data or {}).get("label", "")) == key
        ]
        assert len({event.attempt for event in started}) == row.attempt <= spec.retry.attempts, (row, started)
    over_early = any(row.error is not None and row.error.code == "cleanup_skipped" for row in ledger.rows.values())
    over_early = over_early or any(
        row.error is not None and row.error.code == "cleanup_timeout" for row in ledger.rows.values()
    )
    if status is ExecutionStatus.COMPLETED:
        assert not any(row.compensates for row in ledger.rows.values())
    else:
        _undone(ledger, scenario)
        if not forced and not over_early and status is not ExecutionStatus.FAILED:
            _cleaned_up(ledger, scenario)
    assert not ledger.waits
    if not forced and not over_early:
        assert not ledger.left_behind, f"it has ended, and its units {ledger.left_behind} have not"
    if forced:
        assert status is not ExecutionStatus.SUSPENDED


def _undone(ledger: Ledger, scenario: Scenario) -> None:
    """Every completed run with something to undo it was undone, or left out and that said."""
    for row in [*ledger.rows.values()]:
        undo = ledger.rows.get((row.node, row.ordinal, COMPENSATE))
        has_undo = not row.compensates and scenario.flow.nodes[row.node].compensate is not None
        if has_undo and row.status is NodeStatus.COMPLETED and row.attempt > 0:
            assert undo is not None, f"{row} was not undone"
        elif not row.compensates:
            assert undo is None, f"{row} was undone"


def _cleaned_up(ledger: Ledger, scenario: Scenario) -> None:
    for name, node in scenario.flow.nodes.items():
        if node.run_if == "always":
            assert any(row.node == name for row in ledger.rows.values()), f"{name} did not run"
