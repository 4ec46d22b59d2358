"""Cancelling: an owner is told, what nobody owns ends here and now, with all that it started."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from perdure.base.ids import id_text
from perdure.errors import CallerError, ExecutionEnded, ExecutionNotFound
from perdure.model.event import Event, EventType
from perdure.model.states import TERMINAL, ExecutionStatus
from perdure.store.commands import CancelExecutions
from perdure.store.procedures.context import Context, Standing
from perdure.store.procedures.endings import Ended, end_unowned
from perdure.store.procedures.queueing import Letter, enqueue, send, standings
from perdure.store.statements import Many, Procedure

CANCEL = "cancel"

_NEVER_RAN = frozenset({ExecutionStatus.PENDING, ExecutionStatus.QUEUED})


class CancelWish(NamedTuple):
    reason: str | None
    force: bool = False


class Family(NamedTuple):
    """Unfinished executions and their unfinished descendants, parents before children.

    Whoever is owned has no descendants here: its owner cascades by itself.
    """

    members: list[Standing]
    children: dict[bytes, dict[bytes, Standing]]

    def lingering(self) -> set[bytes]:
        """Members that cannot end at once: owned, with something to clean up, or with a child that lingers."""
        found: set[bytes] = set()
        for one in reversed(self.members):
            cleans_up = one.status == ExecutionStatus.CANCELLING or (one.has_cleanup and one.status not in _NEVER_RAN)
            if one.worker is not None or cleans_up or any(child in found for child in self.children.get(one.id, ())):
                found.add(one.id)
        return found


def family_of(ancestors: Sequence[Standing]) -> Procedure[Family]:
    members: dict[bytes, Standing] = {}
    children: dict[bytes, dict[bytes, Standing]] = {}
    level = list(ancestors)
    while level:
        # One that is met again further down moves there, so that parents stay before children.
        for one in level:
            members.pop(one.id, None)
            members[one.id] = one
        parents = [(one.id,) for one in level if one.worker is None]
        rows = (yield Many("children_unfinished", parents)) if parents else []
        level = [Standing._make(row) for row in rows]
        for one in level:
            assert one.parent is not None
            children.setdefault(one.parent, {})[one.id] = one
    return Family(list(members.values()), children)


def cancel_executions(context: Context, command: CancelExecutions) -> Procedure[list[ExecutionStatus | CallerError]]:
    found = yield from standings(command.ids)
    outcome: dict[bytes, ExecutionStatus | CallerError] = {}
    unfinished: list[Standing] = []
    for id in dict.fromkeys(command.ids):
        one = found.get(id)
        if one is None or one.workspace != command.workspace:
            outcome[id] = ExecutionNotFound.of(id_text(id))
        elif one.status in TERMINAL:
            outcome[id] = ExecutionEnded.of(id_text(id), one.status)
        else:
            unfinished.append(one)
    after = yield from cancel_family(context, unfinished, CancelWish(command.reason, command.force), command.at)
    outcome |= after
    return [outcome[id] for id in command.ids]


def cancel_family(
    context: Context, ancestors: Sequence[Standing], wish: CancelWish, at: int
) -> Procedure[dict[bytes, ExecutionStatus]]:
    """Cancel unfinished executions and their descendants.

    Returns:
        the status of each afterwards.
    """
    if not ancestors:
        return {}
    family = yield from family_of(ancestors)
    lingering = family.lingering()
    ending = [one for one in family.members if one.id not in lingering]
    staying = [one for one in family.members if one.id in lingering]
    begun = [one for one in staying if one.worker is None and one.status != ExecutionStatus.CANCELLING]
    yield from _begin_cancelling(context, begun, wish, at)
    told = [one for one in staying if wish.force or one.status != ExecutionStatus.CANCELLING]
    letters = [Letter(one.id, CANCEL, {"reason": wish.reason, "force": wish.force}) for one in told]
    yield from send(context, letters, at)
    yield from end_unowned(context, [Ended(one, ExecutionStatus.CANCELLED, wish.reason) for one in ending], at)
    after: dict[bytes, ExecutionStatus] = {one.id: ExecutionStatus.CANCELLED for one in ending}
    after |= {one.id: ExecutionStatus(one.status) for one in staying}
    after |= {one.id: ExecutionStatus.CANCELLING for one in begun}
    return after


def _begin_cancelling(context: Context, found: Sequence[Standing], wish: CancelWish, at: int) -> Procedure[None]:
    if not found:
        return
    rows = [
        (*one.key, ExecutionStatus.CANCELLING, wish.reason, None, 1, one.recoveries, one.crashes, None, None, at)
        for one in found
    ]
    yield Many("executions_move", rows)
    for one in found:
        context.tell(one, [Event(EventType.EXECUTION_CANCELLING, at, data={"reason": wish.reason})])
        context.moved(one, ExecutionStatus.CANCELLING)
    yield Many("timers_drop", [(one.id, "wake") for one in found])
    yield from enqueue(context, found, at)


def cancel_children(context: Context, ids: Iterable[bytes], reason: str, at: int) -> Procedure[None]:
    """For an owner that goes: those of its children that have not ended."""
    found = yield from standings(ids)
    living = [one for one in found.values() if one.status not in TERMINAL]
    yield from cancel_family(context, living, CancelWish(reason), at)


def cancel_descendants(context: Context, parents: Sequence[Standing], reason: str, at: int) -> Procedure[None]:
    """For parents that the store itself ended: whatever they started and has not ended."""
    rows = yield Many("children_unfinished", [(one.id,) for one in parents])
    yield from cancel_family(context, [Standing._make(row) for row in rows], CancelWish(reason), at)
