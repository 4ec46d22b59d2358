"""One execution as a fixture."""

from __future__ import annotations

from typing import Any

import msgspec

from perdure.api.answer import Answer
from perdure.api.call import Call
from perdure.api.resources.lookup import ANSWER_BYTES, find_whole, value_size, value_text
from perdure.api.route import API, NoQuery, Outcome, Route
from perdure.api.shapes import raw_json, time_text
from perdure.auth.roles import Role
from perdure.base.ids import id_text
from perdure.engine.node_runs import every_run
from perdure.errors import ExecutionNotEnded, ExecutionNotFound, FlowVersionNotFound, LimitExceeded
from perdure.model.states import TERMINAL, NodeStatus
from perdure.store.records import ExecutionRecord, NodeRunRecord
from perdure.wire.executions import Trigger
from perdure.wire.failure import Failure
from perdure.wire.fixtures import FORMAT, Fixture, FixtureExecution, FixtureRun


async def get_fixture(call: Call[NoQuery, None]) -> Answer:
    """Definition, input, and every node's result."""
    record, payload = await find_whole(call)
    if record.status not in TERMINAL:
        message = f"execution {id_text(record.id)} is {record.status}; only one that has ended makes a fixture"
        raise ExecutionNotEnded(message, id=id_text(record.id), status=str(record.status))
    version = await call.services.engine.store.flows.version(call.workspace, record.flow, record.flow_version)
    if version is None:
        # A history that was made, or brought from elsewhere, may lack its flows.
        message = f"flow {record.flow} has no version {record.flow_version} here: a fixture holds its definition"
        raise FlowVersionNotFound(message, flow=record.flow, version=record.flow_version)
    fixture = Fixture(
        format=FORMAT,
        execution=FixtureExecution(
            id=id_text(record.id),
            flow=record.flow,
            flow_version=record.flow_version,
            status=record.status,
            tags=record.tags,
            trigger=Trigger(kind=record.trigger_kind, id=record.trigger_id, context=record.trigger_context),
            created_at=time_text(record.created_at),
        ),
        definition=raw_json(version.document),
        input=raw_json(await value_text(call, payload.input)),
        output=raw_json(await value_text(call, payload.output)),
        error=None if payload.error is None else msgspec.convert(payload.error, Failure),
        runs=await _runs(call, record),
    )
    name = f"{record.flow.replace('/', '-')}-{record.number}.json"
    return Answer(body=fixture, headers=[(b"content-disposition", f'attachment; filename="{name}"'.encode())])


async def _runs(call: Call[Any, Any], record: ExecutionRecord) -> list[FixtureRun]:
    """Raises LimitExceeded when their values are more than one answer may hold."""
    node_runs = call.services.engine.store.node_runs
    found: list[FixtureRun] = []
    size = 0
    async for run in every_run(node_runs, call.workspace, record.id):
        size += value_size(run.input) + value_size(run.output)
        if size > ANSWER_BYTES:
            limit = ANSWER_BYTES // (1024 * 1024)
            raise LimitExceeded(f"the values of its node runs have over {limit} MiB, more than a fixture may hold")
        found.append(await _run(call, run))
    return found


async def _run(call: Call[Any, Any], run: NodeRunRecord) -> FixtureRun:
    return FixtureRun(
        node=run.node,
        ordinal=run.ordinal,
        label=run.label,
        type=run.type,
        status=run.status,
        attempt=run.attempt,
        input=raw_json(await value_text(call, run.input)),
        output=raw_json(await value_text(call, run.output)),
        error=None if run.error is None else msgspec.convert(run.error, Failure),
        edited=_is_edited(run),
    )


def _is_edited(run: NodeRunRecord) -> bool:
    """Whether the result was given and not made. A foreach over nothing, taken over, has never begun either."""
    was_given = run.status is NodeStatus.COMPLETED and run.started_at is None and run.reused_from is not None
    return was_given and (run.attempt > 0 or run.output is not None)


ROUTES = (
    Route(
        method="GET",
        path=f"{API}/executions/{{execution}}/fixture",
        summary="An ended execution as a test fixture",
        description=(
            "Definition, input, and every node's result, answers to waits among them: `perdure run --fixture` runs the flow "
            "again from it without the side effects of its nodes."
        ),
        tag="executions",
        handler=get_fixture,
        role=Role.VIEWER,
        outcomes=(Outcome(type=Fixture, headers=("Content-Disposition",)),),
        errors=(ExecutionNotFound, FlowVersionNotFound, ExecutionNotEnded, LimitExceeded),
    ),
)
