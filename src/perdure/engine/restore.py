"""Rows of node runs back into an owner's memory."""

from __future__ import annotations

from msgspec import convert

from perdure.engine.values import Values
from perdure.model.execution import NodeRun
from perdure.model.failure import Failure
from perdure.store.records import Claimed, NodeRunRecord


async def restore_runs(claimed: Claimed, values: Values) -> list[NodeRun]:
    """The node runs of a claimed execution, their outputs loaded, their waits attached."""
    waits = {(wait.node, wait.ordinal, wait.label): wait for wait in claimed.waits}
    runs = []
    for row in claimed.node_runs:
        run = restore_run(row)
        run.output = await values.load(row.output)
        wait = waits.get(run.key)
        if wait is not None:
            run.wait, run.child = wait.kind, wait.child
        runs.append(run)
    return runs


def restore_run(row: NodeRunRecord) -> NodeRun:
    run = NodeRun(row.node, row.type, ordinal=row.ordinal, label=row.label)
    run.status = row.status
    run.attempt = row.attempt
    run.input_value, run.output_value = row.input, row.output
    run.started_at, run.finished_at = row.started_at, row.finished_at
    run.retry_at, run.wake_at = row.retry_at, row.wake_at
    run.reused_from = row.reused_from
    run.interruptions = row.interruptions
    run.child = row.child
    if row.error is not None:
        run.error = convert(row.error, Failure)
    return run
