"""Between a node run that leaves its execution and the unit that makes its attempts."""

from __future__ import annotations

from msgspec import convert

from perdure.base.codec import Json
from perdure.base.ids import id_text, new_id
from perdure.engine.values import to_json
from perdure.flows.program import Program, Rendered, Runnable
from perdure.flows.sealing import Seal
from perdure.flows.unit_program import UnitProgram, UnitWork, sealed
from perdure.model.definition import Node
from perdure.model.execution import NodeRun
from perdure.model.states import ExecutionKind
from perdure.model.unit import unit_line
from perdure.store.records import ExecutionRecord, NewExecution, Value


def runnable(record: ExecutionRecord, program: Program, input_: Json) -> Runnable:
    """What an owner of this execution runs. Raises msgspec.ValidationError for a unit's input that is none."""
    if record.kind is ExecutionKind.FLOW:
        return program
    return UnitProgram(program, convert(input_, UnitWork))


def unit_work(record: ExecutionRecord, run: NodeRun, rendered: Rendered, seal: Seal) -> tuple[bytes, Json]:
    """A unit's input as JSON, and what of it is shown as the run's input. Raises ValueRefused.

    `rendered` holds the seal's markers in the place of secrets.
    """
    shown, holes = sealed(rendered, seal)
    work = UnitWork(
        node=run.node, ordinal=run.ordinal, label=run.label, execution_number=record.number,
        config=shown.config, with_=shown.with_, env=shown.env, holes=holes,
    )  # fmt: skip
    return to_json(work, f"what {run.node} is called with"), shown.with_ or shown.config


def new_unit(record: ExecutionRecord, run: NodeRun, spec: Node, *, work: Value, at: int) -> NewExecution:
    """The unit, not yet stored.

    It takes part in nothing that bounds or starts flows: neither limits nor rates, nor a deadline, as its execution
    cancels it when that ends.
    """
    return NewExecution(
        id=new_id(at),
        kind=ExecutionKind.UNIT,
        workspace=record.workspace,
        flow=record.flow,
        flow_version=record.flow_version,
        input=work,
        priority=record.priority,
        queue=unit_line(spec, line=record.queue),
        tags=record.tags,
        trigger_kind="flow",
        trigger_id=id_text(record.id),
        trigger_context={"node": run.node, "ordinal": run.ordinal, "label": run.label},
        parent=record.id,
        parent_node=run.node,
        parent_ordinal=run.ordinal,
        parent_label=run.label,
        parent_attempt=run.attempt,
        root=record.root,
        depth=record.depth + 1,
        max_recoveries=record.max_recoveries,
        created_at=at,
    )
