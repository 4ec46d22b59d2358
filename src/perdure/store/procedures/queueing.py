"""Making executions claimable, and the messages that reach them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any, NamedTuple

from perdure.base.clock import MINUTE
from perdure.base.codec import encode_text
from perdure.model.event import Event, EventType
from perdure.model.states import TERMINAL, ExecutionStatus
from perdure.store.procedures.context import Context, Standing
from perdure.store.statements import Many, Procedure

PRIORITY_WORTH = MINUTE
"""How much waiting one level of priority is worth, in microseconds."""

CHILD_ENDED = "child_ended"
"""The kind of message by which a child tells its parent of its end."""

DORMANT = frozenset({ExecutionStatus.SUSPENDED, ExecutionStatus.INTERRUPTED, ExecutionStatus.CANCELLING})
"""States in which an unowned execution is woken by a message."""


class Letter(NamedTuple):
    """A message on its way into an inbox."""

    execution_id: bytes
    kind: str
    data: dict[str, Any]


def rank(at: int, priority: int) -> int:
    """The place in a queue: lower is earlier. It never changes, so whoever waits is overtaken less and less."""
    return at - priority * PRIORITY_WORTH


def standings(ids: Iterable[bytes]) -> Procedure[dict[bytes, Standing]]:
    """What stands about the given executions now; in PostgreSQL their rows are locked in order of id."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    rows = yield Many("standings", [(id,) for id in wanted])
    return {row[1]: Standing._make(row) for row in rows}


def enqueue(context: Context, found: Sequence[Standing], at: int, *, ahead: Container[bytes] = ()) -> Procedure[None]:
    """Queue rows for executions that go on (not for the start of one): what was interrupted keeps its old rank.

    Those in `ahead` keep theirs too.
    """
    if not found:
        return
    interrupted = ExecutionStatus.INTERRUPTED
    rows = [
        (
            one.id,
            one.workspace,
            one.queue,
            rank((one.queued_at or at) if one.status == interrupted or one.id in ahead else at, one.priority),
        )
        for one in found
    ]
    yield Many("queue_put", rows)
    context.claimable |= dict.fromkeys(one.queue for one in found)


def become_queued(context: Context, ids: Sequence[bytes], at: int) -> Procedure[None]:
    """Pending executions whose way is free: they are queued and claimable."""
    found = list((yield from standings(ids)).values())
    if not found:
        return
    yield Many("executions_queue", [(*one.key, at) for one in found])
    for one in found:
        context.tell(one, [Event(EventType.EXECUTION_QUEUED, at)])
        context.moved(one, ExecutionStatus.QUEUED)
    yield Many("queue_put", [(one.id, one.workspace, one.queue, rank(at, one.priority)) for one in found])
    context.claimable |= dict.fromkeys(one.queue for one in found)


def send(context: Context, letters: Sequence[Letter], at: int) -> Procedure[None]:
    """Put messages into inboxes: an owner is told, a dormant execution becomes claimable, an ended one gets none."""
    if not letters:
        return
    found = yield from standings(letter.execution_id for letter in letters)
    living = {id: one for id, one in found.items() if one.status not in TERMINAL}
    rows = [(one.execution_id, one.kind, encode_text(one.data), at) for one in letters if one.execution_id in living]
    if rows:
        yield Many("inbox_put", rows)
    context.deliveries += [(one.worker, one.id) for one in living.values() if one.worker is not None]
    # A parent goes before its own children, which would hold it up otherwise.
    parents = {letter.execution_id for letter in letters if letter.kind == CHILD_ENDED}
    dormant = [one for one in living.values() if one.worker is None and one.status in DORMANT]
    yield from enqueue(context, dormant, at, ahead=parents)
