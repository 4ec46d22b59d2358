"""Two executions compared."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from perdure.wire.executions import ExecutionSummary
from perdure.wire.failure import Failure
from perdure.wire.scalars import Json, NodeStatus


class Difference(Struct, kw_only=True):
    """One place (a JSON pointer) in which two values differ. A long value is given as the beginning of its JSON text;
    `cut` says so."""

    pointer: str
    change: Literal["added", "removed", "changed"]
    before: Json
    after: Json
    cut: bool


class Differences(Struct, kw_only=True):
    """`more` says that there are places which are not told."""

    data: list[Difference]
    more: bool


class NodeSide(Struct, kw_only=True):
    """A node in one of the executions. `duration_ms` is what its runs took, added up; `error` its first failure."""

    status: NodeStatus | None
    runs: int
    by_status: dict[str, int]
    attempts: int
    duration_ms: float | None
    error: Failure | None


class NodeDifference(Struct, kw_only=True):
    """A node in both. `change` sums it up: the definitions, the statuses and the outputs, not the durations.

    `differing_runs` counts runs with another status, output or error, items matched by their key where they have one;
    pointers of a foreach's output begin with the item's place.
    """

    node: str
    type: str
    change: Literal["same", "changed", "added", "removed"]
    definition_changed: bool
    before: NodeSide | None
    after: NodeSide | None
    differing_runs: int
    output: Differences


class ExecutionSide(Struct, kw_only=True):
    execution: ExecutionSummary
    error: Failure | None


class ExecutionDiff(Struct, kw_only=True):
    """`after` is the execution that was asked about, `before` the one that it is compared with; the nodes stand in the
    order of the graph, those that are no more behind the others."""

    before: ExecutionSide
    after: ExecutionSide
    input: Differences
    output: Differences
    nodes: list[NodeDifference]
