"""Reading executions: one, many, how many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.base.clock import DAY, HOUR
from perdure.base.histogram import percentiles
from perdure.errors import CallerError, InvalidRequest
from perdure.store.interface import ExecutionFilter, Listing, Page, Statistics
from perdure.store.procedures.flows import UNFINISHED
from perdure.store.procedures.rows import payload_of, record_of
from perdure.store.procedures.start import repeated
from perdure.store.reads.counted import Groups, count_executions, group_executions, group_newest, is_counted
from perdure.store.reads.durations import group_durations
from perdure.store.reads.filters import GROUPS
from perdure.store.reads.listing import list_page
from perdure.store.reads.reader import Reader
from perdure.store.records import ExecutionRecord, LimitState, Passed, Payload, QueuePlace, Relative, Started
from perdure.store.statements import All, Library, Many, Procedure

HOLDERS_SHOWN = 20
SHARES = (0.5, 0.95, 0.99)
LOOKED_AT = 50_000
"""Of what the counters do not know, where it need not be exact."""


class StoredExecutions:
    def __init__(self, read: Reader, library: Library) -> None:
        self._read = read
        self._library = library

    async def get(self, workspace: str, id: bytes) -> ExecutionRecord | None:
        return await self._read(_one_record(All("execution", {"workspace": workspace, "id": id})))

    async def by_number(self, workspace: str, number: int) -> ExecutionRecord | None:
        return await self._read(_one_record(All("execution_by_number", {"workspace": workspace, "number": number})))

    async def whole(self, workspace: str, id: bytes) -> tuple[ExecutionRecord, Payload] | None:
        return await self._read(_whole(workspace, id), consistent=True)

    async def several(self, workspace: str, ids: Sequence[bytes]) -> list[ExecutionRecord]:
        return await self._read(_several(workspace, ids))

    async def payload(self, workspace: str, id: bytes) -> Payload | None:
        return (await self.payloads(workspace, [id])).get(id)

    async def payloads(self, workspace: str, ids: Sequence[bytes]) -> dict[bytes, Payload]:
        return await self._read(_payloads(workspace, ids))

    async def count(self, workspace: str, filter: ExecutionFilter, cap: int | None = None) -> int:
        return await self._read(count_executions(workspace, filter, cap), consistent=True)

    async def statistics(
        self, workspace: str, filter: ExecutionFilter, group_by: Sequence[str], *, durations: bool = False, exact: bool = True,
    ) -> Statistics:  # fmt: skip
        _check_groups(group_by)
        names = list(dict.fromkeys(group_by))
        procedure = _statistics(workspace, filter, names, durations=durations, exact=exact)
        return await self._read(procedure, consistent=True)

    async def children(self, workspace: str, id: bytes) -> list[ExecutionRecord]:
        return await self._read(_records(All("children", {"workspace": workspace, "id": id})))

    async def unfinished_like(
        self, workspace: str, flow: str, flow_version: int, input_text: str
    ) -> ExecutionRecord | None:
        like = {"workspace": workspace, "flow": flow, "flow_version": flow_version, "input": input_text}
        return await self._read(_unfinished_like(like), consistent=True)

    async def repeated(
        self, workspace: str, key: str, request_hash: bytes | None, at: int
    ) -> Started | CallerError | None:
        return await self._read(repeated(workspace, key, request_hash, at))

    async def queue_place(self, workspace: str, id: bytes) -> QueuePlace | None:
        return await self._read(_queue_place(workspace, id))

    async def limit_state(self, workspace: str, id: bytes) -> LimitState | None:
        return await self._read(_limit_state(workspace, id), consistent=True)

    async def start_due(self, workspace: str, id: bytes) -> int | None:
        return await self._read(_start_due(workspace, id))

    async def passed(self, after: bytes, until: bytes, limit: int) -> list[Passed]:
        return await self._read(_passed(after, until, limit))

    async def families(self, ids: Sequence[bytes]) -> dict[bytes, list[Relative]]:
        return await self._read(_families(ids))

    async def page(self, workspace: str, filter: ExecutionFilter, page: Page) -> Listing:
        return await self._read(list_page(workspace, filter, page, self._library), consistent=True)

    async def list(self, workspace: str, filter: ExecutionFilter, page: Page) -> list[ExecutionRecord]:
        found: list[ExecutionRecord] = []
        rest = page
        while True:
            records, rest_after = await self.page(workspace, filter, rest)
            found += records
            if rest_after is None or len(found) >= page.limit:
                return found
            rest = msgspec.structs.replace(rest, after=rest_after, limit=page.limit - len(found), offset=0)


def _records(request: All) -> Procedure[list[ExecutionRecord]]:
    rows = yield request
    return [record_of(row) for row in rows]


def _passed(after: bytes, until: bytes, limit: int) -> Procedure[list[Passed]]:
    rows = yield All("executions_passed", {"after": after, "until": until, "limit": limit})
    return [Passed(*row) for row in rows]


def _families(ids: Sequence[bytes]) -> Procedure[dict[bytes, list[Relative]]]:
    rows = yield Many("relatives", [(id,) for id in ids])
    families = {row[0]: [Relative(*row)] for row in rows}
    tops = {id: id for id in families}
    while tops:
        rows = yield Many("relatives_below", sorted((id,) for id in tops))
        below = {}
        for parent, *rest in rows:
            one = Relative(*rest)
            top = tops[parent]
            # What is named itself is a family of its own.
            if one.id not in families:
                families[top].append(one)
                below[one.id] = top
        tops = below
    return families


def _one_record(request: All) -> Procedure[ExecutionRecord | None]:
    rows = yield request
    return record_of(rows[0]) if rows else None


def _whole(workspace: str, id: bytes) -> Procedure[tuple[ExecutionRecord, Payload] | None]:
    record = yield from _one_record(All("execution", {"workspace": workspace, "id": id}))
    if record is None:
        return None
    payloads = yield from _payloads(workspace, [id])
    return record, payloads[id]


def _several(workspace: str, ids: Sequence[bytes]) -> Procedure[list[ExecutionRecord]]:
    rows = (yield Many("records", [(id,) for id in dict.fromkeys(ids)])) if ids else []
    found = {record.id: record for record in map(record_of, rows)}
    return [found[id] for id in ids if id in found and found[id].workspace == workspace]


def _payloads(workspace: str, ids: Sequence[bytes]) -> Procedure[dict[bytes, Payload]]:
    if not ids:
        return {}
    rows = yield Many("payloads_in", [(workspace, id) for id in dict.fromkeys(ids)])
    return {row[0]: payload_of(row) for row in rows}


def _check_groups(group_by: Sequence[str]) -> None:
    unknown = [name for name in group_by if name not in GROUPS]
    if unknown:
        raise InvalidRequest(f"cannot group by {unknown[0]!r}; group by {', '.join(GROUPS)}")


def _statistics(
    workspace: str, filter: ExecutionFilter, group_by: list[str], *, durations: bool, exact: bool
) -> Procedure[Statistics]:
    if exact or is_counted(filter):
        groups, is_exact = (yield from group_executions(workspace, filter, group_by)), True
    else:
        groups, is_exact = yield from group_newest(workspace, filter, group_by, LOOKED_AT)
    rows = _rows(groups, group_by)
    if durations:
        histograms = yield from group_durations(workspace, filter, group_by)
        for key, row in zip(sorted(groups), rows, strict=True):
            row["duration_us"] = percentiles(histograms.get(key, {}), SHARES)
    return Statistics(rows, is_exact)


def _rows(groups: Groups, group_by: list[str]) -> list[dict[str, Any]]:
    """In the order of their groups; there may be thousands of hours."""
    rows: list[dict[str, Any]] = [
        dict(zip((*group_by, "count"), (*key, count), strict=True)) for key, count in sorted(groups.items())
    ]
    for name, length in (("hour", HOUR), ("day", DAY)):
        if name in group_by:
            for row in rows:
                row[name] *= length
    return rows


def _unfinished_like(like: dict[str, Any]) -> Procedure[ExecutionRecord | None]:
    found: list[ExecutionRecord] = []
    for status in UNFINISHED:
        rows = yield All("unfinished_like", {**like, "status": str(status)})
        found += [record_of(row) for row in rows]
    return max(found, key=lambda record: record.id, default=None)


def _queue_place(workspace: str, id: bytes) -> Procedure[QueuePlace | None]:
    rows = yield All("queue_place", {"workspace": workspace, "id": id})
    return QueuePlace(*rows[0]) if rows else None


def _start_due(workspace: str, id: bytes) -> Procedure[int | None]:
    rows = yield All("start_due", {"workspace": workspace, "id": id})
    return rows[0][0] if rows else None


def _limit_state(workspace: str, id: bytes) -> Procedure[LimitState | None]:
    rows = yield All("slot_of", {"workspace": workspace, "id": id})
    if not rows:
        return None
    key, limit, held, ahead = rows[0]
    holders = yield All("slot_holders", {"workspace": workspace, "limit_key": key, "limit": HOLDERS_SHOWN})
    return LimitState(key=key, limit=limit, holders=[row[0] for row in holders], held=held, ahead=ahead)
