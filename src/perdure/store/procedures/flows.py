"""Flows and their immutable versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.errors import FlowInUse, FlowManaged, FlowNotFound
from perdure.model.states import TERMINAL, ExecutionStatus
from perdure.store.commands import DeleteFlow, NewFlow, PutFlows
from perdure.store.procedures.context import Context
from perdure.store.records import FlowPut
from perdure.store.statements import All, Procedure

UNFINISHED = tuple(status for status in ExecutionStatus if status not in TERMINAL)


def put_flows(context: Context, command: PutFlows) -> Procedure[list[FlowPut]]:
    known: dict[str, Any] = {}
    # In one order, so that two processes that put the same flows do not wait for each other in a circle.
    for id in sorted({new.id for new in command.flows}):
        rows = yield All("flow", {"workspace": command.workspace, "id": id})
        if rows and rows[0][3] is None:
            _check_manager(id, rows[0][2], command.source)
        known[id] = rows[0] if rows else None
    done = {}
    for new in sorted(command.flows, key=lambda new: new.id):
        done[new.id] = yield from _put(command, new, known[new.id])
    return [done[new.id] for new in command.flows]


def _put(command: PutFlows, new: NewFlow, known: Any) -> Procedure[FlowPut]:
    """`known` is the flow's row, also of a deleted one."""
    key = {"workspace": command.workspace, "id": new.id}
    is_there = known is not None and known[3] is None
    same: Sequence[Any] = ()
    number = 1
    # Versions outlive their flow: only one that was never there has none.
    if known is not None:
        same = yield All("flow_version_by_hash", {**key, "content_hash": new.content_hash})
        number = same[0][0] if same else 1 + ((yield All("flow_version_newest", key))[0][0] or 0)
    if not same:
        yield All(
            "flow_version_put",
            {
                **key,
                "number": number,
                "content_hash": new.content_hash,
                "document": new.document,
                "source_text": new.source_text,
                "media_type": new.media_type,
                "at": command.at,
            },
        )
    if not is_there or (known[1], known[2], known[4]) != (number, command.source, new.description):
        flow = {**key, "latest": number, "description": new.description, "source": command.source}
        # An insert that turns out to be an update would use a number up.
        yield All("flow_put" if known is None else "flow_change", {**flow, "at": command.at})
    return FlowPut(number, not same, known[1] if is_there else None)


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
