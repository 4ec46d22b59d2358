"""The rows of new executions, once it is decided what becomes of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.base.clock import SECOND
from perdure.base.codec import encode_text
from perdure.base.ids import id_text, id_time
from perdure.model.event import Event, EventType
from perdure.model.states import ExecutionKind, ExecutionStatus, PendingReason
from perdure.store.procedures.context import Context, Standing
from perdure.store.procedures.endings import Ended, settle_ended
from perdure.store.procedures.queueing import rank
from perdure.store.procedures.reusing import put_reused, reused_count, reused_events
from perdure.store.records import LimitClaim, NewExecution, RateClaim, Started
from perdure.store.statements import All, Many, Procedure

ID_SKEW = "id_skew_us"
LEAST_SKEW = SECOND
EVENTS_IN_A_CHUNK = 500
"""A row of events is read as a whole; a replay may begin with a hundred thousand."""
_EVENT_OF = {
    ExecutionStatus.QUEUED: EventType.EXECUTION_QUEUED,
    ExecutionStatus.RUNNING: EventType.EXECUTION_STARTED,
    ExecutionStatus.CANCELLED: EventType.EXECUTION_CANCELLED,
}


class StartClaims(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a pending start still has to ask for."""

    limit: LimitClaim | None = None
    rate: RateClaim | None = None


class Plan(msgspec.Struct, frozen=True):
    """What becomes of a start: `due_at` is when a pending one is looked at again."""

    new: NewExecution
    status: ExecutionStatus
    reason: PendingReason | None = None
    due_at: int | None = None
    waits_for_limit: bool = False

    def start_claims(self) -> str | None:
        if self.status is not ExecutionStatus.PENDING or (self.new.limit is None and self.new.rate is None):
            return None
        return encode_text(StartClaims(self.new.limit, self.new.rate))

    def events(self, number: int, at: int) -> list[Event]:
        new = self.new
        data = {"flow": new.flow, "flow_version": new.flow_version, "trigger": new.trigger_kind, "number": number}
        if self.status is ExecutionStatus.PENDING:
            data["pending"] = str(self.reason)
        events = [Event(EventType.EXECUTION_CREATED, new.created_at, data=data)]
        if new.reuse is not None:
            data["replay_of"] = id_text(new.reuse.source)
            events += reused_events(new.reuse, new.created_at)
        if (following := _EVENT_OF.get(self.status)) is not None:
            reason = {"reason": str(self.reason)} if self.status is ExecutionStatus.CANCELLED else None
            events.append(Event(following, max(at, new.created_at), data=reason))
        return events


def put_executions(context: Context, plans: Sequence[Plan], at: int) -> Procedure[list[Started]]:
    """Write new executions with all their rows; answers in the order of the plans."""
    if not plans:
        return []
    yield from _note_skew(plans)
    rows = yield Many("executions_put", [_execution_row(plan, at) for plan in plans])
    # Where a database tells the numbers with the insert, it is not asked again.
    numbers = dict(rows or (yield Many("executions_numbers", [(plan.new.id,) for plan in plans])))
    yield Many("payloads_put", [_payload_row(plan.new) for plan in plans])
    yield from _put_rest(plans)
    yield from put_reused(context, [plan.new for plan in plans if plan.new.reuse is not None])
    yield from _put_work(context, plans, at)
    started: list[Started] = []
    for plan in plans:
        new = plan.new
        events = plan.events(numbers[new.id], at)
        for first in range(0, len(events), EVENTS_IN_A_CHUNK):
            chunk = events[first : first + EVENTS_IN_A_CHUNK]
            context.record(new.id, new.workspace, new.flow, first + 1, chunk, kind=new.kind)
        if new.kind is ExecutionKind.FLOW:
            context.count(new.workspace, new.flow, plan.status, new.trigger_kind, new.created_at, 1)
        context.refer(new.id, new.input)
        epoch = 1 if plan.status is ExecutionStatus.RUNNING else 0
        started.append(Started(new.id, numbers[new.id], plan.status, plan.reason, epoch, len(events)))
    skipped = [
        Ended(_standing(plan), plan.status, plan.reason) for plan in plans if plan.status is ExecutionStatus.CANCELLED
    ]
    yield from settle_ended(context, skipped, at)
    return started


def _execution_row(plan: Plan, at: int) -> tuple[Any, ...]:
    new, status = plan.new, plan.status
    pending, running = status is ExecutionStatus.PENDING, status is ExecutionStatus.RUNNING
    ended = status is ExecutionStatus.CANCELLED
    begun = running or status is ExecutionStatus.QUEUED
    then = max(at, new.created_at)
    return (
        new.id,
        new.workspace,
        new.flow.partition("/")[0],
        new.flow,
        new.flow_version,
        status,
        plan.reason,
        new.priority,
        new.queue,
        encode_text(new.tags),
        new.trigger_kind,
        new.trigger_id,
        None if new.trigger_context is None else encode_text(new.trigger_context),
        new.parent,
        new.parent_node,
        new.parent_ordinal,
        new.parent_attempt,
        new.root,
        new.depth,
        new.replay_of,
        new.idempotency_key,
        None if new.limit is None else new.limit.key,
        plan.start_claims(),
        new.max_recoveries,
        new.claim_by if running else None,
        1 if running else 0,
        (1 if pending else 2) + reused_count(new),
        int(new.has_cleanup),
        new.created_at,
        new.start_at,
        then if begun else None,
        then if running else None,
        then if ended else None,
        then,
        new.deadline_at,
        new.kind,
        None if new.parent is None else new.parent_label or "",
        lag_of(then - new.created_at) if ended else None,
    )


def lag_of(micros: int) -> int:
    """The class of a time from creation to end: how many pairs of decimal digits it has."""
    return (len(str(micros)) + 1) // 2


def _payload_row(new: NewExecution) -> tuple[Any, ...]:
    replay = None if new.reuse is None else encode_text(new.reuse.facts)
    return (new.id, new.input.text, new.input.blob, new.input.size, replay)


def _put_rest(plans: Sequence[Plan]) -> Procedure[None]:
    news = [plan.new for plan in plans]
    # A unit is found by the tags of its parent, so that lists by tag do not walk past units.
    tagged = (new for new in news if new.kind is ExecutionKind.FLOW)
    if tags := [(new.workspace, key, value, new.id) for new in tagged for key, value in new.tags.items()]:
        yield Many("tags_put", tags)
    keys = [
        (new.workspace, new.idempotency_key, new.request_hash, new.id, new.created_at)
        for new in news
        if new.idempotency_key is not None
    ]
    if keys:
        yield Many("keys_put", keys)


def _put_work(context: Context, plans: Sequence[Plan], at: int) -> Procedure[None]:
    """Queue rows, slots and timers."""
    queued, slots, timers = [], [], []
    for plan in plans:
        new = plan.new
        if plan.status is ExecutionStatus.CANCELLED:
            continue
        if plan.status is ExecutionStatus.QUEUED:
            queued.append((new.id, new.workspace, new.queue, rank(at, new.priority)))
        if new.limit is not None and plan.due_at is None:
            held = int(not plan.waits_for_limit)
            slots.append((new.id, new.workspace, new.limit.key, new.limit.limit, held, rank(at, new.priority)))
        if plan.due_at is not None:
            timers.append((new.id, "start", plan.due_at))
        if new.deadline_at is not None:
            timers.append((new.id, "deadline", new.deadline_at))
    if queued:
        yield Many("queue_put", queued)
        context.claimable |= dict.fromkeys(row[2] for row in queued)
    if slots:
        yield Many("slots_put", slots)
    if timers:
        yield Many("timers_put", timers)
        context.due(min(due_at for _, _, due_at in timers))


def _note_skew(plans: Sequence[Plan]) -> Procedure[None]:
    """Remember how far creation times stray from those in the ids: ranges by creation time become ranges of ids."""
    skew = max(abs(id_time(plan.new.id) - plan.new.created_at) for plan in plans)
    if skew <= LEAST_SKEW:
        return
    rows = yield All("measure", {"name": ID_SKEW})
    if not rows or rows[0][0] < skew:
        yield All("measure_put", {"name": ID_SKEW, "value": 2 * skew})


def _standing(plan: Plan) -> Standing:
    """A skipped start as it stands: never queued, without slot or timer."""
    new = plan.new
    return Standing(
        0, new.id, new.workspace, new.flow, plan.status, plan.reason, None, 0, 2, new.priority, new.queue,
        new.trigger_kind, new.created_at, None, None, None, None, new.parent, new.parent_node, new.parent_ordinal,
        new.parent_attempt, int(new.has_cleanup), new.max_recoveries, 0, 0, new.kind,
    )  # fmt: skip
