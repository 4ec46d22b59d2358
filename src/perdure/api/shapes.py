"""From the store's records to the shapes of the wire."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from time import gmtime
from typing import Any

import msgspec

from perdure.base.clock import SECOND
from perdure.base.ids import id_text
from perdure.store.records import (
    ArtifactRecord,
    ExecutionRecord,
    FlowRecord,
    FlowVersionRecord,
    NodeRunRecord,
    TokenRecord,
    WaitRecord,
)
from perdure.wire.artifacts import Artifact
from perdure.wire.executions import Execution, ExecutionSummary, Trigger
from perdure.wire.failure import Failure
from perdure.wire.flows import Flow, FlowVersion
from perdure.wire.nodes import NodeRun, UnitPlace, Wait
from perdure.wire.system import Token

_MILLISECOND = 1_000


@lru_cache(maxsize=4_096)
def _second_text(second: int) -> str:
    moment = gmtime(second)
    return (
        f"{moment.tm_year:04d}-{moment.tm_mon:02d}-{moment.tm_mday:02d}"
        f"T{moment.tm_hour:02d}:{moment.tm_min:02d}:{moment.tm_sec:02d}."
    )


def time_text(at: int) -> str:
    """As `perdure.base.clock.to_rfc3339`, remembering the seconds that it wrote: rows of one page lie close together."""
    second, micros = divmod(at, SECOND)
    return f"{_second_text(second)}{micros:06d}Z"


def optional_time(at: int | None) -> str | None:
    return None if at is None else time_text(at)


def optional_id(id: bytes | None) -> str | None:
    return None if id is None else id_text(id)


def raw_json(text: str | None) -> Any:
    """JSON text as it stands, to go into an answer without being read; null for None."""
    return None if text is None else msgspec.Raw(text.encode())


def duration_ms(started_at: int | None, finished_at: int | None, now: int) -> float | None:
    """From the start to the end, or to now; None before the start."""
    if started_at is None:
        return None
    return max((now if finished_at is None else finished_at) - started_at, 0) / _MILLISECOND


def _summary_fields(record: ExecutionRecord, now: int) -> dict[str, Any]:
    return {
        "id": id_text(record.id),
        "number": record.number,
        "kind": record.kind,
        "workspace": record.workspace,
        "namespace": record.namespace,
        "flow": record.flow,
        "flow_version": record.flow_version,
        "status": record.status,
        "reason": record.reason,
        "priority": record.priority,
        "queue": record.queue,
        "tags": record.tags,
        "trigger": Trigger(kind=record.trigger_kind, id=record.trigger_id, context=record.trigger_context),
        "parent": optional_id(record.parent),
        "root": id_text(record.root),
        "replay_of": optional_id(record.replay_of),
        "idempotency_key": record.idempotency_key,
        "concurrency_key": record.concurrency_key,
        "recoveries": record.recoveries,
        "worker": record.worker,
        "created_at": time_text(record.created_at),
        "queued_at": optional_time(record.queued_at),
        "started_at": optional_time(record.started_at),
        "finished_at": optional_time(record.finished_at),
        "updated_at": time_text(record.updated_at),
        "deadline_at": optional_time(record.deadline_at),
        "duration_ms": duration_ms(record.started_at, record.finished_at, now),
    }


def execution_summary(record: ExecutionRecord, now: int) -> ExecutionSummary:
    return ExecutionSummary(**_summary_fields(record, now))


def execution(
    record: ExecutionRecord, *, input: str | None, output: str | None, error: Mapping[str, Any] | None, now: int
) -> Execution:
    """`input` and `output` are JSON text."""
    return Execution(
        **_summary_fields(record, now),
        input=raw_json(input),
        output=raw_json(output),
        error=None if error is None else msgspec.convert(error, Failure),
    )


def node_run(
    record: NodeRunRecord, *, input: str | None, output: str | None, now: int, unit: UnitPlace | None = None
) -> NodeRun:
    return NodeRun(
        node=record.node,
        ordinal=record.ordinal,
        label=record.label,
        type=record.type,
        status=record.status,
        attempt=record.attempt,
        input=raw_json(input),
        output=raw_json(output),
        error=None if record.error is None else msgspec.convert(record.error, Failure),
        started_at=optional_time(record.started_at),
        finished_at=optional_time(record.finished_at),
        retry_at=optional_time(record.retry_at),
        wake_at=optional_time(record.wake_at),
        duration_ms=duration_ms(record.started_at, record.finished_at, now),
        worker=record.worker,
        reused_from=optional_id(record.reused_from),
        child=optional_id(record.child),
        unit=unit,
        parent_item=None,
    )


def wait(record: WaitRecord) -> Wait:
    return Wait(
        node=record.node,
        ordinal=record.ordinal,
        label=record.label,
        kind=record.kind,
        due_at=optional_time(record.due_at),
        child=optional_id(record.child),
        data=record.data,
        created_at=time_text(record.created_at),
    )


def artifact(record: ArtifactRecord, *, base: str) -> Artifact:
    """`base` is the path under which artifacts are served."""
    id = id_text(record.id)
    return Artifact(
        id=id,
        execution=id_text(record.execution_id),
        node=record.node,
        ordinal=record.ordinal,
        attempt=record.attempt,
        name=record.name,
        media_type=record.media_type,
        size_bytes=record.size_bytes,
        sha256=record.sha256.hex(),
        created_at=time_text(record.created_at),
        url=f"{base}/{id}",
    )


def flow_fields(record: FlowRecord) -> dict[str, Any]:
    namespace, _, name = record.id.partition("/")
    return {
        "id": record.id,
        "namespace": namespace,
        "name": name,
        "number": record.number,
        "version": record.latest,
        "description": record.description,
        "source": record.source,
        "created_at": time_text(record.created_at),
        "updated_at": time_text(record.updated_at),
    }


def flow(record: FlowRecord) -> Flow:
    return Flow(**flow_fields(record))


def flow_version_fields(record: FlowVersionRecord) -> dict[str, Any]:
    return {
        "flow": record.flow,
        "number": record.number,
        "content_hash": record.content_hash,
        "media_type": record.media_type,
        "created_at": time_text(record.created_at),
    }


def flow_version(record: FlowVersionRecord) -> FlowVersion:
    return FlowVersion(**flow_version_fields(record))


def token_fields(record: TokenRecord) -> dict[str, Any]:
    return {
        "id": id_text(record.id),
        "name": record.name,
        "role": record.role,
        "workspace": record.workspace,
        "created_at": time_text(record.created_at),
        "expires_at": optional_time(record.expires_at),
        "revoked_at": optional_time(record.revoked_at),
    }


def token(record: TokenRecord) -> Token:
    return Token(**token_fields(record))
