"""Starts: decided in memory for a whole batch, then written with a few shared statements.

Nothing is written before the last decision is made, so that a refusal leaves no trace.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from perdure.base.clock import DAY
from perdure.base.ids import id_text
from perdure.errors import CallerError, ConcurrencyLimitReached, IdempotencyConflict
from perdure.model.definition import OnLimit
from perdure.model.states import ExecutionStatus, PendingReason
from perdure.store.commands import StartExecutions
from perdure.store.procedures.cancel import CancelWish, cancel_family
from perdure.store.procedures.catalogue import alive
from perdure.store.procedures.context import Context
from perdure.store.procedures.limits import LimitBook, LimitKey, apply_changed_limits, limit_books
from perdure.store.procedures.placing import Plan, put_executions
from perdure.store.procedures.queueing import standings
from perdure.store.procedures.rates import RateBook, rate_book
from perdure.store.procedures.reusing import missing_sources
from perdure.store.records import NewExecution, Started
from perdure.store.statements import All, Many, Procedure

IDEMPOTENCY_WINDOW = DAY

Answer = Started | CallerError


def start_executions(context: Context, commands: Sequence[StartExecutions]) -> Procedure[list[list[Answer]]]:
    """Several commands at once; one that is `atomic` must come alone, and raises its first refusal."""
    news = [new for command in commands for new in command.executions]
    at = max(command.at for command in commands)
    answers = yield from start(context, news, at, atomic=any(command.atomic for command in commands))
    rest = iter(answers)
    return [[next(rest) for _ in command.executions] for command in commands]


def start(context: Context, news: Sequence[NewExecution], at: int, *, atomic: bool = False) -> Procedure[list[Answer]]:
    answers: list[Answer | None] = [None] * len(news)
    followers = yield from _answer_repeated(news, answers, at)
    for index, gone in (yield from missing_sources(news)).items():
        if news[index].parent is None:
            answers[index] = answers[index] or gone
        else:
            # A child has no caller to refuse: it begins anew.
            news[index].reuse = news[index].replay_of = None
    undecided = [index for index in range(len(news)) if answers[index] is None and index not in followers]
    desk = yield from _open_desk([news[index] for index in undecided], at)
    plans: dict[int, Plan] = {}
    for index in undecided:
        decided = desk.decide(news[index])
        if isinstance(decided, CallerError):
            answers[index] = decided
        else:
            plans[index] = decided
    _answer_followers(news, answers, plans, followers)
    if atomic:
        for answer in answers:
            if isinstance(answer, CallerError):
                raise answer
    yield from desk.rates.settle()
    started = yield from put_executions(context, list(plans.values()), at)
    displaced = yield from _make_room(context, list(plans.values()), at)
    raised = yield from apply_changed_limits(context, desk.books, at)
    if displaced or raised:
        started = yield from _answer_anew(started)
    for index, one in zip(plans, started, strict=True):
        answers[index] = one
    for index, leader in followers.items():
        first = answers[leader]
        if answers[index] is None and isinstance(first, Started):
            answers[index] = _replayed(first)
    return [answer for answer in answers if answer is not None]


def repeated(workspace: str, key: str, request_hash: bytes | None, at: int) -> Procedure[Answer | None]:
    """What answers a start whose key was used within the window before; None where it was not."""
    rows = yield Many("keys", [(workspace, key)])
    return next((_of_key(row, request_hash) for row in rows if _counts(row, at)), None)


def _replayed(started: Started) -> Started:
    return Started(
        started.id, started.number, started.status, started.reason, started.epoch, started.last_seq, replayed=True
    )


def _answer_repeated(news: Sequence[NewExecution], answers: list[Answer | None], at: int) -> Procedure[dict[int, int]]:
    """Answer what was started before.

    Returns:
        for each start that repeats one of the same batch, the index of that one.
    """
    followers: dict[int, int] = {}
    seen: dict[tuple[object, ...], int] = {}
    children = [(index, new) for index, new in enumerate(news) if new.parent is not None]
    keyed = [(index, new) for index, new in enumerate(news) if new.idempotency_key is not None]
    if children:
        rows = yield Many("children_started", list({_birth(new) for _, new in children}))
        born = {tuple(row[:5]): row[5:] for row in rows}
        for index, new in children:
            birth = _birth(new)
            if birth in born:
                answers[index] = _replayed(_started(born[birth]))
            elif (leader := seen.setdefault(("birth", *birth), index)) != index:
                followers[index] = leader
    if keyed:
        rows = yield Many("keys", list({(new.workspace, new.idempotency_key) for _, new in keyed}))
        known = {(row[0], row[1]): row for row in rows if _counts(row, at)}
        for index, new in keyed:
            row = known.get((new.workspace, new.idempotency_key))
            if answers[index] is not None or index in followers:
                continue
            if row is not None:
                answers[index] = _of_key(row, new.request_hash)
            elif (leader := seen.setdefault(("key", new.workspace, new.idempotency_key), index)) != index:
                followers[index] = leader
    return followers


def _answer_followers(
    news: Sequence[NewExecution], answers: list[Answer | None], plans: dict[int, Plan], followers: dict[int, int]
) -> None:
    """Refuse those whose leader was refused, or is another request under the same key."""
    for index, leader in followers.items():
        first = answers[leader]
        if isinstance(first, CallerError):
            answers[index] = first
        elif news[index].parent is None and news[index].request_hash != news[leader].request_hash:
            answers[index] = _conflict(news[index].idempotency_key, plans[leader].new.id)


def _birth(new: NewExecution) -> tuple[bytes | None, str | None, int | None, str | None, int | None]:
    return (new.parent, new.parent_node, new.parent_ordinal, new.parent_label or "", new.parent_attempt)


def _started(row: Sequence[object]) -> Started:
    id, number, status, reason, epoch, last_seq = row
    return Started(id, number, ExecutionStatus(status), reason, epoch, last_seq)  # type: ignore[arg-type]


def _counts(row: Sequence[Any], at: int) -> bool:
    """Whether a key's row is within its window."""
    return bool(row[3] > at - IDEMPOTENCY_WINDOW)


def _of_key(row: Sequence[Any], request_hash: bytes | None) -> Answer:
    """What answers a request under the key of this row."""
    return _replayed(_started(row[4:])) if row[2] == request_hash else _conflict(row[1], row[4])


def _conflict(key: str | None, first: bytes) -> IdempotencyConflict:
    return IdempotencyConflict(
        f"the idempotency key {key!r} was used with another request, for execution {id_text(first)}; use a new key",
        execution=id_text(first),
    )


class Desk:
    """Decides one start after the other, each seeing the slots and rates that those before it took."""

    def __init__(
        self, books: dict[LimitKey, LimitBook], rates: RateBook, *, at: int, owners: Container[str | None]
    ) -> None:
        self.books = books
        self.rates = rates
        self.at = at
        self.owners = owners
        """Workers that may own at once what they start."""

    def decide(self, new: NewExecution) -> Plan | CallerError:
        if new.start_at is not None and new.start_at > self.at:
            return Plan(new, ExecutionStatus.PENDING, PendingReason.START_AT, due_at=new.start_at)
        if new.limit is not None and (refused := self._refuse(new)) is not None:
            return refused
        if new.rate is not None:
            go_at = self.rates.reserve(new.workspace, new.rate, self.at)
            if go_at > self.at:
                return Plan(new, ExecutionStatus.PENDING, PendingReason.RATE_LIMIT, due_at=go_at)
        if new.limit is not None:
            book = self.books[new.workspace, new.limit.key]
            if not book.is_free(new.limit.limit):
                book.wait(new.limit.limit)
                return Plan(new, ExecutionStatus.PENDING, PendingReason.CONCURRENCY_LIMIT, waits_for_limit=True)
            book.take(new.id)
        return Plan(new, ExecutionStatus.RUNNING if new.claim_by in self.owners else ExecutionStatus.QUEUED)

    def _refuse(self, new: NewExecution) -> Plan | CallerError | None:
        """A start that would not wait for its limit. A child has no caller to refuse: it ends at once instead."""
        limit = new.limit
        assert limit is not None
        if limit.on_limit not in (OnLimit.REJECT, OnLimit.SKIP):
            return None
        book = self.books[new.workspace, limit.key]
        if book.is_free(limit.limit):
            return None
        if limit.on_limit is OnLimit.SKIP or new.parent is not None:
            return Plan(new, ExecutionStatus.CANCELLED, PendingReason.CONCURRENCY_LIMIT)
        holder = None if book.holder is None else id_text(book.holder)
        return ConcurrencyLimitReached(
            f"concurrency limit {limit.key!r} is reached: {book.held} of {limit.limit} run, "
            f"the oldest is execution {holder}; start again when one has ended",
            key=limit.key,
            limit=limit.limit,
            holder=holder,
        )


def _open_desk(news: Sequence[NewExecution], at: int) -> Procedure[Desk]:
    due = [new for new in news if new.start_at is None or new.start_at <= at]
    books = yield from limit_books((new.workspace, new.limit.key) for new in due if new.limit is not None)
    rates = yield from rate_book((new.workspace, new.rate.key) for new in due if new.rate is not None)
    wanted = {new.claim_by for new in due if new.claim_by is not None}
    owners = yield from alive(sorted(wanted))
    return Desk(books, rates, at=at, owners=owners)


def _make_room(context: Context, plans: Sequence[Plan], at: int) -> Procedure[bool]:
    """`cancel_oldest`: of all that hold or want the limit, those beyond it go, the oldest first."""
    newest: dict[LimitKey, Plan] = {}
    for plan in plans:
        limit = plan.new.limit
        if plan.waits_for_limit and limit is not None and limit.on_limit is OnLimit.CANCEL_OLDEST:
            newest[plan.new.workspace, limit.key] = plan
    for (workspace, key), plan in newest.items():
        assert plan.new.limit is not None
        members = yield All("limit_members", {"workspace": workspace, "limit_key": key})
        ids = [row[0] for row in members]
        victims = ids[: max(len(ids) - plan.new.limit.limit, 0)]
        if victims:
            yield Many("slots_leave", [(id,) for id in victims])
            found = yield from standings(victims)
            wish = CancelWish(PendingReason.CONCURRENCY_LIMIT)
            yield from cancel_family(context, [found[id] for id in victims], wish, at)
    return bool(newest)


def _answer_anew(started: Sequence[Started]) -> Procedure[list[Started]]:
    """The same starts as they stand after others made room, or had to."""
    found = yield from standings(one.id for one in started)
    now = (found[one.id] for one in started)
    return [
        Started(one.id, one.number, ExecutionStatus(one.status), one.reason, one.epoch, one.last_seq) for one in now
    ]
