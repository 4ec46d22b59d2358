"""Reading operations and what became of their items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perdure.model.operation import ItemOutcome
from perdure.store.operation_records import OperationItem, OperationRecord
from perdure.store.procedures.operations import item_of, operation_of
from perdure.store.reads.reader import Reader
from perdure.store.statements import All, Procedure, T

_LAST_ID = b"\xff" * 16


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

    async def list(self, workspace: str, *, before: bytes | None = None, limit: int = 100) -> list[OperationRecord]:
        span = {"workspace": workspace, "before": before or _LAST_ID, "limit": limit}
        return await self._read(_made(All("operation_list", span), operation_of))


def _made(request: All, make: Callable[[Any], T]) -> Procedure[list[T]]:
    rows = yield request
    return [make(row) for row in rows]
