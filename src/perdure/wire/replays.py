"""Replays: how one is asked for, and what it takes over and runs."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from perdure.base.texts import END
from perdure.wire.scalars import FlowId, Id, IdempotencyKey, Json, VersionNumber

MOST_NODES = 1_000

NodeId = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}" + END, examples=["fetch"])]
Version = Literal["same", "latest"] | VersionNumber
Outputs = Annotated[dict[NodeId, Json], Meta(max_length=MOST_NODES)]


class RetryExecution(Struct, kw_only=True, forbid_unknown_fields=True):
    """What `POST /executions/{id}/retry` takes: a replay from what failed. `input` left out is the original's."""

    input: Json | UnsetType = UNSET
    outputs: Outputs = field(default_factory=dict)
    version: Version = "same"
    dry_run: bool = False
    idempotency_key: IdempotencyKey | None = None


class ReplayExecution(Struct, kw_only=True, forbid_unknown_fields=True, rename={"begin": "from"}):
    """What `POST /executions/{id}/replay` takes.

    `from` names the nodes to begin with, or is `failed`; null begins at the start, or behind the nodes of `outputs`
    where there are some. `input` left out is the original's. `outputs` are results to go on with in the place of
    recorded ones. `reuse` says whether all that does not depend on what runs is taken over, or only the ancestors of
    where it begins.
    """

    begin: Annotated[list[NodeId], Meta(min_length=1, max_length=MOST_NODES)] | Literal["failed"] | None = None
    input: Json | UnsetType = UNSET
    outputs: Outputs = field(default_factory=dict)
    version: Version = "same"
    reuse: Literal["independent", "ancestors"] = "independent"
    dry_run: bool = False
    idempotency_key: IdempotencyKey | None = None


class AskedReplay(Struct, kw_only=True, rename={"begin": "from"}):
    """How a replay was asked for, but for its values: `edited` are the nodes whose outputs were."""

    begin: list[str] | str | None
    reuse: str
    input_edited: bool
    edited: list[str]


class PlannedNode(Struct, kw_only=True):
    """What a replay does with a node.

    `reason` of a reuse is recorded or edited; of a run from_start, asked, failed, not_finished, undone, new_node,
    definition_changed, input_edited, not_an_ancestor, or depends: on the nodes of `because`, which run or were edited.
    `reused_runs` counts the runs that are taken over: of a foreach that runs, these items keep their results. A `flow` node
    that failed or had not finished goes on in its child: that one is a replay, too, of the child that it had.
    """

    node: str
    type: str
    action: Literal["reuse", "run"]
    reason: Annotated[str, Meta(title="ReplayReason")]
    because: list[str]
    reused_runs: int


class ReplayPlan(Struct, kw_only=True):
    """What a replay would do, node by node, in an order in which each stands behind what it needs."""

    execution: Id
    flow: FlowId
    flow_version: int
    reused: int
    run: int
    nodes: list[PlannedNode]
