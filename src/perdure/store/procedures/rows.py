"""Records as rows and back, in the order of the columns that `queries/_shapes.sql` and the `put` statements name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import json

from perdure.base.codec import decode, encode_text
from perdure.model.states import ExecutionKind, ExecutionStatus, NodeStatus
from perdure.store.records import (
    ArtifactRecord,
    ExecutionRecord,
    Message,
    NodeRunRecord,
    Payload,
    ReplayFacts,
    Value,
    WaitRecord,
    WorkerRecord,
)


def node_run_row(execution_id: bytes, run: NodeRunRecord) -> tuple[Any, ...]:
    return (
        execution_id,
        run.node,
        run.ordinal,
        run.label,
        run.type,
        run.status,
        run.attempt,
        *_value_columns(run.input),
        *_value_columns(run.output),
        None if run.error is None else encode_text(run.error),
        run.started_at,
        run.finished_at,
        run.retry_at,
        run.wake_at,
        run.worker,
        run.reused_from,
        run.interruptions,
        run.child,
    )


def wait_row(execution_id: bytes, workspace: str, flow: str, wait: WaitRecord) -> tuple[Any, ...]:
    return (
        execution_id,
        wait.node,
        wait.ordinal,
        wait.label,
        wait.kind,
        wait.due_at,
        wait.child,
        None if wait.data is None else encode_text(wait.data),
        wait.created_at,
        workspace,
        flow,
    )


def artifact_row(artifact: ArtifactRecord) -> tuple[Any, ...]:
    return (
        artifact.id,
        artifact.workspace,
        artifact.execution_id,
        artifact.node,
        artifact.ordinal,
        artifact.attempt,
        artifact.name,
        artifact.path,
        artifact.media_type,
        artifact.size_bytes,
        artifact.sha256,
        artifact.created_at,
    )


def worker_row(worker: WorkerRecord) -> tuple[Any, ...]:
    return (
        worker.id,
        worker.name,
        worker.host,
        worker.pid,
        worker.started_at,
        worker.heartbeat_at,
        worker.stopped_at,
        None if worker.queues is None else encode_text(list(worker.queues)),
        worker.slots,
        encode_text(list(worker.tags)),
        worker.version,
    )


def _value_columns(value: Value | None) -> tuple[str | None, bytes | None, int | None]:
    return (None, None, None) if value is None else (value.text, value.blob, value.size)


def _value(text: str | None, blob: bytes | None, size: int | None) -> Value | None:
    return None if size is None else Value(text, blob, size)


def record_of(row: Sequence[Any]) -> ExecutionRecord:
    """From the columns of the shape `record`."""
    (
        id, number, workspace, namespace, flow, flow_version, status, reason, priority, queue, tags, trigger_kind,
        trigger_id, trigger_context, parent, parent_node, parent_ordinal, parent_attempt, root, depth, replay_of,
        idempotency_key, concurrency_key, max_recoveries, recoveries, crashes, worker, epoch, last_seq, has_cleanup,
        created_at, start_at, queued_at, started_at, finished_at, updated_at, deadline_at, kind,
    ) = row  # fmt: skip
    return ExecutionRecord(
        id=id,
        number=number,
        kind=ExecutionKind(kind),
        workspace=workspace,
        namespace=namespace,
        flow=flow,
        flow_version=flow_version,
        status=ExecutionStatus(status),
        reason=reason,
        priority=priority,
        queue=queue,
        tags=decode(tags),
        trigger_kind=trigger_kind,
        trigger_id=trigger_id,
        trigger_context=None if trigger_context is None else decode(trigger_context),
        parent=parent,
        parent_node=parent_node,
        parent_ordinal=parent_ordinal,
        parent_attempt=parent_attempt,
        root=root,
        depth=depth,
        replay_of=replay_of,
        idempotency_key=idempotency_key,
        concurrency_key=concurrency_key,
        max_recoveries=max_recoveries,
        recoveries=recoveries,
        crashes=crashes,
        worker=worker,
        epoch=epoch,
        last_seq=last_seq,
        has_cleanup=bool(has_cleanup),
        created_at=created_at,
        start_at=start_at,
        queued_at=queued_at,
        started_at=started_at,
        finished_at=finished_at,
        updated_at=updated_at,
        deadline_at=deadline_at,
    )


def payload_of(row: Sequence[Any]) -> Payload:
    """From the columns of the shape `payload`."""
    _, text, blob, size, output_text, output_blob, output_size, error, replay = row
    return Payload(
        Value(text, blob, size),
        _value(output_text, output_blob, output_size),
        None if error is None else decode(error),
        None if replay is None else json.decode(replay, type=ReplayFacts),
    )


def node_run_of(row: Sequence[Any]) -> NodeRunRecord:
    """From the columns of the shape `node_run`."""
    (
        _, node, ordinal, label, type, status, attempt, input_text, input_blob, input_size, output_text, output_blob,
        output_size, error, started_at, finished_at, retry_at, wake_at, worker, reused_from, interruptions, child,
    ) = row  # fmt: skip
    return NodeRunRecord(
        node=node,
        ordinal=ordinal,
        label=label,
        type=type,
        status=NodeStatus(status),
        attempt=attempt,
        input=_value(input_text, input_blob, input_size),
        output=_value(output_text, output_blob, output_size),
        error=None if error is None else decode(error),
        started_at=started_at,
        finished_at=finished_at,
        retry_at=retry_at,
        wake_at=wake_at,
        worker=worker,
        reused_from=reused_from,
        interruptions=interruptions,
        child=child,
    )


def wait_of(row: Sequence[Any]) -> WaitRecord:
    """From the columns of the shape `wait`."""
    execution_id, node, ordinal, label, kind, due_at, child, data, created_at, workspace, flow = row
    return WaitRecord(
        execution_id=execution_id,
        workspace=workspace,
        flow=flow,
        node=node,
        ordinal=ordinal,
        label=label,
        kind=kind,
        due_at=due_at,
        child=child,
        data=None if data is None else decode(data),
        created_at=created_at,
    )


def message_of(row: Sequence[Any]) -> Message:
    """From the columns of the shape `message`."""
    _, n, kind, data, at = row
    return Message(n, kind, decode(data), at)


def artifact_of(row: Sequence[Any]) -> ArtifactRecord:
    """From the columns of the shape `artifact`."""
    (
        id, workspace, execution_id, node, ordinal, attempt, name, path, media_type, size_bytes, sha256, created_at,
    ) = row  # fmt: skip
    return ArtifactRecord(
        id=id,
        workspace=workspace,
        execution_id=execution_id,
        node=node,
        ordinal=ordinal,
        attempt=attempt,
        name=name,
        path=path,
        media_type=media_type,
        size_bytes=size_bytes,
        sha256=sha256,
        created_at=created_at,
    )
