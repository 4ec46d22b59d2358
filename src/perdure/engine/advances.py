"""From an owner's decisions to the rows that the recorder writes."""

from __future__ import annotations

from typing import Any, Protocol

from perdure.model.decide.wait import next_wake
from perdure.model.event import Event
from perdure.model.execution import ExecutionState, NodeRun
from perdure.model.failure import Failure
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
    """The owner, as far as its advances are concerned."""

    record: ExecutionRecord
    state: ExecutionState
    crashes: int
    children: list[NewExecution]
    cancel_children: list[bytes]
    artifacts: list[ArtifactRecord]
    consumed: list[int]
    output_value: Value | None
    handing_back: bool

    @property
    def previous_status(self) -> ExecutionStatus: ...
    @property
    def worker(self) -> str: ...
    def now(self) -> int: ...
    def mask_failure(self, failure: Failure) -> dict[str, Any]: ...
    def mask_events(self, events: list[Event]) -> list[Event]: ...


def build_advance(owner: Writer, *, release: bool) -> Advance:
    """Everything decided since the last one; the owner's lists are emptied."""
    state, record = owner.state, owner.record
    changes = state.take_changes()
    now = owner.now()
    ended = state.status in TERMINAL
    if any(run.status is NodeStatus.COMPLETED for run in changes.node_runs.values()):
        owner.crashes = 0
    advance = Advance(
        execution_id=record.id,
        workspace=record.workspace,
        flow=record.flow,
        epoch=record.epoch,
        status=state.status,
        previous=owner.previous_status,
        reason=state.reason,
        release=release,
        claimable=release and owner.handing_back and not ended,
        wake_at=next_wake(state) if release and state.status is ExecutionStatus.SUSPENDED else None,
        recoveries=record.recoveries,
        crashes=owner.crashes,
        finished_at=now if ended else None,
        updated_at=now,
        events=owner.mask_events(changes.events),
        node_runs=[node_run_record(owner, run) for run in changes.node_runs.values()],
        output=owner.output_value if state.status is ExecutionStatus.COMPLETED else None,
        error=None if state.error is None or not ended else owner.mask_failure(state.error),
        waits_opened=[wait_record(run, now) for run in changes.waits_opened.values()],
        waits_closed=changes.waits_closed,
        children=owner.children,
        cancel_children=owner.cancel_children,
        consumed=owner.consumed,
        artifacts=owner.artifacts,
        trigger_kind=record.trigger_kind,
        created_at=record.created_at,
    )
    owner.children, owner.cancel_children, owner.consumed, owner.artifacts = [], [], [], []
    return advance


def node_run_record(owner: Writer, run: NodeRun) -> NodeRunRecord:
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
        error=None if run.error is None else owner.mask_failure(run.error),
        started_at=run.started_at,
        finished_at=run.finished_at,
        retry_at=run.retry_at,
        wake_at=run.wake_at,
        worker=owner.worker,
        reused_from=run.reused_from,
        interruptions=run.interruptions,
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
        created_at=at,
    )
