"""Tags of executions that are there already, ended or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from perdure.base.codec import decode, encode_text
from perdure.base.ids import id_text
from perdure.base.tags import MAX_TAGS
from perdure.errors import CallerError, ExecutionNotFound, Problem, invalid_request
from perdure.model.event import Event, EventType
from perdure.model.states import ExecutionKind
from perdure.store.commands import TagExecution
from perdure.store.procedures.context import Context
from perdure.store.procedures.queueing import standings
from perdure.store.statements import Many, Procedure

Tags = dict[str, str]


class TagWish(NamedTuple):
    put: Mapping[str, str]
    remove: Sequence[str]
    by: str


def tag_execution(context: Context, command: TagExecution) -> Procedure[Tags]:
    id = command.execution_id
    wish = TagWish(command.put, command.remove, command.by)
    answer = (yield from tag_executions(context, command.workspace, [id], wish, command.at))[id]
    if isinstance(answer, CallerError):
        raise answer
    return answer


def tag_executions(
    context: Context, workspace: str, ids: Iterable[bytes], wish: TagWish, at: int
) -> Procedure[dict[bytes, Tags | CallerError]]:
    """The tags of each afterwards, or why they stay as they are; what changes nothing is no event.

    Owners know nothing of tags and number their events by the row, so it is changed under them, by its lock.
    """
    answers: dict[bytes, Tags | CallerError] = {}
    found = yield from standings(ids)
    marks = (yield Many("executions_marks", [(id,) for id in found])) if found else []
    texts: dict[bytes, str] = {id: text for id, text, _ in marks}
    gone_rows: list[tuple[Any, ...]] = []
    come_rows: list[tuple[Any, ...]] = []
    rows: list[tuple[Any, ...]] = []
    for id in dict.fromkeys(ids):
        one = found.get(id)
        if one is None or one.workspace != workspace:
            answers[id] = ExecutionNotFound.of(id_text(id))
            continue
        before: Tags = decode(texts[id])
        after = {key: value for key, value in before.items() if key not in wish.remove} | dict(wish.put)
        if len(after) > MAX_TAGS:
            detail = f"it would have {len(after)} tags; at most {MAX_TAGS}"
            answers[id] = invalid_request([Problem("out_of_range", detail, "/set")])
            continue
        answers[id] = after
        gone = before.items() - after.items()
        come = after.items() - before.items()
        if not gone and not come:
            continue
        # A unit is found by the tags of its parent.
        if one.kind == ExecutionKind.FLOW:
            gone_rows += [(workspace, *tag, id) for tag in gone]
            come_rows += [(workspace, *tag, id) for tag in come]
        rows.append((*one.key, encode_text(after), at))
        data = {"set": dict(sorted(come)), "remove": sorted(before.keys() - after.keys()), "by": wish.by}
        context.tell(one, [Event(EventType.EXECUTION_TAGGED, at, data=data)])
    if gone_rows:
        yield Many("tags_drop", sorted(gone_rows))
    if come_rows:
        yield Many("tags_put", sorted(come_rows))
    if rows:
        yield Many("executions_tag", rows)
    return answers
