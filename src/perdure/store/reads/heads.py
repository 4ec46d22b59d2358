"""Reading the beginnings of what executions hold: what the index of texts is made from, and how its answers are checked."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.base.ids import FIRST_ID, LAST_ID
from perdure.store.interface import ExecutionFilter
from perdure.store.reads.counted import id_skew
from perdure.store.reads.filters import id_bounds
from perdure.store.reads.reader import Reader
from perdure.store.records import TextHead
from perdure.store.statements import All, Many, Procedure


class StoredHeads:
    def __init__(self, read: Reader) -> None:
        self._read = read

    async def of(self, ids: Sequence[bytes]) -> list[TextHead]:
        return await self._read(_heads(ids))

    async def ended(self, ids: Sequence[bytes]) -> set[bytes]:
        return await self._read(_ended(ids))

    async def older(self, before: bytes, limit: int) -> list[tuple[str, bytes]]:
        return await self._read(_older(before, limit))

    async def oldest(self) -> bytes | None:
        return await self._read(_oldest())

    async def bounds(self, filter: ExecutionFilter) -> tuple[bytes, bytes]:
        return await self._read(_bounds(filter))


def _bounds(filter: ExecutionFilter) -> Procedure[tuple[bytes, bytes]]:
    skew = yield from id_skew(filter)
    first, last = id_bounds(filter, skew)
    return first or FIRST_ID, last or LAST_ID


def _heads(ids: Sequence[bytes]) -> Procedure[list[TextHead]]:
    rows = (yield Many("heads_of", [(id,) for id in ids])) if ids else []
    return [TextHead(*row) for row in rows]


def _ended(ids: Sequence[bytes]) -> Procedure[set[bytes]]:
    rows = (yield Many("executions_ended", [(id,) for id in ids])) if ids else []
    return {row[0] for row in rows}


def _older(before: bytes, limit: int) -> Procedure[list[tuple[str, bytes]]]:
    rows = yield All("executions_older", {"before": before, "limit": limit})
    return [(workspace, id) for workspace, id in rows]


def _oldest() -> Procedure[bytes | None]:
    rows = yield All("execution_oldest")
    return rows[0][0] if rows else None
