"""What an ended execution left behind, as far as its replays are concerned: rows of node runs without their values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from perdure.model.definition import Node, OnItemError
from perdure.model.execution import COMPENSATE
from perdure.model.states import NodeStatus

BAD = frozenset({NodeStatus.FAILED, NodeStatus.TIMED_OUT, NodeStatus.CANCELLED, NodeStatus.ORPHANED})


class RecordedRun(NamedTuple):
    """A row of the original, without its values. `reused_from` is where the original had it from, if it did."""

    node: str
    ordinal: int
    label: str
    status: NodeStatus
    attempt: int
    has_error: bool = False
    reused_from: bytes | None = None


class Recorded:
    """What an execution left behind, by node. Compensations say which runs do not stand any more."""

    def __init__(self, runs: Iterable[RecordedRun], *, completed: bool, settled: bool) -> None:
        self.completed = completed
        """Whether the execution did."""
        self.settled = settled
        """Whether every node had come to its outcome: it completed, or failed by the rules of its graph."""
        self.runs: dict[str, list[RecordedRun]] = {}
        self._undone: set[tuple[str, int]] = set()
        self._outcomes: dict[str, NodeStatus | None] = {}
        """Of one flow's nodes: those of the replay's version."""
        for run in runs:
            if run.label != COMPENSATE:
                self.runs.setdefault(run.node, []).append(run)
            elif run.status is not NodeStatus.SKIPPED:
                self._undone.add((run.node, run.ordinal))
        for found in self.runs.values():
            found.sort(key=lambda run: run.ordinal)

    def stands(self, run: RecordedRun) -> bool:
        """Whether its result may be built on: it completed, and nothing has begun to undo it."""
        return run.status is NodeStatus.COMPLETED and (run.node, run.ordinal) not in self._undone

    def is_undone(self, node: str) -> bool:
        return any((run.node, run.ordinal) in self._undone for run in self.runs.get(node, ()))

    def outcome(self, spec: Node) -> NodeStatus | None:
        """The node's, as far as its rows tell: None when it has none, or has not ended."""
        if spec.id not in self._outcomes:
            self._outcomes[spec.id] = self._outcome(spec)
        return self._outcomes[spec.id]

    def _outcome(self, spec: Node) -> NodeStatus | None:
        runs = self.runs.get(spec.id)
        if not runs or any(run.status not in BAD | {NodeStatus.COMPLETED, NodeStatus.SKIPPED} for run in runs):
            return None
        if any(run.status is NodeStatus.SKIPPED for run in runs):
            # One that was left out while cleaning up was not decided: it says so by an error.
            return None if any(run.has_error for run in runs) else NodeStatus.SKIPPED
        bad = [run for run in runs if run.status in BAD]
        if any(run.status is NodeStatus.CANCELLED for run in bad):
            return NodeStatus.CANCELLED
        # What failed without an attempt is no item: its foreach could not be told.
        if not bad or (_is_tolerant(spec) and all(run.attempt for run in bad)):
            return NodeStatus.COMPLETED
        return NodeStatus.FAILED


def _is_tolerant(spec: Node) -> bool:
    return spec.foreach is not None and spec.on_item_error is OnItemError.NULL
