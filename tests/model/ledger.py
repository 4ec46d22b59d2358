"""What would be durable: the rows of one execution as of each commit, checked against the tables of transitions."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

from perdure.model.event import TERMINAL_TYPES, Event, EventType
from perdure.model.execution import UNIT, Changes, ExecutionState, Key, NodeRun
from perdure.model.failure import Failure
from perdure.model.states import (
    NODE_TERMINAL,
    NODE_TRANSITIONS,
    TERMINAL,
    ExecutionStatus,
    NodeStatus,
    may_become,
)

STATUS_TOLD = {
    EventType.NODE_STARTED: NodeStatus.RUNNING,
    EventType.NODE_RETRYING: NodeStatus.RETRYING,
    EventType.NODE_SUSPENDED: NodeStatus.SUSPENDED,
    EventType.NODE_COMPLETED: NodeStatus.COMPLETED,
    EventType.NODE_FAILED: NodeStatus.FAILED,
    EventType.NODE_SKIPPED: NodeStatus.SKIPPED,
    EventType.NODE_CANCELLED: NodeStatus.CANCELLED,
    EventType.NODE_TIMED_OUT: NodeStatus.TIMED_OUT,
    EventType.NODE_ORPHANED: NodeStatus.ORPHANED,
}


@dataclass
class Batch:
    """What one drain hands to the recorder: copies, as rows are."""

    status: ExecutionStatus
    reason: str | None
    rows: dict[Key, NodeRun]
    events: list[Event]
    opened: dict[Key, tuple[str, bytes | None]]
    closed: list[Key]
    release: bool
    wake_at: int | None
    children: list[bytes] = field(default_factory=list)
    cancelled_children: list[bytes] = field(default_factory=list)
    consumed: list[int] = field(default_factory=list)


def batch_of(state: ExecutionState, *, release: bool, wake_at: int | None) -> Batch:
    changes: Changes = state.take_changes()
    return Batch(
        status=state.status,
        reason=state.reason,
        rows={key: copy.copy(run) for key, run in changes.node_runs.items()},
        events=changes.events,
        opened={key: (run.wait or "", run.child) for key, run in changes.waits_opened.items()},
        closed=list(changes.waits_closed),
        release=release,
        wake_at=wake_at,
    )


class Ledger:
    def __init__(self) -> None:
        self.status = ExecutionStatus.RUNNING
        self.reason: str | None = None
        self.rows: dict[Key, NodeRun] = {}
        self.events: list[Event] = []
        self.told: dict[Key, NodeStatus] = {}
        self.waits: dict[Key, tuple[str, bytes | None]] = {}
        self.wake_at: int | None = None
        self.owned = True
        self.children: dict[bytes, str] = {}
        """Status of each child by its id: running, cancelling (units alone take their time for that), or how it ended."""
        self.units: set[bytes] = set()
        self.left_behind: list[bytes] = []
        """Units that had not ended when the execution did."""
        self.inbox: dict[int, tuple[str, object]] = {}
        self._letters = 0
        self.decided: dict[tuple[Key, int], str] = {}
        """What was decided of the wait of a run's attempt, once and for all."""
        self.paused = False
        self.forced = False
        """A forced cancellation is taken into account."""

    def take_over(self, runs: Sequence[NodeRun]) -> None:
        """What a replay begins with."""
        self.rows = {run.key: run for run in runs}
        self.told = {run.key: run.status for run in runs if run.status is not None}

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL

    def send(self, kind: str, data: object) -> None:
        self._letters += 1
        self.inbox[self._letters] = (kind, data)

    def apply(self, batch: Batch) -> None:
        """One commit: all of the batch."""
        assert not self.ended, f"a commit after the end: {batch}"
        assert batch.status is self.status or may_become(self.status, batch.status), (self.status, batch.status)
        self.status, self.reason = batch.status, batch.reason or self.reason
        for event in batch.events:
            self._tell(event)
        for key, row in batch.rows.items():
            self._put(key, row)
        for key in batch.closed:
            self.waits.pop(key, None)
        self.waits |= batch.opened
        for child in batch.children:
            self.children[child] = "running"
        self.units |= {child for kind, child in batch.opened.values() if kind == UNIT and child is not None}
        for child in batch.cancelled_children:
            if self.children.get(child) == "running":
                if child in self.units:
                    self.children[child] = "cancelling"
                else:
                    self.end_child(child, "cancelled")
        if self.ended:
            self.left_behind = [one for one in self.units if self.children[one] in ("running", "cancelling")]
        for letter in batch.consumed:
            kind, data = self.inbox.pop(letter)
            self.forced = self.forced or (kind == "cancel" and bool(data))
        if batch.release:
            self.owned, self.wake_at = False, batch.wake_at
        self._check()

    def decide(self, key: Key, number: int, outcome: str) -> None:
        """Somebody answers the wait of that attempt, or nobody did in time: the first one counts."""
        if key in self.waits and self.rows[key].attempt == number and (key, number) not in self.decided:
            self.decided[key, number] = outcome
            self.send("answered", (key, number, outcome))

    def end_child(self, child: bytes, status: str, failure: Failure | None = None) -> None:
        self.children[child] = status
        self.send("child_ended", (child, ExecutionStatus(status), failure))

    def load(self) -> list[NodeRun]:
        """The rows as a new owner gets them: what no column keeps is gone."""
        runs = []
        for key, row in self.rows.items():
            run = copy.copy(row)
            run.wait, run.child = self.waits.get(key, (None, None))
            runs.append(run)
        return sorted(runs, key=lambda run: run.key)

    def _tell(self, event: Event) -> None:
        assert not self.events or self.events[-1].type not in TERMINAL_TYPES, f"{event} after the end"
        self.events.append(event)
        if event.node is None or event.type not in STATUS_TOLD:
            return
        assert event.ordinal is not None
        key = (event.node, event.ordinal, (event.data or {}).get("label", ""))
        status = STATUS_TOLD[EventType(event.type)]
        before = self.told.get(key)
        assert status in NODE_TRANSITIONS[before], f"{key}: {before} → {status}"
        self.told[key] = status

    def _put(self, key: Key, row: NodeRun) -> None:
        old = self.rows.get(key)
        assert row.status is not None, row
        assert old is None or old.status not in NODE_TERMINAL, f"a second result of {old}: {row}"
        assert (row.finished_at is not None) == row.ended, row
        assert (row.status is NodeStatus.RETRYING) == (row.retry_at is not None), row
        if row.status is NodeStatus.RUNNING:
            assert row.attempt >= 1, row
        if row.status in (NodeStatus.FAILED, NodeStatus.CANCELLED, NodeStatus.TIMED_OUT, NodeStatus.ORPHANED):
            assert row.error is not None, row
        self.rows[key] = row

    def _check(self) -> None:
        assert {key: row.status for key, row in self.rows.items()} == self.told, "events and rows differ"
        for key in self.waits:
            assert self.rows[key].status is NodeStatus.SUSPENDED, f"a wait of {self.rows[key]}"
        for key, row in self.rows.items():
            assert (row.status is NodeStatus.SUSPENDED) == (key in self.waits), f"{row} waits for nothing"
        if self.ended:
            assert all(row.ended for row in self.rows.values()), [row for row in self.rows.values() if not row.ended]
            assert self.events[-1].type == f"execution.{self.status}"
        else:
            assert not self.events or self.events[-1].type not in TERMINAL_TYPES
