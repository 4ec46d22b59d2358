"""From the store's records to the shapes of the wire."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from time import gmtime
from typing import Any

import msgspec

from perdure.base.clock import SECOND
from perdure.base.ids import id_text
from perdure.engine.answers import wait_name
from perdure.model.answer import ANSWERED, APPROVAL, ASK, PAUSE, Response, terms_of
from perdure.model.decide.answer import missing
from perdure.model.queue_line import queue_of, tags_of
from perdure.store.records import (
    ArtifactRecord,
    ExecutionRecord,
    FlowRecord,
    FlowVersionRecord,
    NodeRunRecord,
    ReplayFacts,
    TokenRecord,
    WaitRecord,
)
from perdure.wire.artifacts import Artifact
from perdure.wire.executions import Execution, ExecutionSummary, Trigger
from perdure.wire.failure import Failure
from perdure.wire.flows import Flow, FlowVersion
from perdure.wire.nodes import NodeRun, UnitPlace
from perdure.wire.replays import AskedReplay
from perdure.wire.system import Token
from perdure.wire.waits import Wait, WaitResponse

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
        "queue": queue_of(record.queue),
        "requires": list(tags_of(record.queue)),
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
    record: ExecutionRecord,
    *,
    input: str | None,
    output: str | None,
    error: Mapping[str, Any] | None,
    now: int,
    replay: ReplayFacts | None = None,
) -> Execution:
    """`input` and `output` are JSON text."""
    return Execution(
        **_summary_fields(record, now),
        input=raw_json(input),
        output=raw_json(output),
        error=None if error is None else msgspec.convert(error, Failure),
        replay=None if replay is None else _asked_replay(replay),
    )


def _asked_replay(facts: ReplayFacts) -> AskedReplay:
    return AskedReplay(begin=facts.begin, reuse=facts.reuse, input_edited=facts.input_edited, edited=facts.edited)


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
    terms = terms_of(record.data) if record.kind in ANSWERED else None
    paused = (record.data or {}) if record.kind == PAUSE else {}
    asks = record.kind in (APPROVAL, ASK)
    return Wait(
        id=wait_name(record) or PAUSE,
        execution=id_text(record.execution_id),
        flow=record.flow,
        kind=record.kind,
        node=record.node or None,
        ordinal=record.ordinal,
        label=record.label,
        attempt=None if terms is None else terms.attempt,
        message=None if terms is None else terms.message,
        approvers=list(terms.approvers) if terms is not None and asks else None,
        quorum=terms.quorum if terms is not None and record.kind == APPROVAL else None,
        missing=missing(terms) if terms is not None and record.kind == APPROVAL else None,
        responses=[_response(one) for one in terms.responses] if terms is not None and asks else None,
        form=None if terms is None else terms.form,
        name=None if terms is None else terms.name,
        answered=terms is not None and terms.decision is not None,
        on_expiry=None if terms is None else terms.on_expiry,
        due_at=optional_time(record.due_at),
        child=optional_id(record.child),
        by=paused.get("by"),
        reason=paused.get("reason"),
        created_at=time_text(record.created_at),
    )


def _response(response: Response) -> WaitResponse:
    return WaitResponse(
        by=response.by, at=time_text(response.at), approved=response.approved, comment=response.comment
    )  # fmt: skip


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
