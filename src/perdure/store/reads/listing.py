"""Listing executions: which index to walk, and how far a page looks when most of what it meets does not match."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from perdure.errors import InvalidRequest
from perdure.model.states import ExecutionKind, ExecutionStatus
from perdure.store.interface import ExecutionFilter, Listing, Page
from perdure.store.procedures.rows import record_of
from perdure.store.reads.counted import count_executions, group_executions, id_skew, is_counted
from perdure.store.reads.filters import ALONE, FilterQuery
from perdure.store.records import ExecutionRecord
from perdure.store.statements import Library, Procedure

PATIENCE_S = 1.5
"""For one page; a span that was begun is looked through."""
FIRST_SPAN = 1_000
LARGEST_SPAN = 20_000
"""Rows that are met before the clock is looked at again."""
FEW = 2_000
"""So many are better looked at one by one than waited for on a walk through more."""

_NOTHING = Listing([], None)
_TIMES = ("started_after", "finished_after", "min_duration")
"""What the index of lags leads to."""


def list_page(
    workspace: str,
    filter: ExecutionFilter,
    page: Page,
    library: Library,
    *,
    monotonic_s: Callable[[], float] = time.monotonic,
) -> Procedure[Listing]:
    """One page; a short one with the id to go on behind when the time is over."""
    query = yield from best_query(workspace, filter)
    if query is None:
        return _NOTHING
    if not query.has_residual:
        found = yield from _records(query, msgspec.structs.replace(page, limit=page.limit + 1), library)
        return _cut(found, page.limit)
    deadline = monotonic_s() + PATIENCE_S
    found, span = [], FIRST_SPAN
    while True:
        frontier = yield query.frontier(page, span)
        part = msgspec.structs.replace(page, until=frontier[0][0] if frontier else None)
        wanted = page.limit + 1 - len(found)
        met = yield from _records(query, msgspec.structs.replace(part, limit=wanted), library)
        if page.offset and not met:
            ((skipped,),) = yield query.counting(None, part)
            page = msgspec.structs.replace(page, offset=page.offset - skipped)
        elif met:
            page = msgspec.structs.replace(page, offset=0)
        found += met
        if not frontier or len(found) > page.limit:
            return _cut(found, page.limit)
        page = msgspec.structs.replace(page, after=frontier[0][0])
        if monotonic_s() > deadline:
            if page.offset:
                raise InvalidRequest(
                    "so many are skipped that it takes too long; go on with the cursor in `next` instead"
                )
            return Listing(found, page.after)
        span = min(4 * span, LARGEST_SPAN)


def best_query(workspace: str, filter: ExecutionFilter) -> Procedure[FilterQuery | None]:
    """Of several conditions, the one that fewest executions meet walks; None when the counters know that none fits."""
    skew = yield from id_skew(filter)
    if filter.kind is ExecutionKind.UNIT or any(getattr(filter, name) is not None for name in ALONE):
        return FilterQuery(workspace, filter, skew)
    statuses = [*ExecutionStatus]
    counts: dict[str, int] = {}
    known = _known(filter)
    if known is not None:
        groups = yield from group_executions(workspace, known, ["status"])
        statuses = [ExecutionStatus(key[0]) for key in groups]
        if not statuses:
            return None
    indexed = {"tag": bool(filter.tags), "lag": any(getattr(filter, name) is not None for name in _TIMES)}
    given = [name for name, is_given in indexed.items() if is_given]
    if known is not None:
        counts = yield from _counts(workspace, known, is_alone=not given)
    for driver in given:
        query = FilterQuery(workspace, filter, skew, driver=driver)
        ((counts[driver],),) = yield query.counting(FEW + 1, checked=False)
    best = min(counts, key=lambda name: counts[name], default="")
    return FilterQuery(workspace, filter, skew, driver=best, statuses=statuses)


def _known(filter: ExecutionFilter) -> ExecutionFilter | None:
    """What the counters know of the filter, of all times; None where they would not help to choose."""
    if filter.kind is not ExecutionKind.FLOW:
        return None
    known = ExecutionFilter(
        flow=filter.flow, namespace=filter.namespace, trigger_kind=filter.trigger_kind, statuses=filter.statuses
    )
    conditions = [known.flow, known.namespace, known.trigger_kind, *known.statuses[:1]]
    given = sum(one is not None for one in conditions)
    is_useful = given > 1 or known.flow is not None or (given == 1 and not is_counted(filter))
    return known if is_useful else None


def _counts(workspace: str, known: ExecutionFilter, *, is_alone: bool) -> Procedure[dict[str, int]]:
    """How many executions meet each condition alone, by its driver's name; nothing where there is but one driver."""
    alone: dict[str, ExecutionFilter] = {}
    if known.flow is not None or known.statuses:
        alone["status"] = ExecutionFilter(flow=known.flow, statuses=known.statuses)
    if known.namespace is not None:
        alone["namespace"] = ExecutionFilter(namespace=known.namespace)
    if known.trigger_kind is not None:
        alone["trigger_kind"] = ExecutionFilter(trigger_kind=known.trigger_kind)
    counts: dict[str, int] = {}
    if is_alone and len(alone) < 2:
        return counts
    for name, condition in alone.items():
        counts[name] = yield from count_executions(workspace, condition, None)
    return counts


def _records(query: FilterQuery, page: Page, library: Library) -> Procedure[list[ExecutionRecord]]:
    rows = yield query.listing(page, library)
    return [record_of(row) for row in rows]


def _cut(found: list[ExecutionRecord], limit: int) -> Listing:
    """The page, of up to one record more."""
    return Listing(found[:limit], found[limit - 1].id if len(found) > limit else None)
