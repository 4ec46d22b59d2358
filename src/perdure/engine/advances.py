"""From an owner's decisions to the rows that the recorder writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from perdure.engine.shop import Shop
from perdure.model.decide.wait import next_wake
from perdure.model.event import EventType
from perdure.model.execution import ExecutionState, NodeRun
from perdure.model.states import TERMINAL, ExecutionStatus, NodeStatus
from perdure.store.records import (
    Advance,
    ArtifactRecord,
    ExecutionRecord,
    NewExecution,
    NodeRunRecord,
    Value,
    WaitRecord,
)


class Writer(Protocol):
    """The outbox, as far as its advances are concerned."""

    shop: Shop
    record: ExecutionRecord
    state: ExecutionState
    crashes: int
    children: list[NewExecution]
    cancel_children: list[bytes]
    artifacts: list[ArtifactRecord]
    consumed: list[int]
    output_value: Value | None
    handing_back: bool
    committed_status: ExecutionStatus


def build_advance(outbox: Writer, *, release: bool) -> Advance:
    """Everything decided since the last one; the owner's lists are emptied."""
    state, record = outbox.state, outbox.record
    changes = state.take_changes()
    now = outbox.shop.clock.now()
    ended = state.status in TERMINAL
    advance = Advance(
        execution_id=record.id,
        workspace=record.workspace,
        flow=record.flow,
        epoch=record.epoch,
        status=state.status,
        previous=outbox.committed_status,
        reason=state.reason,
        release=release,
        claimable=release and outbox.handing_back and not ended,
        wake_at=next_wake(state) if release and state.status is ExecutionStatus.SUSPENDED else None,
        recoveries=record.recoveries,
        crashes=outbox.crashes,
        finished_at=now if ended else None,
        updated_at=now,
        events=outbox.shop.masker.events(changes.events),
        node_runs=[node_run_record(outbox, run) for run in changes.node_runs.values()],
        output=outbox.output_value if state.status is ExecutionStatus.COMPLETED else None,
        error=None if state.error is None or not ended else outbox.shop.masker.failure(state.error).public(),
        waits_opened=[wait_record(run, now) for run in changes.waits_opened.values()],
        waits_closed=changes.waits_closed,
        children=outbox.children,
        cancel_children=outbox.cancel_children,
        consumed=outbox.consumed,
        artifacts=outbox.artifacts,
        trigger_kind=record.trigger_kind,
        created_at=record.created_at,
    )
    outbox.children, outbox.cancel_children, outbox.consumed, outbox.artifacts = [], [], [], []
    return advance


def build_refused(outbox: Writer, *, instead_of: Sequence[NodeRunRecord] | None) -> Advance:
    """The end of an execution that the store refused a row of: that fact, and a plain row for every open run.

    `instead_of` are the rows of which one was refused; None leaves out every row.
    """
    state = outbox.state
    assert state.error is not None
    state.take_changes()
    cancelling = outbox.committed_status is ExecutionStatus.CANCELLING
    state.status = ExecutionStatus.CANCELLED if cancelling else ExecutionStatus.FAILED
    event = EventType.EXECUTION_CANCELLED if cancelling else EventType.EXECUTION_FAILED
    state.tell(event, outbox.shop.clock.now(), data={"code": state.error.code})
    outbox.artifacts, outbox.children = [], []
    outbox.cancel_children = [run.child for run in state.waiting.values() if run.child is not None]
    advance = build_advance(outbox, release=True)
    if instead_of is not None:
        unfinished = [*state.running.values(), *state.waiting.values()]
        keys = {run.key for run in unfinished} | {(row.node, row.ordinal, row.label) for row in instead_of}
        error = outbox.shop.masker.failure(state.error).public()
        advance.node_runs = [_failed_run(outbox, *key, error=error) for key in sorted(keys)]
    return advance


def _failed_run(outbox: Writer, node: str, ordinal: int, label: str, *, error: dict[str, Any]) -> NodeRunRecord:
    """In place of a row that was refused, or that nobody will finish."""
    return NodeRunRecord(
        node=node, ordinal=ordinal, label=label, type=outbox.state.nodes[node].spec.type, status=NodeStatus.FAILED,
        error=error, finished_at=outbox.shop.clock.now(), worker=outbox.shop.worker,
    )  # fmt: skip


def node_run_record(outbox: Writer, run: NodeRun) -> NodeRunRecord:
    assert run.status is not None
    return NodeRunRecord(
        node=run.node,
        ordinal=run.ordinal,
        label=run.label,
        type=run.type,
        status=run.status,
        attempt=run.attempt,
        input=run.input_value,
        output=run.output_value,
        error=None if run.error is None else outbox.shop.masker.failure(run.error).public(),
        started_at=run.started_at,
        finished_at=run.finished_at,
        retry_at=run.retry_at,
        wake_at=run.wake_at,
        worker=outbox.shop.worker,
        reused_from=run.reused_from,
        interruptions=run.interruptions,
        child=run.child,
    )


def wait_record(run: NodeRun, at: int) -> WaitRecord:
    assert run.wait is not None
    return WaitRecord(
        node=run.node,
        ordinal=run.ordinal,
        label=run.label,
        kind=run.wait,
        due_at=run.wake_at,
        child=run.child,
        data=run.terms,
        created_at=at,
    )
