"""Why an execution is where it is: exactly what it waits for, or who holds it up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.base.clock import to_rfc3339
from perdure.base.ids import id_text
from perdure.engine.answers import wait_name
from perdure.errors import ExecutionNotFound
from perdure.model.answer import ANSWERED, APPROVAL, PAUSE, SIGNAL, terms_of
from perdure.model.decide.answer import missing
from perdure.model.execution import UNIT
from perdure.model.queue_line import is_served, queue_of, tags_of
from perdure.model.states import TERMINAL, ExecutionStatus, NodeStatus, PendingReason
from perdure.store.interface import Store
from perdure.store.records import ExecutionRecord, NodeRunRecord, WaitRecord, WorkerRecord

_SHOWN = 20


async def why(store: Store, workspace: str, id_: bytes) -> dict[str, Any]:
    """`{execution, status, reason, summary, waiting_for: [{kind, …}]}`; times RFC 3339. `ExecutionNotFound`."""
    record = await store.executions.get(workspace, id_)
    if record is None:
        raise ExecutionNotFound.of(id_text(id_))
    has_ended = record.status in TERMINAL
    causes = [] if has_ended else await _causes(store, record)
    return {
        "execution": id_text(id_),
        "status": str(record.status),
        "reason": record.reason,
        "summary": await _end(store, record) if has_ended else _summary(record, causes),
        "waiting_for": causes,
    }


async def _end(store: Store, record: ExecutionRecord) -> str:
    """How it ended, with what failed, or what the one said who stopped it."""
    payload = await store.executions.payload(record.workspace, record.id)
    error = None if payload is None else payload.error
    if error is None:
        return f"It has ended: {record.status}{f' ({record.reason})' if record.reason else ''}."
    place = f" in node {error['node']}" if error.get("node") else ""
    first_line = str(error["message"]).partition("\n")[0]
    return f"It has ended: {record.status} ({error['code']}{place}: {first_line})."


async def _causes(store: Store, record: ExecutionRecord) -> list[dict[str, Any]]:
    waits = await store.waits.of(record.workspace, record.id)
    paused = [_wait(wait) for wait in waits if wait.kind == PAUSE and record.status is not ExecutionStatus.CANCELLING]
    if record.status is ExecutionStatus.PENDING:
        return [await _pending(store, record), *paused]
    if record.worker is None and record.status is not ExecutionStatus.SUSPENDED:
        return [await _queued(store, record), *paused]
    in_status = store.node_runs.in_status
    attempts = await in_status(record.workspace, record.id, NodeStatus.RUNNING, limit=_SHOWN)
    retries = await in_status(record.workspace, record.id, NodeStatus.RETRYING, limit=_SHOWN)
    causes = paused + [_attempt(run) for run in attempts] + [_retry(run) for run in retries]
    causes += [_wait(wait) for wait in waits if wait.kind not in {PAUSE, UNIT}][:_SHOWN]
    return causes + await _units(store, record.workspace, [wait for wait in waits if wait.kind == UNIT][:_SHOWN])


async def _units(store: Store, workspace: str, waits: Sequence[WaitRecord]) -> list[dict[str, Any]]:
    """Where the units are that make attempts for the execution."""
    if not waits:
        return []
    workers = await store.workers.list()
    names = {worker.id: worker.name for worker in workers}
    ids = [wait.child for wait in waits if wait.child is not None]
    records = {record.id: record for record in await store.executions.several(workspace, ids)}
    causes = []
    for wait in waits:
        cause = _wait(wait)
        unit = None if wait.child is None else records.get(wait.child)
        if unit is not None:
            cause |= {"status": str(unit.status), "worker": None}
            if unit.worker is not None:
                cause["worker"] = names.get(unit.worker, unit.worker)
            elif unit.status not in TERMINAL:
                cause |= await _place(store, unit, workers)
        causes.append(cause)
    return causes


async def _pending(store: Store, record: ExecutionRecord) -> dict[str, Any]:
    if record.reason == PendingReason.CONCURRENCY_LIMIT:
        limit = await store.executions.limit_state(record.workspace, record.id)
        if limit is not None:
            return {
                "kind": "concurrency_limit",
                "key": limit.key,
                "limit": limit.limit,
                "held": limit.held,
                "holders": [id_text(holder) for holder in limit.holders],
                "ahead": limit.ahead,
            }
    due_at = await store.executions.start_due(record.workspace, record.id)
    return {"kind": record.reason, "until": None if due_at is None else to_rfc3339(due_at)}


async def _queued(store: Store, record: ExecutionRecord) -> dict[str, Any]:
    return {"kind": "worker", **await _place(store, record, await store.workers.list())}


async def _place(store: Store, record: ExecutionRecord, workers: Sequence[WorkerRecord]) -> dict[str, Any]:
    place = await store.executions.queue_place(record.workspace, record.id)
    line = record.queue if place is None else place.queue
    alive = [worker for worker in workers if worker.stopped_at is None]
    serving = [worker for worker in alive if is_served(line, queues=worker.queues, tags=worker.tags)]
    return {
        "queue": queue_of(line),
        "requires": list(tags_of(line)),
        "ahead": None if place is None else place.ahead,
        "workers": [worker.name for worker in serving],
        "alive": len(alive),
    }


def _attempt(run: NodeRunRecord) -> dict[str, Any]:
    since = None if run.started_at is None else to_rfc3339(run.started_at)
    return {"kind": "attempt", "node": run.node, "ordinal": run.ordinal, "attempt": run.attempt, "since": since,
            "worker": run.worker}  # fmt: skip


def _retry(run: NodeRunRecord) -> dict[str, Any]:
    until = None if run.retry_at is None else to_rfc3339(run.retry_at)
    message = None if run.error is None else run.error.get("message")
    return {"kind": "retry", "node": run.node, "ordinal": run.ordinal, "attempt": run.attempt, "until": until,
            "after": message}  # fmt: skip


def _wait(wait: WaitRecord) -> dict[str, Any]:
    if wait.kind == PAUSE:
        return {"kind": PAUSE, "since": to_rfc3339(wait.created_at), **(wait.data or {})}
    return _plain_wait(wait) | (_terms(wait) if wait.kind in ANSWERED else {})


def _terms(wait: WaitRecord) -> dict[str, Any]:
    """Who may answer, what is asked, and what comes of it when nobody does."""
    terms = terms_of(wait.data)
    found: dict[str, Any] = {
        "wait": wait_name(wait),
        "message": terms.message,
        "on_expiry": None if wait.due_at is None else str(terms.on_expiry),
        "answered": terms.decision is not None,
    }
    if wait.kind == SIGNAL:
        return {**found, "name": terms.name}
    found["approvers"] = list(terms.approvers)
    if wait.kind == APPROVAL:
        found |= {"quorum": terms.quorum, "missing": missing(terms), "responded": [one.by for one in terms.responses]}
    return found


def _plain_wait(wait: WaitRecord) -> dict[str, Any]:
    return {
        "kind": wait.kind,
        "node": wait.node,
        "ordinal": wait.ordinal,
        "until": None if wait.due_at is None else to_rfc3339(wait.due_at),
        "child": None if wait.child is None else id_text(wait.child),
        "since": to_rfc3339(wait.created_at),
    }


def _summary(record: ExecutionRecord, causes: list[dict[str, Any]]) -> str:
    """A sentence for a person; a second one where it is paused besides."""
    if not causes:
        return f"It is {record.status}; its owner is about to go on."
    told = _cause_summary(record, causes[0])
    return " ".join([told, *(_cause_summary(record, cause) for cause in causes[1:] if cause["kind"] == PAUSE)])


def _cause_summary(record: ExecutionRecord, cause: dict[str, Any]) -> str:
    if record.status is ExecutionStatus.PENDING and cause.get("until", "") is None:
        return "It is about to start."
    match cause["kind"]:
        case "concurrency_limit":
            return (
                f"Limit {cause['key']} lets {cause['limit']} run at a time; {_counted(cause['held'], 'hold')} a slot "
                f"and {_counted(cause['ahead'], 'wait')} before it."
            )
        case "pause":
            return f"It was paused by {cause['by']}; it goes on when somebody resumes it."
        case PendingReason.START_AT:
            return f"It starts at {cause['until']}."
        case PendingReason.RATE_LIMIT:
            return f"Its flow's rate lets it start at {cause['until']}."
        case "worker":
            who = f"{_counted(cause['ahead'], 'stand')} before it" if cause["ahead"] else "it is the next to be claimed"
            return f"Ready in queue {cause['queue']}: {who}." if cause["workers"] else _nobody(cause)
        case "attempt":
            return f"Node {_run(cause)} is running (attempt {cause['attempt']}, since {cause['since']})."
        case "retry":
            return f"Node {_run(cause)} failed ({cause['after']}) and is tried again at {cause['until']}."
        case "unit":
            return _unit_summary(cause)
        case "approval" | "ask" | "signal":
            return _outside_summary(cause)
        case "child":
            return f"Node {_run(cause)} waits for child execution {cause['child']}."
    return f"Node {_run(cause)} sleeps until {cause['until']}."


def _run(cause: dict[str, Any]) -> str:
    """The node run, as commands name it."""
    return str(cause["node"]) if not cause["ordinal"] else f"{cause['node']}[{cause['ordinal']}]"


def _counted(count: int, verb: str) -> str:
    return f"{count:,} {verb}{'s' * (count == 1)}"


def _outside_summary(cause: dict[str, Any]) -> str:
    run = _run(cause)
    if cause["answered"]:
        return f"Node {run} was answered; a worker is about to go on."
    if cause["kind"] == SIGNAL:
        what = f"waits for the signal {cause['name']}"
    else:
        who = ", ".join(cause["approvers"]) or "anybody who may respond"
        many = f" ({cause['missing']} more)" if cause.get("quorum", 1) > 1 else ""
        what = f"waits for {'approval' if cause['kind'] == APPROVAL else 'an answer'} by {who}{many}"
    until = "" if cause["until"] is None else f" until {cause['until']}, then: {cause['on_expiry']}"
    return f"Node {run} {what}{until}."


def _unit_summary(cause: dict[str, Any]) -> str:
    run = _run(cause)
    if cause.get("worker") is not None:
        return f"Node {run} is running on worker {cause['worker']}, as unit {cause['child']}."
    if "queue" not in cause:
        return f"Node {run} is about to go on: its unit {cause['child']} has ended."
    if not cause["workers"]:
        return f"Node {run} is in queue {cause['queue']}. {_nobody(cause)}"
    return f"Node {run} is in queue {cause['queue']}, {cause['ahead'] or 0} ahead of it."


def _nobody(cause: dict[str, Any]) -> str:
    """Why no worker takes it."""
    if not cause["alive"]:
        return "No worker is running."
    tags = cause["requires"]
    named = f" with tag{'s' * (len(tags) > 1)} {' and '.join(tags)}" if tags else ""
    return f"No live worker{named} serves the queue {cause['queue']}."
