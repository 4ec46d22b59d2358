"""Tags of an execution that is there already, ended or not."""

from __future__ import annotations

from perdure.base.codec import decode, encode_text
from perdure.base.ids import id_text
from perdure.base.tags import MAX_TAGS
from perdure.errors import ExecutionNotFound, Problem, invalid_request
from perdure.model.event import Event, EventType
from perdure.model.states import ExecutionKind
from perdure.store.commands import TagExecution
from perdure.store.procedures.context import Context
from perdure.store.procedures.queueing import standings
from perdure.store.statements import Many, Procedure


def tag_execution(context: Context, command: TagExecution) -> Procedure[dict[str, str]]:
    """Owners know nothing of tags and number their events by the row, so it is changed under them, by its lock."""
    one = (yield from standings([command.execution_id])).get(command.execution_id)
    if one is None or one.workspace != command.workspace:
        name = id_text(command.execution_id)
        raise ExecutionNotFound(f"there is no execution {name}", id=name)
    [(_, text, _)] = yield Many("executions_marks", [(one.id,)])
    before: dict[str, str] = decode(text)
    after = {key: value for key, value in before.items() if key not in command.remove} | command.put
    if len(after) > MAX_TAGS:
        detail = f"it would have {len(after)} tags; at most {MAX_TAGS}"
        raise invalid_request([Problem("out_of_range", detail, "/set")])
    gone = before.items() - after.items()
    come = after.items() - before.items()
    if not gone and not come:
        return after
    # A unit is found by the tags of its parent.
    is_listed = one.kind == ExecutionKind.FLOW
    if gone and is_listed:
        yield Many("tags_drop", sorted((one.workspace, *tag, one.id) for tag in gone))
    if come and is_listed:
        yield Many("tags_put", sorted((one.workspace, *tag, one.id) for tag in come))
    yield Many("executions_tag", [(*one.key, encode_text(after), command.at)])
    data = {"set": dict(sorted(come)), "remove": sorted(before.keys() - after.keys()), "by": command.by}
    context.tell(one, [Event(EventType.EXECUTION_TAGGED, command.at, data=data)])
    return after
