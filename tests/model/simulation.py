"""The life of one execution without an engine: decisions, commits, crashes, and chance.

A `World` offers at every moment what could happen next; who drives it picks. `World.settle` goes on, without further
trouble, until the end.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from random import Random

from perdure.model.answer import ASK
from perdure.model.decide import lifecycle
from perdure.model.execution import ExecutionState, NodeRun
from perdure.model.states import ExecutionStatus
from tests.model.ledger import Ledger
from tests.model.ownership import Action, Owner
from tests.model.promises import Watcher
from tests.model.scenario import Scenario


class World:
    """One execution, its ledger, and the owner that drives it, if there is one now."""

    def __init__(self, scenario: Scenario, *, taken: Sequence[NodeRun] = (), whole: Collection[str] = ()) -> None:
        """With `taken` it is a replay that begins with these runs; `whole` names each foreach of which they are all."""
        self.scenario = scenario
        self.whole = whole
        self.now = 1
        self.ledger = Ledger()
        self.watcher = Watcher(self.ledger, scenario)
        self.trail: list[str] = []
        self.ended_state: ExecutionState | None = None
        self.owner: Owner | None = Owner(self)
        if taken:
            self.ledger.take_over(taken)
            runs = self.ledger.load()
            self.owner.feed(lifecycle.resumed(self.owner.state, runs, self.now, whole=whole))
        else:
            self.owner.feed(lifecycle.begun(self.owner.state, self.now))

    @property
    def ended(self) -> bool:
        return self.ledger.ended

    def actions(self) -> list[Action]:
        """What can happen next, but for trouble."""
        found = self.owner.actions() if self.owner is not None else []
        for child, status in self.ledger.children.items():
            if status == "running" and not self.late(child):
                found.append((f"end {child!r}", lambda child=child: self.end_child(child)))  # type: ignore[misc]
            elif status == "cancelling":
                found.append((f"end {child!r}", lambda child=child: self.end_child(child)))  # type: ignore[misc]
                found.append((f"stop {child!r}", lambda child=child: self.ledger.end_child(child, "cancelled")))  # type: ignore[misc]
        if self.ledger.paused:
            found.append(("unpause", lambda: self.pause(False)))
        for key, (kind, _) in self.ledger.waits.items():
            row = self.ledger.rows[key]
            outcome = self.scenario.outcome(row)
            if kind == ASK and outcome != "late" and (key, row.attempt) not in self.ledger.decided:
                answer = (key, row.attempt, outcome)
                found.append((f"answer {key}", lambda answer=answer: self.ledger.decide(*answer)))  # type: ignore[misc]
        if self.owner is None and not self.ended:
            due = [at for at in (self.ledger.wake_at, self.scenario.deadline_at) if at is not None]
            if self.ledger.inbox or self.ledger.status is not ExecutionStatus.SUSPENDED:
                found.append(("claim", self.claim))
            elif due:
                found.append(("claim when due", lambda: self.claim(min(due))))
        return found

    def do(self, action: Action) -> None:
        """Let it happen; time goes on a little."""
        self.trail.append(action[0])
        self.now += 1
        owner = self.owner
        action[1]()
        if owner is not None and owner.state.ended:
            self.ended_state = owner.state

    def step(self, rng: Random) -> bool:
        actions = self.actions()
        if not actions:
            assert self.ended, f"nothing can happen, and it has not ended: {self.owner and vars(self.owner)}"
            return False
        self.do(rng.choice(actions))
        return True

    def settle(self, rng: Random, limit: int = 3_000) -> None:
        """Go on until the end; what is started must be ended by then."""
        for _ in range(limit):
            if not self.step(rng):
                return
        raise AssertionError("it does not come to an end")

    # Trouble

    def crash(self, *, committed: bool) -> None:
        """The owner's process dies; a batch on its way was `committed` or not."""
        self.trail.append(f"crash {committed}")
        owner, self.owner = self.owner, None
        assert owner is not None
        if owner.batch is not None and committed:
            self.ledger.apply(owner.batch)
        if not self.ended and self.ledger.status is ExecutionStatus.RUNNING:
            self.ledger.status = ExecutionStatus.INTERRUPTED

    def cancel(self, *, force: bool) -> None:
        self.trail.append(f"cancel {force}")
        self.ledger.send("cancel", force)

    def pause(self, on: bool = True) -> None:
        """Somebody pauses it, or resumes it: the row says so at once, the owner hears of it."""
        self.ledger.paused = on
        if self.owner is not None or not on:
            self.ledger.send("paused" if on else "unpaused", None)

    def claim(self, at: int = 0) -> None:
        self.now = max(self.now, at)
        if self.ledger.status is not ExecutionStatus.CANCELLING:
            self.ledger.status = ExecutionStatus.RUNNING
        self.ledger.owned, self.ledger.wake_at = True, None
        owner = self.owner = Owner(self)
        owner.state.paused = self.ledger.paused
        self.watcher.claimed()
        runs, deadline_at = self.ledger.load(), self.scenario.deadline_at
        owner.feed(lifecycle.resumed(owner.state, runs, self.now, deadline_at=deadline_at, whole=self.whole))

    # What attempts come to

    def late(self, child: bytes) -> bool:
        """A child that never ends: its parent's timeout is what is tested. A unit has a timeout of its own."""
        if child in self.ledger.units:
            return False
        run = next((row for row in self.ledger.rows.values() if f"{row.key} {row.attempt}".encode() == child), None)
        return run is not None and self.scenario.outcome(run) == "late"

    def end_child(self, child: bytes) -> None:
        run = next(row for row in self.ledger.rows.values() if f"{row.key} {row.attempt}".encode() == child)
        if child in self.ledger.units:
            self.ledger.end_child(child, *self.scenario.unit_end(run))
            return
        self.ledger.end_child(child, "completed" if self.scenario.outcome(run) == "ok" else "failed")

    def value(self, state: ExecutionState, run: NodeRun) -> object:
        """An output that tells what it was made from."""
        needs = state.nodes[run.node].spec.needs
        return [run.node, run.ordinal, *(state.nodes[need].output for need in needs)]

    def output(self, state: ExecutionState) -> object:
        return {name: (str(node.outcome), node.output) for name, node in state.nodes.items()}
