"""How far an execution is, folded from its events; pure, so that every view tells the same."""

from __future__ import annotations

from collections import Counter, deque

import msgspec

from perdure.base.clock import SECOND, from_rfc3339
from perdure.model.event import EventType
from perdure.model.execution import COMPENSATE
from perdure.model.states import NODE_TERMINAL, TERMINAL, ExecutionStatus, NodeStatus
from perdure.wire.events import Event
from perdure.wire.nodes import GraphNode

RECENT_LINES = 6
_NODE = "node."
_EXECUTION = "execution."
_SAME_AS = {"created": ExecutionStatus.QUEUED, "started": ExecutionStatus.RUNNING, "resumed": ExecutionStatus.RUNNING,
            "recovered": ExecutionStatus.RUNNING}  # fmt: skip
"""What an event `execution.<word>` makes of the status where the word is no status itself."""
_BAD_FIRST = (
    NodeStatus.FAILED, NodeStatus.TIMED_OUT, NodeStatus.ORPHANED, NodeStatus.CANCELLED, NodeStatus.COMPLETED,
    NodeStatus.SKIPPED,
)  # fmt: skip


class NodeProgress(msgspec.Struct):
    """One node: its runs by status. `items` is how many runs there will be, once that is known."""

    id: str
    is_foreach: bool
    items: int | None = None
    runs: dict[tuple[int, str], str] = {}
    attempts: int = 0
    """The highest attempt of any run."""
    started_at: int | None = None
    finished_at: int | None = None
    message: str = ""
    """What went wrong last."""

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.runs.values())

    @property
    def ended(self) -> int:
        """How many runs are over."""
        return sum(count for status, count in self.counts.items() if status in NODE_TERMINAL)

    @property
    def status(self) -> str:
        """The one that tells most: what still goes on, else the worst end; `waiting` before the first run."""
        counts = self.counts
        for status in (NodeStatus.RETRYING, NodeStatus.RUNNING, NodeStatus.SUSPENDED):
            if counts[status]:
                return status
        if self.runs and (self.items is None or len(self.runs) >= self.items):
            return next(status for status in _BAD_FIRST if counts[status])
        return NodeStatus.RUNNING if self.runs else "waiting"


class Progress:
    """An execution's nodes, in the order of its graph, its status, and its latest log lines."""

    def __init__(self, graph: list[GraphNode], *, status: str = ExecutionStatus.QUEUED) -> None:
        self.nodes = {node.id: NodeProgress(node.id, node.foreach, runs={}) for node in graph}
        self.status = status
        self.seq = 0
        self.started_at: int | None = None
        self.finished_at: int | None = None
        self.recoveries = 0
        self.lines: deque[Event] = deque(maxlen=RECENT_LINES)

    @property
    def foreach(self) -> frozenset[str]:
        """The nodes that run once for each item."""
        return frozenset(node.id for node in self.nodes.values() if node.is_foreach)

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL

    @property
    def share(self) -> float:
        """How much of the work that is known of is done, from 0 to 1."""
        if self.ended:
            return 1.0
        done = [node.ended / max(node.items or len(node.runs), 1) for node in self.nodes.values()]
        return sum(done) / max(len(done), 1)

    def add(self, event: Event) -> None:
        """Take one more event into account; they come in order."""
        self.seq = event.seq
        if event.type == EventType.LOG:
            self.lines.append(event)
        elif event.type.startswith(_NODE) and event.node is not None:
            self._add_node_event(event, event.node)
        elif event.type.startswith(_EXECUTION):
            self._add_execution_event(event)

    def _add_execution_event(self, event: Event) -> None:
        word = event.type.removeprefix(_EXECUTION)
        status = _SAME_AS.get(word, word)
        if status not in list(ExecutionStatus):
            return
        self.status = status
        at = from_rfc3339(event.at)
        if event.type == EventType.EXECUTION_STARTED:
            self.started_at = at
        elif event.type == EventType.EXECUTION_RECOVERED:
            self.recoveries += 1
        elif status in TERMINAL:
            self.finished_at = at

    def _add_node_event(self, event: Event, node_id: str) -> None:
        node = self.nodes.setdefault(node_id, NodeProgress(node_id, False, runs={}))
        data = event.data or {}
        node.items = data.get("items", node.items)
        word = event.type.removeprefix(_NODE)
        key = (event.ordinal or 0, COMPENSATE if data.get("label") == COMPENSATE else "")
        at = from_rfc3339(event.at)
        if event.type == EventType.NODE_STARTED:
            node.attempts = max(node.attempts, event.attempt or 1)
            node.started_at = at if node.started_at is None else node.started_at
            node.finished_at = None
            node.runs[key] = NodeStatus.RUNNING
            return
        if word not in list(NodeStatus):
            return
        node.runs[key] = NodeStatus(word)
        if "message" in data:
            node.message = str(data["message"])
        if word in NODE_TERMINAL:
            node.finished_at = at


def seconds_between(start: int | None, end: int | None, now: int) -> float | None:
    """Seconds from start to end, or to now; None before the start."""
    return None if start is None else max((now if end is None else end) - start, 0) / SECOND
