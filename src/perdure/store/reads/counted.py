"""Counting without looking at executions: from the counters, and what is not folded into them yet.

They know workspace, flow, status, trigger and hour of creation, exactly. A range of creation times
is split: whole hours come from the counters, the broken ones at its ends from the executions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from perdure.base.clock import DAY, HOUR
from perdure.model.states import ExecutionKind
from perdure.store.interface import ExecutionFilter, Page
from perdure.store.procedures.placing import ID_SKEW, LEAST_SKEW
from perdure.store.reads.filters import FilterQuery
from perdure.store.statements import All, Column, Procedure, Query

HOURS_A_DAY = DAY // HOUR
_SINGLE = (
    "trigger_id", "parent", "root", "replay_of", "worker", "started_after", "started_before", "finished_after",
    "finished_before", "min_duration", "max_duration",
)  # fmt: skip
"""What is asked of single executions."""
_TIMED = (
    "created_after", "created_before", "started_after", "started_before", "finished_after", "finished_before",
)  # fmt: skip
"""What bounds the ids of executions, since they are made when these are created, and before these start and end."""
_LAST = "\U0010ffff"
_COLUMNS = {
    "status": Column("c.status", "text"),
    "flow": Column("c.flow", "text"),
    "trigger": Column("c.trigger_kind", "text"),
    "hour": Column("c.hour", "bigint"),
    "day": Column("c.day", "bigint"),
}

_DELTAS = "SELECT d.*, d.delta AS count FROM counter_deltas AS d"
_FLOWLESS = "SELECT * FROM hours"
_HOURS = "SELECT * FROM counters"
_UNDIVIDED = "SELECT * FROM hour_totals"
_DAYS = "SELECT * FROM days"
_TOTALS = "SELECT * FROM totals"

Span = tuple[int | None, int | None]
"""From (inclusive) and to (exclusive), each open when None."""
Groups = dict[tuple[Any, ...], int]


def is_counted(filter: ExecutionFilter) -> bool:
    """Whether it asks for nothing of single executions, nor for units, which nobody counts beforehand."""
    return (
        filter.kind is ExecutionKind.FLOW and not filter.tags and all(getattr(filter, name) is None for name in _SINGLE)
    )


def id_skew(filter: ExecutionFilter) -> Procedure[int]:
    """How far creation times stray from those in the ids, where that matters to the filter."""
    if all(getattr(filter, name) is None for name in _TIMED):
        return 0
    rows = yield All("measure", {"name": ID_SKEW})
    return rows[0][0] if rows else LEAST_SKEW


def count_executions(workspace: str, filter: ExecutionFilter, cap: int | None) -> Procedure[int]:
    """Exact, or at most `cap`."""
    if is_counted(filter):
        count = (yield from group_executions(workspace, filter, [])).get((), 0)
    else:
        skew = yield from id_skew(filter)
        rows = yield FilterQuery(workspace, filter, skew).counting(cap)
        count = rows[0][0]
    return count if cap is None else min(count, cap)


def group_executions(workspace: str, filter: ExecutionFilter, group_by: Sequence[str]) -> Procedure[Groups]:
    """Hours and days as their number since 1970."""
    if not is_counted(filter):
        return (yield from _from_executions(workspace, filter, group_by))
    after, before = filter.created_after, filter.created_before
    first = None if after is None else -(-after // HOUR)
    end = None if before is None else before // HOUR
    if first is not None and end is not None and first >= end:
        return (yield from _from_executions(workspace, filter, group_by))
    groups = yield from _from_counters(workspace, filter, group_by, (first, end))
    if first is not None and after != first * HOUR:
        edge = msgspec.structs.replace(filter, created_before=first * HOUR)
        _add(groups, (yield from _from_executions(workspace, edge, group_by)))
    if end is not None and before != end * HOUR:
        edge = msgspec.structs.replace(filter, created_after=end * HOUR)
        _add(groups, (yield from _from_executions(workspace, edge, group_by)))
    return groups


def group_newest(
    workspace: str, filter: ExecutionFilter, group_by: Sequence[str], span: int
) -> Procedure[tuple[Groups, bool]]:
    """Of the newest `span` that an index leads to; and whether these are all."""
    skew = yield from id_skew(filter)
    query = FilterQuery(workspace, filter, skew)
    page = Page()
    frontier = yield query.frontier(page, span)
    if frontier:
        page = Page(until=frontier[0][0])
    rows = yield query.grouping(group_by, page)
    return {tuple(row[:-1]): row[-1] for row in rows if row[-1]}, not frontier


def _add(groups: Groups, others: Groups) -> None:
    for key, count in others.items():
        groups[key] = groups.get(key, 0) + count


def _from_executions(workspace: str, filter: ExecutionFilter, group_by: Sequence[str]) -> Procedure[Groups]:
    skew = yield from id_skew(filter)
    rows = yield FilterQuery(workspace, filter, skew).grouping(group_by)
    return {tuple(row[:-1]): row[-1] for row in rows if row[-1]}


def _from_counters(workspace: str, filter: ExecutionFilter, group_by: Sequence[str], hours: Span) -> Procedure[Groups]:
    query = counter_query(workspace, filter, group_by, hours)
    rows = yield query
    groups: Groups = {tuple(row[:-1]): row[-1] for row in rows if row[-1]}
    return _by_namespace(groups, group_by.index("namespace")) if "namespace" in group_by else groups


def _by_namespace(groups: Groups, index: int) -> Groups:
    """Of groups whose part at `index` is a flow."""
    found: Groups = {}
    for key, count in groups.items():
        _add(found, {(*key[:index], key[index].partition("/")[0], *key[index + 1 :]): count})
    return found


def counter_query(workspace: str, filter: ExecutionFilter, group_by: Sequence[str], hours: Span) -> Query:
    """Sums of the smallest tables that know enough, and of the deltas. A namespace is grouped by its flows."""
    conditions, params = _conditions(workspace, filter)
    columns = [_COLUMNS["flow" if name == "namespace" else name] for name in group_by]
    names = [f"g{index}" for index in range(len(columns))]
    parts = []
    for index, (source, time, span) in enumerate(_sources(filter, group_by, hours)):
        where = [*conditions, *_within(time, span, index, params)]
        parts.append(_part(columns, names, source=source, time=time, where=where))
    by = f" GROUP BY {', '.join(names)}" if names else ""
    sql = f"SELECT {', '.join([*names, 'CAST(coalesce(sum(s.count), 0) AS bigint)'])} FROM ({' UNION ALL '.join(parts)}) AS s{by}"  # noqa: S608
    return Query(sql, params, (*columns, Column("count", "bigint")))


def _part(columns: Sequence[Column], names: Sequence[str], *, source: str, time: str, where: Sequence[str]) -> str:
    """One table's sums. By columns of its own, so that they are summed in the order of its key: days are made of hours after."""
    own = [f"c.{time}" if column is _COLUMNS["day"] else column.name for column in columns]
    shown = [
        f"p.{name} / {HOURS_A_DAY}" if column is _COLUMNS["day"] and time == "hour" else f"p.{name}"
        for column, name in zip(columns, names, strict=True)
    ]
    picks = "".join(f"{column} AS {name}, " for column, name in zip(own, names, strict=True))
    told = "".join(f"{column} AS {name}, " for column, name in zip(shown, names, strict=True))
    by = f" GROUP BY {', '.join(own)}" if own else ""
    inner = f"SELECT {picks}CAST(sum(c.count) AS bigint) AS count FROM ({source}) AS c WHERE {' AND '.join(where)}{by}"  # noqa: S608
    return f"SELECT {told}p.count FROM ({inner}) AS p"  # noqa: S608


def _sources(filter: ExecutionFilter, group_by: Sequence[str], hours: Span) -> Iterator[tuple[str, str, Span]]:
    """What to sum: (table, its column of time, from and to in its unit)."""
    yield _DELTAS, "hour", hours
    first, end = hours
    timed = hours != (None, None) or "hour" in group_by or "day" in group_by
    if timed and filter.flow is None and filter.namespace is None and not {"flow", "namespace"} & set(group_by):
        is_divided = bool(filter.statuses or filter.trigger_kind or {"status", "trigger"} & set(group_by))
        yield (_FLOWLESS if is_divided else _UNDIVIDED), "hour", hours
        return
    if "hour" in group_by:
        yield _HOURS, "hour", hours
        return
    if first is None and end is None:
        yield (_DAYS if "day" in group_by else _TOTALS), "day", (None, None)
        return
    first_day = None if first is None else -(-first // HOURS_A_DAY)
    end_day = None if end is None else end // HOURS_A_DAY
    if first_day is not None and end_day is not None and first_day >= end_day:
        yield _HOURS, "hour", hours
        return
    yield _DAYS, "day", (first_day, end_day)
    if first_day is not None and first != first_day * HOURS_A_DAY:
        yield _HOURS, "hour", (first, first_day * HOURS_A_DAY)
    if end_day is not None and end != end_day * HOURS_A_DAY:
        yield _HOURS, "hour", (end_day * HOURS_A_DAY, end)


def _within(column: str, span: Span, index: int, params: dict[str, Any]) -> Iterator[str]:
    for bound, sign in zip(span, (">=", "<"), strict=True):
        if bound is not None:
            name = f"{'first' if sign == '>=' else 'end'}_{index}"
            params[name] = bound
            yield f"c.{column} {sign} :{name}"


def _conditions(workspace: str, filter: ExecutionFilter) -> tuple[list[str], dict[str, Any]]:
    conditions = ["c.workspace = :workspace"]
    params: dict[str, Any] = {"workspace": workspace}
    if filter.flow is not None:
        conditions.append("c.flow = :flow")
        params["flow"] = filter.flow
    if filter.namespace is not None:
        conditions.append("c.flow >= :first_flow AND c.flow <= :last_flow")
        params |= {"first_flow": f"{filter.namespace}/", "last_flow": f"{filter.namespace}/{_LAST}"}
    if filter.trigger_kind is not None:
        conditions.append("c.trigger_kind = :trigger_kind")
        params["trigger_kind"] = filter.trigger_kind
    if filter.statuses:
        names = [f"status_{index}" for index in range(len(filter.statuses))]
        conditions.append(f"c.status IN ({', '.join(f':{name}' for name in names)})")
        params |= dict(zip(names, filter.statuses, strict=True))
    return conditions, params
