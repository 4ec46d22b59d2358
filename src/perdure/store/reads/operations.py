"""Reading operations and what became of their items."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from perdure.base.clock import SECOND
from perdure.base.ids import LAST_ID, id_floor
from perdure.model.operation import ItemOutcome
from perdure.store.operation_records import OperationFilter, OperationItem, OperationRecord
from perdure.store.procedures.operations import item_of, operation_of
from perdure.store.reads.reader import Reader
from perdure.store.statements import All, Procedure, T

IDS_AHEAD = 2 * SECOND
"""No id tells a time so far behind the creation that it was made for; none tells an earlier one (`base.ids.new_id`)."""
_NEVER = 1 << 62
_STATEMENTS = {
    frozenset[str](): "operation_list",
    frozenset({"status"}): "operation_list_by_status",
    frozenset({"action"}): "operation_list_by_action",
    frozenset({"status", "action"}): "operation_list_by_both",
}


class StoredOperations:
    def __init__(self, read: Reader) -> None:
        self._read = read

    async def is_any_free(self, at: int) -> bool:
        return bool(await self._read(_made(All("operation_free", {"at": at}), tuple)))

    async def get(self, workspace: str, id: bytes) -> OperationRecord | None:
        found = await self._read(_made(All("operation_get", {"workspace": workspace, "id": id}), operation_of))
        return found[0] if found else None

    async def items(
        self, id: bytes, *, outcome: ItemOutcome | None = None, after: int = 0, limit: int = 100
    ) -> list[OperationItem]:
        span: dict[str, Any] = {"id": id, "after": after, "limit": limit}
        if outcome is None:
            return await self._read(_made(All("operation_items", span), item_of))
        return await self._read(_made(All("operation_items_by_outcome", {**span, "outcome": str(outcome)}), item_of))

    async def news(self, id: bytes, limit: int) -> list[OperationItem]:
        return await self._read(_made(All("operation_items_news", {"id": id, "limit": limit}), item_of))

    async def list(
        self,
        workspace: str,
        *,
        filter: OperationFilter | None = None,
        before: bytes | None = None,
        limit: int = 100,
    ) -> list[OperationRecord]:
        asked = filter or OperationFilter()
        return await self._read(_list(workspace, asked, before or LAST_ID, limit), consistent=True)


def _list(workspace: str, filter: OperationFilter, before: bytes, limit: int) -> Procedure[list[OperationRecord]]:
    """One walk for each status and action: an index has the ids in order within these only."""
    after = 0 if filter.created_after is None else filter.created_after
    until = filter.created_before
    span = {
        "workspace": workspace,
        "first": id_floor(after),
        "before": before if until is None else min(before, id_floor(until + IDS_AHEAD)),
        "created_after": after,
        "created_before": _NEVER if until is None else until,
        "limit": limit,
    }
    found: list[OperationRecord] = []
    for walk in _walks(filter):
        rows = yield All(_STATEMENTS[frozenset(walk)], span | walk)
        found += [operation_of(row) for row in rows]
    return sorted(found, key=lambda one: one.id, reverse=True)[:limit]


def _walks(filter: OperationFilter) -> Iterator[dict[str, str]]:
    """What is asked of each: together they meet every match once."""
    statuses = [{"status": str(one)} for one in dict.fromkeys(filter.statuses)] or [{}]
    actions = [{"action": str(one)} for one in dict.fromkeys(filter.actions)] or [{}]
    for status in statuses:
        for action in actions:
            yield status | action


def _made(request: All, make: Callable[[Any], T]) -> Procedure[list[T]]:
    rows = yield request
    return [make(row) for row in rows]
