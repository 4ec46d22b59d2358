"""Pausing and resuming: a pause is a wait of the execution itself, which whoever owns it next finds in its rows."""

from __future__ import annotations

from perdure.base.ids import id_text
from perdure.errors import NotPaused
from perdure.model.answer import PAUSE
from perdure.model.event import Event, EventType
from perdure.model.execution import PAUSED
from perdure.model.states import ExecutionStatus
from perdure.store.commands import PauseExecution, ResumeExecution
from perdure.store.procedures.context import Context
from perdure.store.procedures.outside import Note, locked, open_waits, tell
from perdure.store.procedures.rows import wait_row
from perdure.store.records import WaitRecord
from perdure.store.statements import Many, Procedure

UNPAUSED = "unpaused"
_KEY = ("", 0, "")


def pause_execution(context: Context, command: PauseExecution) -> Procedure[None]:
    one = yield from locked(command.workspace, command.execution_id)
    if any(wait.kind == PAUSE for wait in (yield from open_waits(one.id))):
        return
    data = {"by": command.by, "reason": command.reason}
    wait = WaitRecord(node="", kind=PAUSE, data=data, created_at=command.at)
    yield Many("waits_put", [wait_row(one.id, one.workspace, one.flow, wait)])
    if one.status == ExecutionStatus.SUSPENDED:
        yield Many("executions_hold", [(*one.key, PAUSED, one.start_claims, command.at)])
    letter: Note | None = None if one.worker is None else (PAUSED, {})
    yield from tell(context, one, Event(EventType.EXECUTION_PAUSED, command.at, data=data), command.at, letter=letter)


def resume_execution(context: Context, command: ResumeExecution) -> Procedure[None]:
    one = yield from locked(command.workspace, command.execution_id)
    if not any(wait.kind == PAUSE for wait in (yield from open_waits(one.id))):
        raise NotPaused(f"execution {id_text(one.id)} is not paused; it is {one.status}")
    yield Many("waits_close", [(one.id, *_KEY)])
    asleep = one.worker is None and one.status == ExecutionStatus.SUSPENDED
    if asleep:
        yield Many("executions_hold", [(*one.key, None, one.start_claims, command.at)])
    letter: Note | None = (UNPAUSED, {}) if asleep or one.worker is not None else None
    event = Event(EventType.EXECUTION_UNPAUSED, command.at, data={"by": command.by})
    yield from tell(context, one, event, command.at, letter=letter)
