"""Flows and their immutable versions."""

from __future__ import annotations

from typing import Any

from perdure.errors import FlowInUse, FlowManaged, FlowNotFound
from perdure.model.states import TERMINAL, ExecutionStatus
from perdure.store.commands import DeleteFlow, PutFlow
from perdure.store.procedures.context import Context
from perdure.store.statements import All, Procedure

UNFINISHED = tuple(status for status in ExecutionStatus if status not in TERMINAL)


def put_flow(context: Context, command: PutFlow) -> Procedure[tuple[int, bool]]:
    key = {"workspace": command.workspace, "id": command.id}
    rows = yield All("flow", key)
    deleted = bool(rows) and rows[0][3] is not None
    if rows and not deleted:
        _check_manager(command.id, rows[0][2], command.source)
    same = yield All("flow_version_by_hash", {**key, "content_hash": command.content_hash})
    if same:
        number = same[0][0]
    else:
        newest = yield All("flow_version_newest", key)
        number = (newest[0][0] or 0) + 1
        yield All(
            "flow_version_put",
            {
                **key,
                "number": number,
                "content_hash": command.content_hash,
                "document": command.document,
                "source_text": command.source_text,
                "media_type": command.media_type,
                "at": command.at,
            },
        )
    if not rows or deleted or rows[0][1] != number or rows[0][2] != command.source or rows[0][4] != command.description:
        flow = {**key, "latest": number, "description": command.description, "source": command.source}
        # An insert that turns out to be an update would use a number up.
        yield All("flow_change" if rows else "flow_put", {**flow, "at": command.at})
    return number, not same


def delete_flow(context: Context, command: DeleteFlow) -> Procedure[None]:
    key = {"workspace": command.workspace, "id": command.id}
    rows = yield All("flow", key)
    if not rows or rows[0][3] is not None:
        raise FlowNotFound(f"there is no flow {command.id!r}", flow=command.id)
    _check_manager(command.id, rows[0][2], command.source)
    for status in UNFINISHED:
        found = yield All("flow_in_use", {**key, "status": str(status)})
        if found:
            raise FlowInUse(
                f"flow {command.id!r} has executions that are {status}; cancel them or wait for their end",
                flow=command.id,
                status=str(status),
            )
    yield All("flow_delete", {**key, "at": command.at})


def _check_manager(id: str, manager: Any, source: str | None) -> None:
    if manager is not None and manager != source:
        raise FlowManaged(f"flow {id!r} is managed by the folder {manager!r}; change its file there", source=manager)
