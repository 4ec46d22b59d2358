"""Driving one execution by hand: every effect is carried out at once, as if each commit took no time."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from perdure.model.decide import attempt, graph, lifecycle, stop, wait
from perdure.model.decide.effects import (
    CancelChild,
    Effect,
    EvaluateOutput,
    LimitCleanup,
    Prepare,
    RunAttempt,
    StopAttempt,
    WakeAt,
)
from perdure.model.definition import Flow, Node
from perdure.model.execution import COMPENSATE, ExecutionState, Key, NodeRun
from perdure.model.failure import Failure
from perdure.model.states import ExecutionStatus, NodeStatus

BROKEN = Failure(code="node_failed", message="it broke", error_types=("ValueError", "Exception"))
FATAL = Failure(code="node_failed", message="it broke for good", retryable=False)
UNREADABLE = Failure(code="expression_error", message="an expression failed", retryable=False)


def node(node_id: str, *needs: str, **more: Any) -> Node:
    return Node(node_id, more.pop("type", "work"), {}, needs=needs, **more)


def undo(**more: Any) -> Node:
    return Node("undo", "work", {}, **more)


class Drive:
    """`items` and `when` answer the expressions of nodes: how many items (or a Failure), and whether it holds."""

    def __init__(
        self,
        *nodes: Node,
        items: Mapping[str, int | Failure] | None = None,
        when: Mapping[str, bool | Failure] | None = None,
        labels: Mapping[str, Sequence[str]] | None = None,
        output: Any = "the output",
        begin: bool = True,
    ) -> None:
        self.flow = Flow("default/driven", {spec.id: spec for spec in nodes})
        self.items, self.when, self.labels, self.output = items or {}, when or {}, labels or {}, output
        self.now = 1_000
        self.state = ExecutionState(self.flow, status=ExecutionStatus.RUNNING)
        self.flying: dict[Key, NodeRun] = {}
        self.begun: list[str] = []
        """Every attempt as `node`, `node#ordinal` where that is not 0, `undo node` for a compensation."""
        self.stops: list[StopAttempt] = []
        self.wakes: dict[Key, int] = {}
        self.cancelled_children: list[bytes | None] = []
        self.limits = 0
        self.prepared: list[str] = []
        self.rows: dict[Key, NodeRun] = {}
        self.waits: dict[Key, tuple[str | None, bytes | None]] = {}
        self.events: list[str] = []
        if begin:
            self.feed(lifecycle.begun(self.state, self.now))

    # Facts

    def ok(self, name: str, ordinal: int = 0, output: Any = None, label: str = "") -> Drive:
        run = self.flying.pop((name, ordinal, label))
        return self.feed(attempt.succeeded(self.state, run, output, self.tick()))

    def fail(
        self, name: str, ordinal: int = 0, failure: Failure = BROKEN, *, status: NodeStatus = NodeStatus.FAILED,
        label: str = "", jitter: float = 0.0,
    ) -> Drive:  # fmt: skip
        run = self.flying.pop((name, ordinal, label))
        return self.feed(attempt.failed(self.state, run, failure, self.tick(), status=status, jitter=jitter))

    def killed(self, name: str, ordinal: int = 0, label: str = "") -> Drive:
        return self.fail(name, ordinal, status=NodeStatus.CANCELLED, label=label)

    def undone(self, name: str, ordinal: int = 0) -> Drive:
        return self.ok(name, ordinal, label=COMPENSATE)

    def suspend(
        self, name: str, kind: str = "child", *, wake_at: int | None = None, child: bytes | None = None, ordinal: int = 0,
        label: str = "",
    ) -> Drive:  # fmt: skip
        run = self.flying.pop((name, ordinal, label))
        return self.feed(wait.suspended(self.state, run, kind, self.tick(), wake_at=wake_at, child=child))

    def child_ended(
        self, name: str, status: ExecutionStatus, output: Any = None, *, failure: Failure | None = BROKEN,
        ordinal: int = 0, label: str = "",
    ) -> Drive:  # fmt: skip
        run = self.run(name, ordinal, label)
        return self.feed(wait.child_ended(self.state, run, status, self.tick(), output=output, failure=failure))

    def wake(self, name: str, ordinal: int = 0, label: str = "") -> Drive:
        """The timer that was asked for last fires."""
        self.now = max(self.now, self.wakes.pop((name, ordinal, label)))
        run = self.run(name, ordinal, label)
        return self.feed(wait.woken(self.state, run, self.now))

    def cancel(self, *, force: bool = False, reason: str | None = None) -> Drive:
        return self.feed(stop.cancelled(self.state, self.tick(), reason=reason, force=force))

    def deadline(self) -> Drive:
        return self.feed(stop.deadline_passed(self.state, self.tick()))

    def grace_over(self) -> Drive:
        return self.feed(stop.cleanup_ended(self.state, self.tick()))

    def crash(self, *, deadline_at: int | None = None, carry: bool = True) -> Drive:
        """The owner dies after a commit; another one goes on from the rows, or (without `carry`) is about to."""
        after = Drive(
            *self.flow.nodes.values(), items=self.items, when=self.when, labels=self.labels, output=self.output, begin=False
        )  # fmt: skip
        after.now = self.tick()
        after.rows, after.waits = dict(self.rows), dict(self.waits)
        status = ExecutionStatus.RUNNING if self.state.status is ExecutionStatus.SUSPENDED else self.state.status
        after.state = ExecutionState(self.flow, status=status, reason=self.state.reason)
        loaded = []
        for key, row in self.rows.items():
            run = copy.copy(row)
            run.wait, run.child = self.waits.get(key, (None, None))
            loaded.append(run)
        effects = lifecycle.resumed(after.state, loaded, after.now, deadline_at=deadline_at)
        return after.feed(effects) if carry else after

    # What became of it

    def run(self, name: str, ordinal: int = 0, label: str = "") -> NodeRun:
        if label == COMPENSATE:
            return self.state.compensations[name, ordinal]
        return self.state.nodes[name].runs[ordinal]

    def outcome(self, name: str) -> NodeStatus | None:
        return self.state.nodes[name].outcome

    @property
    def outcomes(self) -> dict[str, str]:
        return {name: str(one.outcome) for name, one in self.state.nodes.items()}

    @property
    def in_flight(self) -> list[str]:
        return [told(run) for run in self.flying.values()]

    @property
    def status(self) -> ExecutionStatus:
        return self.state.status

    # Carrying out

    def tick(self) -> int:
        self.now += 1
        return self.now

    def feed(self, effects: Sequence[Effect]) -> Drive:
        queue = deque(effects)
        while queue:
            queue.extend(self._carry(queue.popleft()))
        self._commit()
        return self

    def _carry(self, effect: Effect) -> Sequence[Effect]:
        match effect:
            case Prepare():
                return self._prepare(effect.node)
            case RunAttempt():
                refused = attempt.begin(self.state, effect.run, self.now)
                if refused is not None:
                    return refused
                self.flying[effect.run.key] = effect.run
                self.begun.append(told(effect.run))
            case EvaluateOutput():
                if isinstance(self.output, Failure):
                    return graph.output_refused(self.state, self.output, self.now)
                return graph.output_known(self.state, self.output, self.now)
            case StopAttempt():
                self.stops.append(effect)
            case WakeAt():
                assert effect.run.due_at is not None
                self.wakes[effect.run.key] = effect.run.due_at
            case CancelChild():
                self.cancelled_children.append(effect.run.child)
            case LimitCleanup():
                self.limits += 1
        return ()

    def _prepare(self, name: str) -> Sequence[Effect]:
        self.prepared.append(name)
        holds = self.when.get(name, True)
        if isinstance(holds, Failure):
            return graph.refused(self.state, name, holds, self.now)
        if not holds:
            return graph.condition_false(self.state, name, self.now)
        count = self.items.get(name)
        if isinstance(count, Failure):
            return graph.refused(self.state, name, count, self.now)
        return graph.prepared(self.state, name, self.now, items=count, labels=self.labels.get(name))

    def _commit(self) -> None:
        changes = self.state.take_changes()
        self.rows |= {key: copy.copy(run) for key, run in changes.node_runs.items()}
        for key in changes.waits_closed:
            self.waits.pop(key, None)
        self.waits |= {key: (run.wait, run.child) for key, run in changes.waits_opened.items()}
        self.events += [str(event.type) for event in changes.events]


def told(run: NodeRun) -> str:
    ordinal = f"#{run.ordinal}" if run.ordinal else ""
    return f"{'undo ' if run.compensates else ''}{run.node}{ordinal}"
