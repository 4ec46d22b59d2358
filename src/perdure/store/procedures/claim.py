"""Claims: the best queue rows become owned executions, with all that their owner needs."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from perdure.base.ids import FIRST_ID
from perdure.model.event import Event, EventType
from perdure.model.queue_line import is_served
from perdure.model.states import ExecutionKind, ExecutionStatus
from perdure.store.commands import ClaimExecutions
from perdure.store.procedures.catalogue import alive
from perdure.store.procedures.context import Context
from perdure.store.procedures.rows import message_of, node_run_of, payload_of, record_of, wait_of
from perdure.store.records import Claimed, ExecutionRecord
from perdure.store.statements import All, Many, Procedure

T = TypeVar("T")


_BEFORE_ALL = (-(1 << 62), FIRST_ID)
"""A rank and an id before those of every queue row."""


class Going(NamedTuple):
    """What a claim makes of an execution in a certain status."""

    status: ExecutionStatus
    event: EventType | None


GOING = {
    ExecutionStatus.QUEUED: Going(ExecutionStatus.RUNNING, EventType.EXECUTION_STARTED),
    ExecutionStatus.SUSPENDED: Going(ExecutionStatus.RUNNING, EventType.EXECUTION_RESUMED),
    ExecutionStatus.INTERRUPTED: Going(ExecutionStatus.RUNNING, EventType.EXECUTION_RECOVERED),
    ExecutionStatus.CANCELLING: Going(ExecutionStatus.CANCELLING, None),
}


def claim_executions(context: Context, command: ClaimExecutions) -> Procedure[list[Claimed] | None]:
    """Best rank first. Whoever somebody else is just changing stays in the queue for the next claim."""
    lines = yield from _lines(command)
    if not lines:
        return []
    # It is looked at, and held fast, only where there may be something to claim: a lock is a write too.
    if not (yield from alive([command.worker])):
        return None
    ids = yield from _best(command, lines)
    if not ids:
        return []
    rows = yield Many("records_free", [(id,) for id in sorted(ids)])
    records = {record.id: record for record in map(record_of, rows)}
    present = [id for id in ids if id in records]
    if present:
        yield Many("queue_clear", [(id,) for id in present])
    free = [records[id] for id in present if records[id].worker is None and records[id].status in GOING]
    was = {record.id: record.status for record in free}
    yield from _own(context, free, command)
    return (yield from _with_contents(free, was))


def _lines(command: ClaimExecutions) -> Procedure[list[tuple[str, str]]]:
    """(line, workspace) of those lines that have rows and that the worker serves."""
    if command.limit <= 0:
        return []
    rows = yield All("queue_lines")
    if command.root is not None:
        return list(rows)
    return [(line, workspace) for line, workspace in rows if is_served(line, queues=command.queues, tags=command.tags)]


def _best(command: ClaimExecutions, lines: list[tuple[str, str]]) -> Procedure[list[bytes]]:
    if command.root is not None:
        rows = yield All("queue_family", {"root": command.root, "limit": command.limit})
        return [row[1] for row in rows]
    # No workspace waits for another: each line gives its share, and no line is always the first.
    random.shuffle(lines)
    heads: list[Any] = []
    behind = [(line, _BEFORE_ALL) for line in lines]
    while behind and len(heads) < command.limit:
        share = -(-(command.limit - len(heads)) // len(behind))
        longer = []
        for (queue, workspace), (rank, id) in behind:
            wanted = min(share, command.limit - len(heads))
            if wanted == 0:
                break
            place = {"queue": queue, "workspace": workspace, "rank": rank, "id": id, "limit": wanted}
            rows = yield All("queue_head", place)
            heads += rows
            if len(rows) == wanted:
                longer.append(((queue, workspace), (rows[-1][0], rows[-1][1])))
        behind = longer
    heads.sort(key=tuple)
    return [row[1] for row in heads]


def _own(context: Context, free: Sequence[ExecutionRecord], command: ClaimExecutions) -> Procedure[None]:
    """Write the ownership, and bring the records to what now stands in the store."""
    changes: list[tuple[Any, ...]] = []
    at = command.at
    for record in free:
        before = record.status
        going = GOING[before]
        recovered = before is ExecutionStatus.INTERRUPTED
        record.recoveries += int(recovered)
        events: list[Event] = []
        if going.event is not None:
            data = {"recoveries": record.recoveries, "crashes": record.crashes} if recovered else None
            events.append(Event(going.event, at, data=data))
            context.record(record.id, record.workspace, record.flow, record.last_seq + 1, events, kind=record.kind)
            if record.kind is ExecutionKind.FLOW:
                where = (record.workspace, record.flow)
                context.count(*where, before, record.trigger_kind, record.created_at, -1)
                context.count(*where, going.status, record.trigger_kind, record.created_at, 1)
        changes.append((record.id, record.number, going.status, command.worker, len(events), record.recoveries, at))
        record.status = going.status
        record.reason = None if going.status is ExecutionStatus.RUNNING else record.reason
        record.worker = command.worker
        record.epoch += 1
        record.last_seq += len(events)
        record.started_at = at if record.started_at is None else record.started_at
        record.updated_at = at
    if changes:
        yield Many("executions_claim", changes)
        woken = [(record.id, "wake") for record in free]
        yield Many("timers_drop", woken)


def _with_contents(records: Sequence[ExecutionRecord], was: dict[bytes, ExecutionStatus]) -> Procedure[list[Claimed]]:
    """One statement per table for all of them; what never ran has node runs only if it is a replay, but may be paused."""
    if not records:
        return []
    ids = [(record.id,) for record in records]
    with_runs = [
        (record.id,)
        for record in records
        if was[record.id] is not ExecutionStatus.QUEUED or record.replay_of is not None
    ]
    payloads = {row[0]: payload_of(row) for row in (yield Many("payloads", ids))}
    node_runs = _grouped((yield Many("node_runs_of", with_runs)) if with_runs else [], node_run_of)
    waits = _grouped((yield Many("waits_of", ids)), wait_of)
    messages = _grouped((yield Many("inbox_of", ids)), message_of)
    return [
        Claimed(
            record=record,
            payload=payloads[record.id],
            node_runs=node_runs.get(record.id, []),
            waits=waits.get(record.id, []),
            messages=sorted(messages.get(record.id, []), key=lambda message: message.n),
            was=was[record.id],
        )
        for record in records
    ]


def _grouped(rows: Sequence[Any], make: Callable[[Any], T]) -> dict[bytes, list[T]]:
    """By execution, which is the first column of each row."""
    groups: dict[bytes, list[T]] = {}
    for row in rows:
        groups.setdefault(row[0], []).append(make(row))
    return groups


def load_execution(execution_id: bytes) -> Procedure[Claimed | None]:
    """What an owner needs, without a claim."""
    rows = yield Many("records", [(execution_id,)])
    if not rows:
        return None
    record = record_of(rows[0])
    loaded = yield from _with_contents([record], {record.id: record.status})
    return loaded[0]
