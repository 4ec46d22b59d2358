"""An execution in its owner's memory: what the decisions read and change.

Nothing here does I/O or asks a clock. The functions in `perdure.model.decide` change a state in
place, leave what has to be written in `Changes`, and return effects for the engine to carry out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

from perdure.model.definition import Flow, Node, OnItemError, RunIf
from perdure.model.event import Event
from perdure.model.failure import Failure
from perdure.model.states import NODE_TERMINAL, TERMINAL, ExecutionStatus, NodeStatus

COMPENSATE = "compensate"
"""Label of the node runs that undo."""
UNIT = "unit"
"""The kind of wait of a run whose work is done by a unit."""
PAUSED = "paused"
"""The reason of an execution that is suspended because somebody paused it."""

Key = tuple[str, int, str]
"""(node, ordinal, label) of a node run."""


class Mode(Enum):
    """What an owner is about: running the graph, or winding down to a terminal state."""

    FORWARD = "forward"
    FAILING = "failing"
    CANCELLING = "cancelling"
    TIMING_OUT = "timing_out"


class NodeRun:
    """The life of a node in this execution, one for each item of a foreach.

    `attempt` is 0 until the first one begins.
    """

    __slots__ = (
        "attempt",
        "child",
        "compensates",
        "error",
        "finished_at",
        "input_value",
        "interruptions",
        "key",
        "label",
        "node",
        "ordinal",
        "output",
        "output_value",
        "retry_at",
        "reused_from",
        "started_at",
        "status",
        "terms",
        "type",
        "wait",
        "wake_at",
    )

    def __init__(self, node: str, type_: str, *, ordinal: int = 0, label: str = "") -> None:
        self.node = node
        self.type = type_
        self.ordinal = ordinal
        self.label = label
        self.key: Key = (node, ordinal, label)
        self.compensates = label == COMPENSATE
        self.status: NodeStatus | None = None
        self.attempt = 0
        self.output: Any = None
        self.input_value: Any = None
        self.output_value: Any = None
        """Input and output as the store keeps them; opaque here."""
        self.error: Failure | None = None
        self.started_at: int | None = None
        """When its first attempt began; one that begins anew after an interruption, when it did so last."""
        self.finished_at: int | None = None
        self.retry_at: int | None = None
        self.wake_at: int | None = None
        self.wait: str | None = None
        self.terms: dict[str, Any] | None = None
        """What goes beside the wait into its row when it opens (`perdure.model.answer.Terms`)."""
        self.child: bytes | None = None
        self.reused_from: bytes | None = None
        self.interruptions = 0

    @property
    def ended(self) -> bool:
        return self.status in NODE_TERMINAL

    @property
    def elsewhere(self) -> bool:
        """A unit does its work: its attempt is in flight there, or about to be."""
        return self.wait == UNIT

    @property
    def itemless(self) -> bool:
        """It stands for the whole of a foreach, over nothing or with an edited output: complete without an attempt."""
        return self.status is NodeStatus.COMPLETED and self.attempt == 0

    @property
    def due_at(self) -> int | None:
        """When its timer fires: of the next attempt, or of its wait."""
        return self.retry_at if self.retry_at is not None else self.wake_at

    def __repr__(self) -> str:
        label = f":{self.label}" if self.label else ""
        return f"NodeRun({self.node}#{self.ordinal}{label} {self.status} attempt {self.attempt})"


class NodeState:
    """A vertex of the graph in this execution.

    `outcome` is None until the vertex is done; then completed, skipped, failed, cancelled or timed_out. `blocked`
    says that it was skipped because of a failure before it.
    """

    __slots__ = (
        "always",
        "blocked",
        "cancelled_runs",
        "error",
        "failed_runs",
        "index",
        "items",
        "labels",
        "missing",
        "outcome",
        "output",
        "refused",
        "repeated",
        "runs",
        "spec",
        "tolerant",
        "unbegun",
        "unfinished",
    )

    def __init__(self, spec: Node, index: int) -> None:
        self.spec = spec
        self.index = index
        """Its place in the flow."""
        self.always = spec.run_if is RunIf.ALWAYS
        self.repeated = spec.foreach is not None
        self.tolerant = self.repeated and spec.on_item_error is OnItemError.NULL
        self.runs: dict[int, NodeRun] = {}
        self.items: int | None = None
        """How many items a foreach has, once that is known."""
        self.labels: Sequence[str] | None = None
        self.unbegun: Iterator[int] = iter(())
        """Ordinals that are still to begin."""
        self.unfinished = 0
        """Runs begun and not ended."""
        self.failed_runs = 0
        """Runs that ended badly by themselves."""
        self.cancelled_runs = 0
        self.missing = len(spec.needs)
        """Needs that are not done yet."""
        self.outcome: NodeStatus | None = None
        self.blocked = False
        self.refused = False
        """It failed without an attempt; what an earlier owner had begun of it still ends."""
        self.output: Any = None
        self.error: Failure | None = None
        """The failure that ended it: the first failed run's."""


class Changes:
    """What an owner has decided since the last commit."""

    __slots__ = ("events", "node_runs", "result", "waits_closed", "waits_opened")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.node_runs: dict[Key, NodeRun] = {}
        self.waits_opened: dict[Key, NodeRun] = {}
        self.waits_closed: list[Key] = []
        """These are closed before the others are opened."""
        self.result = False
        """Something was decided whose consequences have to wait for the commit."""

    def __bool__(self) -> bool:
        return bool(self.events or self.node_runs)


class ExecutionState:
    """One execution as its owner sees it; `changes` holds what is not yet handed to the recorder."""

    __slots__ = (
        "beginning",
        "changes",
        "cleaning",
        "cleanup_over",
        "compensations",
        "completed",
        "error",
        "failures",
        "flow",
        "forced",
        "held",
        "limited",
        "lingers_until",
        "mode",
        "node_run_count",
        "nodes",
        "output",
        "paused",
        "preparing",
        "reason",
        "running",
        "status",
        "stranded",
        "timers",
        "undone",
        "waiting",
        "withheld",
    )

    def __init__(self, flow: Flow, *, status: ExecutionStatus, reason: str | None = None) -> None:
        self.flow = flow
        self.nodes = {node_id: NodeState(spec, index) for index, (node_id, spec) in enumerate(flow.nodes.items())}
        self.status = status
        self.reason = reason
        """Why it is cancelled, in the words of who asked; `paused` while it is suspended for that."""
        self.mode = Mode.FORWARD
        self.undone = len(self.nodes)
        """Vertices without an outcome."""
        self.preparing: dict[str, None] = {}
        """Vertices whose `Prepare` is not answered yet."""
        self.beginning: dict[Key, NodeRun] = {}
        """Runs whose `RunAttempt` is not carried out yet."""
        self.running: dict[Key, NodeRun] = {}
        """Attempts in flight."""
        self.waiting: dict[Key, NodeRun] = {}
        """Runs suspended or retrying."""
        self.stranded: dict[Key, NodeRun] = {}
        """Runs whose next attempt waits until this owner knows again what they follow from."""
        self.timers: list[tuple[int, Key, NodeRun]] = []
        """A heap of (due_at, key, run); entries of runs that wait no more are passed over."""
        self.completed: list[NodeRun] = []
        """Completed runs that something would undo and nothing has, in the order of their completion."""
        self.compensations: dict[tuple[str, int], NodeRun] = {}
        """By (node, ordinal) of the run that they undo. With one, the execution cannot complete any more."""
        self.held: list[NodeState] = []
        """`run_if: always` vertices that are ready and wait until everything else has stopped."""
        self.node_run_count = 0
        self.output: Any = None
        self.error: Failure | None = None
        self.failures: list[NodeRun] = []
        """Runs that ended badly and count against the execution."""
        self.forced = False
        self.cleaning = False
        """Everything has stopped and is undone: `run_if: always` vertices run as soon as they are ready."""
        self.limited = False
        """The time for winding down is already bounded."""
        self.cleanup_over = False
        self.lingers_until = 0
        """More messages of its children are to be expected soon: until then it does not rest."""
        self.paused = False
        """Nothing new is begun until somebody resumes it."""
        self.withheld: list[Any] = []
        """The effects that would have begun something meanwhile."""
        self.changes = Changes()

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL

    @property
    def stopping(self) -> bool:
        return self.mode is not Mode.FORWARD

    def busy(self) -> bool:
        """Whether a fact is still to come from something that was begun."""
        return bool(self.running or self.waiting or self.preparing or self.beginning)

    @property
    def curtailed(self) -> bool:
        """Whether nothing is cleaned up any more."""
        return self.forced or self.cleanup_over

    def take_changes(self) -> Changes:
        changes, self.changes = self.changes, Changes()
        return changes

    def tell(self, type_: str, at: int, run: NodeRun | None = None, data: dict[str, Any] | None = None) -> None:
        """Add an event."""
        if run is None:
            self.changes.events.append(Event(type_, at, None, None, None, data))
        else:
            if run.label:
                data = {**(data or {}), "label": run.label}
            self.changes.events.append(Event(type_, at, run.node, run.ordinal, run.attempt, data))

    def touch(self, run: NodeRun) -> None:
        """The run's row has to be written."""
        self.changes.node_runs[run.key] = run
