"""Due times: starts that were put off, sleepers that wake, deadlines that pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.base.clock import SECOND
from perdure.model.definition import OnLimit
from perdure.model.states import TERMINAL, ExecutionStatus, PendingReason
from perdure.store.commands import FireTimers
from perdure.store.procedures.cancel import CancelWish, cancel_family, family_of
from perdure.store.procedures.context import Context, Standing
from perdure.store.procedures.endings import Ended, end_unowned
from perdure.store.procedures.limits import apply_changed_limits, limit_books
from perdure.store.procedures.placing import StartClaims
from perdure.store.procedures.queueing import Letter, become_queued, enqueue, rank, send, standings
from perdure.store.procedures.rates import rate_book
from perdure.store.statements import All, Many, Procedure

DEADLINE = "deadline"
HELD_PAUSE = SECOND // 10
"""Due timers that another process is firing, or whose execution it is changing, are looked at again after that time."""
_ENDS_AT_ONCE = frozenset({ExecutionStatus.PENDING, ExecutionStatus.QUEUED, ExecutionStatus.SUSPENDED})
_claims = msgspec.json.Decoder(StartClaims)


def fire_timers(context: Context, command: FireTimers) -> Procedure[int | None]:
    due = yield All("timers_due", {"at": command.at, "limit": command.limit})
    if due:
        yield Many("timers_drop", [(id, kind) for id, kind, _ in due])
        yield from _fire(context, due, command.at)
    rows = yield All("timers_next")
    next_due: int | None = rows[0][0]
    are_held = next_due is not None and next_due <= command.at and len(due) < command.limit
    return command.at + HELD_PAUSE if are_held else next_due


def _fire(context: Context, due: Sequence[Any], at: int) -> Procedure[None]:
    by_kind: dict[str, list[bytes]] = {}
    for id, kind, _ in due:
        by_kind.setdefault(kind, []).append(id)
    # A deadline that has passed goes before anything that would move the same execution on.
    expired = yield from standings(by_kind.get(DEADLINE, ()))
    yield from _expire(context, [one for one in expired.values() if one.status not in TERMINAL], at)
    woken = yield from standings(by_kind.get("wake", ()))
    sleeping = [one for one in woken.values() if one.worker is None and one.status == ExecutionStatus.SUSPENDED]
    yield from enqueue(context, sleeping, at)
    starting = yield from standings(by_kind.get("start", ()))
    yield from _begin(context, [one for one in starting.values() if one.status == ExecutionStatus.PENDING], at)


def _expire(context: Context, expired: Sequence[Standing], at: int) -> Procedure[None]:
    """Those that nobody runs end here; any other is told, and ends by itself within its grace."""
    candidates = [one for one in expired if one.worker is None and one.status in _ENDS_AT_ONCE]
    family = yield from family_of(candidates)
    lingering = family.lingering()
    ending = [one for one in candidates if one.id not in lingering]
    error = {"code": "timeout", "message": "the execution did not end before its deadline", "node": None}
    error |= {"ordinal": None, "attempt": None, "stack": None, "details": None}
    yield from end_unowned(context, [Ended(one, ExecutionStatus.TIMED_OUT, error=error) for one in ending], at)
    parents = {one.id for one in ending}
    orphans = [child for parent in parents for child in family.children.get(parent, {}).values()]
    left = [one for one in orphans if one.id not in parents]
    yield from cancel_family(context, left, CancelWish("parent_timed_out"), at)
    letters = [
        Letter(one.id, DEADLINE, {"at": one.deadline_at})
        for one in expired
        if one.id not in parents and one.status != ExecutionStatus.CANCELLING
    ]
    yield from send(context, letters, at)


def _begin(context: Context, starting: Sequence[Standing], at: int) -> Procedure[None]:
    """Put-off starts go on to the next thing that they must ask for: the rate, then the slot."""
    asked = [(one, _claims.decode(one.start_claims) if one.start_claims else StartClaims()) for one in starting]
    asked.sort(key=lambda pair: (rank(pair[0].created_at, pair[0].priority), pair[0].id))
    rates = yield from rate_book((one.workspace, claims.rate.key) for one, claims in asked if claims.rate is not None)
    books = yield from limit_books((one.workspace, claims.limit.key) for one, claims in asked if claims.limit)
    free: list[bytes] = []
    held_back: list[tuple[Any, ...]] = []
    timers: list[tuple[bytes, str, int]] = []
    slots: list[tuple[Any, ...]] = []
    skipped: list[Ended] = []
    for one, claims in asked:
        if claims.rate is not None and one.reason != PendingReason.RATE_LIMIT:
            go_at = rates.reserve(one.workspace, claims.rate, at)
            if go_at > at:
                held_back.append((*one.key, PendingReason.RATE_LIMIT, one.start_claims, at))
                timers.append((one.id, "start", go_at))
                continue
        if (limit := claims.limit) is not None:
            book = books[one.workspace, limit.key]
            takes = book.is_free(limit.limit)
            if not takes and limit.on_limit in (OnLimit.SKIP, OnLimit.REJECT):
                # It was accepted long ago, so nobody is there to be refused: it gets an end.
                skipped.append(Ended(one, ExecutionStatus.CANCELLED, PendingReason.CONCURRENCY_LIMIT))
                continue
            slots.append((one.id, one.workspace, limit.key, limit.limit, int(takes), rank(at, one.priority)))
            if not takes:
                book.wait(limit.limit)
                held_back.append((*one.key, PendingReason.CONCURRENCY_LIMIT, one.start_claims, at))
                continue
            book.take(one.id)
        free.append(one.id)
    yield from rates.settle()
    for name, rows in (("executions_hold", held_back), ("timers_put", timers), ("slots_put", slots)):
        if rows:
            yield Many(name, rows)
    if timers:
        context.due(min(due_at for _, _, due_at in timers))
    yield from become_queued(context, free, at)
    yield from end_unowned(context, skipped, at)
    yield from apply_changed_limits(context, books, at)
