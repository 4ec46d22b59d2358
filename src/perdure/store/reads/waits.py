"""Reading waits: those of one execution, and the inbox of a workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from perdure.base.ids import FIRST_ID
from perdure.model.answer import terms_of
from perdure.store.procedures.rows import wait_of
from perdure.store.reads.reader import Reader
from perdure.store.records import InboxPage, InboxPlace, WaitFilter, WaitRecord
from perdure.store.statements import All, Procedure

MOST_SCANNED = 10_000
"""Rows that one page looks at; a page that would need more ends early, with the place to go on from."""
_STEP = 500
_BEGINNING: InboxPlace = (-1, FIRST_ID, "", -1, "")


class StoredWaits:
    def __init__(self, read: Reader) -> None:
        self._read = read

    async def of(self, workspace: str, execution_id: bytes) -> list[WaitRecord]:
        return await self._read(_of_execution(workspace, execution_id))

    async def inbox(
        self, workspace: str, filter: WaitFilter, *, by_due: bool = False, after: InboxPlace | None = None, limit: int = 100
    ) -> InboxPage:  # fmt: skip
        by_due = by_due or filter.due_before is not None
        return await self._read(_inbox(workspace, filter, by_due, after or _BEGINNING, limit), consistent=True)


def _of_execution(workspace: str, execution_id: bytes) -> Procedure[list[WaitRecord]]:
    rows = yield All("wait_list", {"workspace": workspace, "id": execution_id})
    return [wait_of(row) for row in rows]


class _Walk(NamedTuple):
    """One index that yields waits in order, and its condition."""

    statement: str
    condition: Mapping[str, Any] = {}


def _walks(filter: WaitFilter, *, by_due: bool) -> list[_Walk]:
    """Together they meet every match; one that several approvers share is met by several."""
    if by_due:
        return [_Walk("inbox_by_due")]
    if filter.approvers:
        return [_Walk("inbox_by_approver", {"approver": name}) for name in dict.fromkeys(filter.approvers)]
    if filter.flow is not None:
        return [_Walk("inbox_by_flow", {"flow": filter.flow})]
    return [_Walk("inbox_by_kind", {"kind": kind}) for kind in dict.fromkeys(filter.kinds)]


def _inbox(
    workspace: str, filter: WaitFilter, by_due: bool, after: InboxPlace, limit: int
) -> Procedure[InboxPage]:  # fmt: skip
    def place(wait: WaitRecord) -> InboxPlace:
        first = wait.due_at if by_due else wait.created_at
        return (first or 0, wait.execution_id, *wait.key)

    step = max(limit + 1, _STEP)
    scanned = 0
    found: list[WaitRecord] = []
    while True:
        waits, goes_on = yield from _next_waits(workspace, _walks(filter, by_due=by_due), place, after, step)
        scanned += len(waits)
        for wait in waits:
            if filter.due_before is not None and (wait.due_at or 0) >= filter.due_before:
                return InboxPage(waits=found, next=None)
            if _fits(wait, filter):
                found.append(wait)
                if len(found) > limit:
                    return InboxPage(waits=found[:limit], next=place(found[limit - 1]))
        if not goes_on:
            return InboxPage(waits=found, next=None)
        after = place(waits[-1])
        if scanned >= MOST_SCANNED:
            return InboxPage(waits=found, next=after)


def _next_waits(
    workspace: str, walks: list[_Walk], place: Callable[[WaitRecord], InboxPlace], after: InboxPlace, step: int
) -> Procedure[tuple[list[WaitRecord], bool]]:
    """The next waits of all walks in order, without doubles, and whether more may follow."""
    at, id, node, ordinal, label = after
    params = {"workspace": workspace, "at": at, "id": id, "node": node, "ordinal": ordinal, "label": label}
    merged: dict[InboxPlace, WaitRecord] = {}
    ends: list[InboxPlace] = []
    for walk in walks:
        rows = yield All(walk.statement, {**params, **walk.condition, "limit": step})
        waits = [wait_of(row) for row in rows]
        merged |= {place(wait): wait for wait in waits}
        if len(waits) == step:
            ends.append(place(waits[-1]))
    # Behind the shortest walk's end others may still have waits that come first.
    end = min(ends, default=None)
    places = [one for one in sorted(merged) if end is None or one <= end]
    return [merged[one] for one in places], end is not None


def _fits(wait: WaitRecord, filter: WaitFilter) -> bool:
    """The conditions that do not lead the walk; a wait that is decided is nobody's task any more."""
    if wait.kind not in filter.kinds or (filter.flow is not None and wait.flow != filter.flow):
        return False
    if wait.data is not None and "decision" in wait.data:
        return False
    if not filter.approvers:
        return True
    if "attempt" not in (wait.data or {}):
        return False
    terms = terms_of(wait.data)
    if any(response.by == filter.responder for response in terms.responses):
        return False
    return bool(set(terms.named_approvers()) & set(filter.approvers))
