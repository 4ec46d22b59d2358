"""An owner without an engine: it carries decisions out as the engine's does, on a clock that only moves when told."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from perdure.model.answer import ASK
from perdure.model.decide import attempt, graph, pause, stop, wait
from perdure.model.decide.answer import Verdict
from perdure.model.decide.effects import (
    CancelChild,
    Effect,
    EvaluateOutput,
    Expire,
    LimitCleanup,
    Prepare,
    RunAttempt,
    StopAttempt,
    WakeAt,
    awaits_commit,
)
from perdure.model.execution import UNIT, ExecutionState, Key, NodeRun
from perdure.model.failure import Failure
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.model.unit import leaves
from tests.model.ledger import Batch, batch_of
from tests.model.scenario import SECOND

if TYPE_CHECKING:
    from tests.model.simulation import World

Action = tuple[str, Callable[[], None]]

CLEANUP_GRACE = 30 * SECOND
NAP = 12 * SECOND
QUEUE = "default"
"""Where the execution itself waits."""


class Owner:
    """Mirrors the engine's owner: what waits for a commit is held, results come in any order."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.state = ExecutionState(world.scenario.flow, status=world.ledger.status, reason=world.ledger.reason)
        self.flights: dict[Key, NodeRun] = {}
        self.stopped: set[Key] = set()
        self.starting: dict[Key, NodeRun] = {}
        """Runs whose child is being made."""
        self.timers: dict[Key, tuple[int, NodeRun]] = {}
        self.cleanup_at: int | None = None
        self.deadline_at = world.scenario.deadline_at
        self.children: list[bytes] = []
        self.cancelled_children: list[bytes] = []
        self.consumed: list[int] = []
        self.received: set[int] = set()
        self.expiring: dict[Key, int] = {}
        """Runs, and their attempts, of which the store is asked whether the wait is over."""
        self.held: list[Effect] = []
        self.committing: list[Effect] = []
        self.batch: Batch | None = None
        self.releasing = False

    def feed(self, effects: Sequence[Effect]) -> None:
        queue = deque(effects)
        while queue:
            effect = queue.popleft()
            uncommitted = self.state.changes.result or self.batch is not None
            if awaits_commit(effect) and uncommitted:
                self.held.append(effect)
            else:
                queue.extend(self.carry(effect))
        if not self.waits_inside:
            wait.rest(self.state, self.world.now)
        self.releasing = self.state.ended or self.state.status is ExecutionStatus.SUSPENDED

    @property
    def waits_inside(self) -> bool:
        return bool(self.held or self.committing or self.flights or self.starting or self.expiring)

    @property
    def marked(self) -> bool:
        anything = self.state.changes or self.consumed or self.children or self.held or self.releasing
        return bool(anything) and self.batch is None

    def carry(self, effect: Effect) -> Sequence[Effect]:
        match effect:
            case Prepare():
                return () if pause.withholds(self.state, effect) else self.prepare(effect.node)
            case RunAttempt():
                return () if pause.withholds(self.state, effect) else self.launch(effect.run)
            case Expire():
                self.expiring[effect.run.key] = effect.run.attempt
            case WakeAt():
                assert effect.run.due_at is not None
                self.timers[effect.run.key] = (effect.run.due_at, effect.run)
            case StopAttempt():
                assert effect.run.key in self.flights or effect.run.key in self.starting, effect
                self.stopped.add(effect.run.key)
            case CancelChild():
                assert effect.run.child is not None
                self.cancelled_children.append(effect.run.child)
            case LimitCleanup():
                assert self.cleanup_at is None
                self.cleanup_at = self.world.now + CLEANUP_GRACE
            case EvaluateOutput():
                return self.evaluate_output()
            case _:
                raise AssertionError(effect)
        return ()

    def prepare(self, node_id: str) -> Sequence[Effect]:
        state, now, spec = self.state, self.world.now, self.state.nodes[node_id].spec
        failure = Failure(code="expression_error", message="an expression failed", retryable=False)
        if spec.when == "error":
            return graph.refused(state, node_id, failure, now)
        if spec.when == "false":
            return graph.condition_false(state, node_id, now)
        if spec.foreach is None:
            return graph.prepared(state, node_id, now, items=None)
        if spec.foreach == "error":
            return graph.refused(state, node_id, failure, now)
        labels = [f"item-{index}" for index in range(spec.foreach)] if spec.key is not None else None
        return graph.prepared(state, node_id, now, items=spec.foreach, labels=labels)

    def launch(self, run: NodeRun) -> Sequence[Effect]:
        state, now = self.state, self.world.now
        if state.paused and pause.may_pause(state):
            assert run.status is NodeStatus.RUNNING, f"{run} begins while it is paused"
        refused = attempt.begin(state, run, now)
        if refused is not None:
            return refused
        self.world.watcher.begun(self, run)
        spec = attempt.spec_of(state, run)
        if self.world.scenario.outcome(run) == "refused":
            failure = Failure(code="invalid_config", message="it cannot be rendered", retryable=False)
            return attempt.failed(state, run, failure, now)
        if spec.type == "sleep":
            return wait.suspended(state, run, "timer", now, wake_at=now + NAP)
        if spec.type == ASK:
            return wait.suspended(state, run, ASK, now, terms={"attempt": run.attempt})
        is_elsewhere = spec.type == "flow" or leaves(spec, line=QUEUE)
        (self.starting if is_elsewhere else self.flights)[run.key] = run
        return ()

    def evaluate_output(self) -> Sequence[Effect]:
        if self.world.scenario.output_fails:
            failure = Failure(code="expression_error", message="no output", retryable=False)
            return graph.output_refused(self.state, failure, self.world.now)
        return graph.output_known(self.state, self.world.output(self.state), self.world.now)

    # What can happen

    def actions(self) -> list[Action]:
        found: list[Action] = []
        if self.batch is not None:
            found.append(("commit", self.commit))
        elif self.marked:
            found.append(("drain", self.drain))
        if self.state.ended or (self.batch is not None and self.batch.release):
            return found
        for key, run in self.flights.items():
            found.append((f"land {key}", lambda run=run: self.land(run)))  # type: ignore[misc]
            if key in self.stopped:
                found.append((f"kill {key}", lambda run=run: self.kill(run)))  # type: ignore[misc]
        for key, run in self.starting.items():
            found.append((f"start child {key}", lambda run=run: self.start_child(run)))  # type: ignore[misc]
            if key in self.stopped:
                found.append((f"kill {key}", lambda run=run: self.kill(run)))  # type: ignore[misc]
        for key, number in self.expiring.items():
            ledger = self.world.ledger
            if key in ledger.waits and ledger.rows[key].attempt == number:
                found.append((f"expire {key}", lambda key=key: self.expire(key)))  # type: ignore[misc]
        due = self.due()
        if due is not None:
            found.append((f"timer {due[1]}", lambda: self.fire(*due)))
        unread_pause = False
        for number, (kind, data) in self.world.ledger.inbox.items():
            if number not in self.received:
                if kind in ("paused", "unpaused"):
                    # Of these the order says all; others may come as they like.
                    if unread_pause:
                        continue
                    unread_pause = True
                found.append((f"receive {kind}", lambda n=number, k=kind, d=data: self.receive(n, k, d)))  # type: ignore[misc]
        return found

    def land(self, run: NodeRun) -> None:
        """The attempt in flight comes to its end, by itself."""
        del self.flights[run.key]
        state, now = self.state, self.world.now
        failure = Failure(code="node_failed", message="it failed", error_types=("ValueError",))
        match self.world.scenario.outcome(run):
            case "ok":
                self.feed(attempt.succeeded(state, run, self.world.value(state, run), now))
            case "late" if run.key not in self.stopped:
                self.feed(attempt.failed(state, run, failure, now, status=NodeStatus.TIMED_OUT, jitter=0.5))
            case "orphan":
                self.feed(attempt.failed(state, run, failure, now, status=NodeStatus.ORPHANED))
            case _ if run.key in self.stopped:
                self.feed(attempt.failed(state, run, failure, now, status=NodeStatus.CANCELLED))
            case "fatal":
                fatal = Failure(code="node_failed", message="it failed for good", retryable=False)
                self.feed(attempt.failed(state, run, fatal, now))
            case _:
                self.feed(attempt.failed(state, run, failure, now, jitter=0.5))
        self.stopped.discard(run.key)

    def kill(self, run: NodeRun) -> None:
        """The attempt was stopped."""
        self.flights.pop(run.key, None)
        self.starting.pop(run.key, None)
        self.stopped.discard(run.key)
        failure = Failure(code="stopped", message="it was stopped", retryable=False)
        self.feed(attempt.failed(self.state, run, failure, self.world.now, status=NodeStatus.CANCELLED))

    def start_child(self, run: NodeRun) -> None:
        del self.starting[run.key]
        self.stopped.discard(run.key)
        child = f"{run.key} {run.attempt}".encode()
        self.children.append(child)
        kind = "child" if attempt.spec_of(self.state, run).type == "flow" else UNIT
        self.feed(wait.suspended(self.state, run, kind, self.world.now, child=child))

    def due(self) -> tuple[int, str, NodeRun | None] | None:
        """The timer that fires next: a run's, the deadline, the end of the cleanup's grace."""
        scenario = self.world.scenario
        found: list[tuple[int, str, NodeRun | None]] = [
            (at, str(key), run)
            for key, (at, run) in self.timers.items()
            if run.wait not in ("child", ASK) or not scenario.stable or scenario.outcome(run) == "late"
        ]
        if self.deadline_at is not None:
            found.append((self.deadline_at, "deadline", None))
        if self.cleanup_at is not None:
            found.append((self.cleanup_at, "cleanup", None))
        return min(found, key=lambda one: one[:2], default=None)

    def fire(self, at: int, name: str, run: NodeRun | None) -> None:
        self.world.now = now = max(self.world.now, at)
        if run is not None:
            del self.timers[run.key]
            self.feed(wait.woken(self.state, run, now))
        elif name == "deadline":
            self.deadline_at = None
            self.feed(stop.deadline_passed(self.state, now))
        else:
            self.cleanup_at = None
            self.feed(stop.cleanup_ended(self.state, now))

    def expire(self, key: Key) -> None:
        self.world.ledger.decide(key, self.expiring.pop(key), "expired")
        self.feed(())

    def answered(self, key: Key, number: int, outcome: str) -> None:
        state, now = self.state, self.world.now
        run = state.nodes[key[0]].runs.get(key[1])
        if run is None:
            self.feed(())
            return
        verdict = Verdict(failure=Failure(code="node_failed", message="no", retryable=outcome != "fatal"))
        if outcome == "ok":
            verdict = Verdict(output=self.world.value(state, run))
        elif outcome == "expired":
            verdict = Verdict(failure=Failure(code="timeout", message="nobody came"), expired=True)
        self.feed(wait.decided(state, run, verdict, now, attempt=number, jitter=0.5))

    def receive(self, number: int, kind: str, data: object) -> None:
        self.received.add(number)
        self.consumed.append(number)
        state, now = self.state, self.world.now
        if kind == "cancel":
            self.feed(stop.cancelled(state, now, reason="asked", force=bool(data)))
            return
        if kind in ("paused", "unpaused"):
            if kind == "paused":
                pause.paused(state)
            self.feed(pause.resumed(state) if kind == "unpaused" else ())
            return
        assert isinstance(data, tuple)
        if kind == "answered":
            self.answered(*data)
            return
        child, status, failure = data
        run = next((run for run in state.waiting.values() if run.child == child), None)
        if run is None:
            self.feed(())
            return
        output = self.world.value(state, run) if status is ExecutionStatus.COMPLETED else None
        self.feed(wait.child_ended(state, run, status, now, output=output, failure=failure, jitter=0.5))

    # Recording

    def drain(self) -> None:
        self.committing, self.held = self.held, []
        wake_at = wait.next_wake(self.state) if self.state.status is ExecutionStatus.SUSPENDED else None
        self.batch = batch_of(self.state, release=self.releasing, wake_at=wake_at)
        self.batch.children, self.children = self.children, []
        self.batch.cancelled_children, self.cancelled_children = self.cancelled_children, []
        self.batch.consumed, self.consumed = self.consumed, []

    def commit(self) -> None:
        batch, self.batch = self.batch, None
        assert batch is not None
        self.world.ledger.apply(batch)
        if batch.release:
            self.world.owner = None
            return
        effects, self.committing = self.committing, []
        followups: list[Effect] = []
        for effect in effects:
            followups += self.carry(effect)
        self.feed(followups)
