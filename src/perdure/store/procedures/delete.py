"""Deleting executions that have ended, each with its children and units, and every row that they left.

Contents of large values and artifacts stay, as other executions may refer to them; a sweep removes those that none does.
"""

from __future__ import annotations

from collections.abc import Sequence

from perdure.base.codec import decode
from perdure.base.ids import id_text
from perdure.errors import CallerError, ExecutionNotEnded, ExecutionNotFound
from perdure.model.states import TERMINAL, ExecutionKind
from perdure.store.commands import DeleteExecutions, EraseExecutions, EraseHistory
from perdure.store.procedures.context import Context, Standing, took
from perdure.store.procedures.queueing import standings
from perdure.store.statements import All, Many, Procedure


def delete_executions(context: Context, command: DeleteExecutions) -> Procedure[list[CallerError | None]]:
    """None for each that is gone with all below it; nothing is written of the others."""
    found = yield from standings(command.ids)
    parents = yield from standings(one.parent for one in found.values() if one.parent is not None)
    tops: list[Standing] = []
    answers: dict[bytes, CallerError | None] = {}
    for id in dict.fromkeys(command.ids):
        one = found.get(id)
        if one is None or one.workspace != command.workspace:
            answers[id] = ExecutionNotFound.of(id_text(id))
        elif one.status not in TERMINAL:
            answers[id] = _not_ended(one, f"execution {id_text(id)} has not ended: it is {one.status}")
        elif one.parent is not None and (above := parents.get(one.parent)) and above.status not in TERMINAL:
            # Its parent may still have to read how it ended.
            answers[id] = _not_ended(above, f"execution {id_text(above.id)}, which started it, is {above.status}")
        else:
            tops.append(one)
    families = yield from families_of(tops)
    doomed: dict[bytes, Standing] = {}
    for top in tops:
        family = families[top.id]
        living = next((one for one in family if one.status not in TERMINAL), None)
        if living is None:
            answers[top.id] = None
            doomed |= {one.id: one for one in family}
        else:
            answers[top.id] = _not_ended(living, f"its child {id_text(living.id)} has not ended: it is {living.status}")
    yield from erase(context, list(doomed.values()))
    return [answers[id] for id in command.ids]


def erase_executions(context: Context, command: EraseExecutions) -> Procedure[int | None]:
    if not (yield from _goes_on(command.operation)):
        return None
    found = yield from standings(command.ids)
    doomed = {id: one for id, one in found.items() if one.status in TERMINAL}
    rows = yield Many("children_all", sorted((id,) for id in doomed))
    below = [Standing._make(row) for row in rows]
    # A child that stays keeps its parent, and that one its own.
    stays = {child.parent for child in below if child.id not in doomed}
    while stays:
        doomed = {id: one for id, one in doomed.items() if id not in stays}
        stays = {child.parent for child in below if child.parent in doomed and child.id not in doomed}
    yield from erase(context, list(doomed.values()))
    return len(doomed)


def erase_history(context: Context, command: EraseHistory) -> Procedure[bool | None]:
    if not (yield from _goes_on(command.operation)):
        return None
    # What others of this batch have told of it is a part of its history.
    yield from context.settle()
    one = (yield from standings([command.execution_id])).get(command.execution_id)
    if one is None or one.status not in TERMINAL:
        return False
    last = {"execution_id": one.id, "limit": command.limit}
    if events := (yield All("events_last", last)):
        yield Many("events_drop", events)
        # It ends where it is cut, lest a reader wait for what is gone, and a check miss it.
        _, first_gone = events[-1]
        yield Many("executions_told", [(*one.key, first_gone - 1 - one.last_seq)])
        return True
    if runs := (yield All("node_runs_last", last)):
        yield Many("node_runs_drop", runs)
        return True
    return False


def _goes_on(operation: tuple[bytes, str] | None) -> Procedure[bool]:
    """Whoever cancels it meanwhile waits for the lock of its row: nothing more is done once he has his answer."""
    if operation is None:
        return True
    id, holder = operation
    return bool((yield All("operation_goes_on", {"id": id, "holder": holder})))


def erase(context: Context, doomed: Sequence[Standing]) -> Procedure[None]:
    """Every row of these executions, which have ended, and whose rows are locked; they are not counted any more."""
    if not doomed:
        return
    # What others of this batch have told of them, or referred to in their name, would come after they are gone.
    yield from context.settle()
    ids = sorted((one.id,) for one in doomed)
    marks = {id: (tags, key) for id, tags, key in (yield Many("executions_marks", ids))}
    tags: list[tuple[str, str, str, bytes]] = []
    keys: list[tuple[str, str, bytes]] = []
    for one in doomed:
        tags_text, key = marks[one.id]
        tags += [(one.workspace, *tag, one.id) for tag in decode(tags_text).items()]
        if key is not None:
            keys.append((one.workspace, key, one.id))
        if one.kind == ExecutionKind.FLOW:
            duration = took(one.started_at, one.finished_at)
            context.count(
                one.workspace, one.flow, one.status, one.trigger_kind, one.created_at, -1, took=duration
            )  # fmt: skip
    if tags:
        yield Many("tags_drop", tags)
    if keys:
        yield Many("keys_forget", keys)
    yield Many("artifacts_forget", sorted((one.workspace, one.id) for one in doomed))
    # An end clears these; a message may have come between an owner's last look and its end.
    yield Many("waiting_clear", ids)
    yield Many("executions_erase", ids)


def families_of(tops: Sequence[Standing]) -> Procedure[dict[bytes, list[Standing]]]:
    """Each with all below it, locked, by its id; what is above comes before what is below."""
    families: dict[bytes, list[Standing]] = {top.id: [top] for top in tops}
    belongs: dict[bytes, list[bytes]] = {top.id: [top.id] for top in tops}
    level: list[bytes] = [top.id for top in tops]
    while level:
        rows = yield Many("children_all", sorted((id,) for id in level))
        belongs_next: dict[bytes, list[bytes]] = {}
        for row in rows:
            child = Standing._make(row)
            assert child.parent is not None
            for top in belongs[child.parent]:
                families[top].append(child)
                belongs_next.setdefault(child.id, []).append(top)
        belongs, level = belongs_next, list(belongs_next)
    return families


def _not_ended(one: Standing, message: str) -> ExecutionNotEnded:
    return ExecutionNotEnded(message, id=id_text(one.id), status=str(one.status))
