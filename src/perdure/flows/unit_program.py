"""What a unit runs: one call, which its execution has rendered."""

from __future__ import annotations

from typing import Any

import msgspec

from perdure.base.codec import Json
from perdure.flows.program import ExpressionFailed, Origin, Program, Rendered, Scope
from perdure.flows.sealing import Hole, Seal, missing, unsealed
from perdure.flows.templates import fresh
from perdure.model.execution import COMPENSATE
from perdure.model.failure import Failure
from perdure.model.unit import unit_flow


class UnitWork(msgspec.Struct, frozen=True, kw_only=True, rename={"with_": "with"}):
    """A unit's input: the node run that it is, the number of the execution that this belongs to, and its call."""

    node: str
    ordinal: int
    label: str
    execution_number: int
    config: Json
    with_: dict[str, Json]
    env: dict[str, Json]
    holes: list[Hole] = []
    """Where secrets belong, below `config`, `with` and `env`."""


def sealed(rendered: Rendered, seal: Seal) -> tuple[Rendered, list[Hole]]:
    """The call without the values of its secrets, for `UnitWork`."""
    parts: dict[str, Any] = {"config": rendered.config, "with": rendered.with_, "env": rendered.env}
    parts, holes = seal.seal(parts)
    return Rendered(parts["config"], parts["with"], parts["env"]), holes


class UnitProgram:
    """The flow version as a unit sees it: `perdure.model.unit.unit_flow`, its call rendered before. A `Runnable`."""

    def __init__(self, program: Program, work: UnitWork) -> None:
        self.work = work
        self.origin: Origin | None = Origin(
            execution_number=work.execution_number, ordinal=work.ordinal, label=work.label
        )
        self.flow = unit_flow(program.flow, work.node, compensates=work.label == COMPENSATE)

    def references(self, node_id: str) -> frozenset[str]:
        return frozenset()

    def output_references(self) -> frozenset[str]:
        return frozenset((self.work.node,))

    def secrets(self, node_id: str, *, compensates: bool) -> frozenset[str]:
        return frozenset()

    def when(self, node_id: str, scope: Scope) -> bool:
        return True

    def items(self, node_id: str, scope: Scope) -> list[Json]:
        return []

    def label(self, node_id: str, scope: Scope) -> str:
        return ""

    def call(self, node_id: str, scope: Scope) -> Rendered:
        """The call with its secrets. Raises ExpressionFailed where one of them is not known here."""
        work = self.work
        unknown = next(missing(work.holes, scope.secrets), None)
        if unknown is not None:
            message = f"there is no secret {unknown!r} on the worker that runs this unit"
            raise ExpressionFailed(Failure(code="expression_error", message=message, node=node_id, retryable=False))
        parts = fresh({"config": work.config, "with": work.with_, "env": work.env})
        parts = unsealed(parts, work.holes, scope.secrets)
        return Rendered(parts["config"], parts["with"], parts["env"])

    def compensation(self, node_id: str, scope: Scope) -> Rendered:
        return self.call(node_id, scope)

    def output(self, scope: Scope) -> Json:
        """What the node returned."""
        return scope.nodes[self.work.node]["output"]
