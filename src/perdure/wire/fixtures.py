"""Fixtures: one ended execution as a file, from which its flow can be run again without side effects."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from perdure.wire.executions import Trigger
from perdure.wire.failure import Failure
from perdure.wire.scalars import ExecutionStatus, FlowId, Id, Json, NodeStatus, Time

FORMAT: Literal["perdure.fixture/1"] = "perdure.fixture/1"


class FixtureExecution(Struct, kw_only=True):
    """Where the fixture is from."""

    id: Id
    flow: FlowId
    flow_version: int
    status: ExecutionStatus
    tags: dict[str, str]
    trigger: Trigger
    created_at: Time


class FixtureRun(Struct, kw_only=True):
    """What a node was called with and what came of it; the answer to a wait is the output of its node.

    `edited`: a replay was given its output, that of a foreach as a list in one run; nothing ran.
    """

    node: str
    ordinal: int = 0
    label: str = ""
    type: str
    status: NodeStatus
    attempt: int = 1
    input: Json = None
    output: Json = None
    error: Failure | None = None
    edited: bool = False


class Fixture(Struct, kw_only=True):
    """`definition` is the flow's normalised document; secrets are masked wherever they were recorded."""

    format: Literal["perdure.fixture/1"]
    execution: FixtureExecution
    definition: Json
    input: Json
    output: Json = None
    error: Failure | None = None
    runs: list[FixtureRun]
