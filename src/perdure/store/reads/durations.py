"""How long executions took, by group, from the histograms and what is not folded into them yet.

They know workspace, flow, status and trigger; of all times, by day, and by hour where no flow is asked for. Where neither
status nor trigger is asked for, one row holds the whole histogram of a period and flow. A range of creation times is widened
to whole hours, or whole days where a flow is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.base.clock import DAY, HOUR
from perdure.base.codec import decode
from perdure.base.histogram import unpacked
from perdure.store.interface import ExecutionFilter
from perdure.store.procedures.housekeeping import ALL_FLOWS, HOURS_A_DAY
from perdure.store.reads.counted import is_counted
from perdure.store.statements import Column, Procedure, Query

Histograms = dict[tuple[Any, ...], dict[int, int]]
"""By group: how many executions in each bucket."""

_LAST = "\U0010ffff"
_COLUMNS = {
    "status": Column("c.status", "text"),
    "flow": Column("c.flow", "text"),
    "namespace": Column("c.flow", "text"),
    "trigger": Column("c.trigger_kind", "text"),
    "hour": Column("c.period", "bigint"),
    "day": Column("c.period", "bigint"),
}
_DELTAS = {
    "all": "SELECT d.*, 0 AS period, d.delta AS count FROM counter_deltas AS d",
    "day": f"SELECT d.*, d.hour / {HOURS_A_DAY} AS period, d.delta AS count FROM counter_deltas AS d",  # noqa: S608
    "hour": "SELECT d.*, d.hour AS period, d.delta AS count FROM counter_deltas AS d",
}
_LENGTH = {"day": DAY, "hour": HOUR}


def group_durations(workspace: str, filter: ExecutionFilter, group_by: Sequence[str]) -> Procedure[Histograms]:
    """Groups as in `group_executions`; nothing for what the histograms do not know."""
    needs_flow = filter.flow is not None or filter.namespace is not None or bool({"flow", "namespace"} & set(group_by))
    if not is_counted(filter) or {"hour", "day"} <= set(group_by) or ("hour" in group_by and needs_flow):
        return {}
    query = _Query(workspace, filter, group_by, needs_flow=needs_flow)
    found: Histograms = {}
    if filter.statuses or filter.trigger_kind is not None or {"status", "trigger"} & set(group_by):
        for *key, bucket, count in (yield query.divided()):
            _add(found, query.group(key), {bucket: count})
        return found
    for *key, histogram in (yield query.totals()):
        _add(found, query.group(key), unpacked(decode(histogram)))
    for *key, bucket, count in (yield query.fresh()):
        _add(found, query.group(key), {bucket: count})
    return found


def _add(found: Histograms, group: tuple[Any, ...], counts: dict[int, int]) -> None:
    """`counts` are given away."""
    buckets = found.setdefault(group, counts)
    if buckets is counts:
        return
    for bucket, count in counts.items():
        buckets[bucket] = buckets.get(bucket, 0) + count


def _grain(filter: ExecutionFilter, group_by: Sequence[str], *, needs_flow: bool) -> str:
    if "hour" in group_by:
        return "hour"
    is_timed = filter.created_after is not None or filter.created_before is not None
    if "day" in group_by or (is_timed and needs_flow):
        return "day"
    return "hour" if is_timed else "all"


class _Query:
    """What is asked of the tables of durations; rows of (group, …, bucket, count), or of (group, …, histogram)."""

    def __init__(self, workspace: str, filter: ExecutionFilter, group_by: Sequence[str], *, needs_flow: bool) -> None:
        grain = _grain(filter, group_by, needs_flow=needs_flow)
        where, self._params = _conditions(workspace, filter, grain)
        self._group_by = group_by
        self._columns = [_COLUMNS[name] for name in group_by]
        self._picks = "".join(f"{column.name} AS g{index}, " for index, column in enumerate(self._columns))
        if not needs_flow:
            flows = f"c.flow = '{ALL_FLOWS}'"
        else:
            flows = "c.flow = :flow" if filter.flow is not None else f"c.flow > '{ALL_FLOWS}'"
        self._folded_where = f"c.grain = '{grain}' AND {flows} AND {where}"
        chosen = " AND c.flow = :flow" if filter.flow is not None else ""
        self._fresh = f"SELECT {self._picks}c.bucket, c.count FROM ({_DELTAS[grain]}) AS c WHERE c.bucket IS NOT NULL{chosen} AND {where}"  # noqa: S608

    def group(self, key: list[Any]) -> tuple[Any, ...]:
        """Of a row: its flow is told by its namespace where that is asked for."""
        for index, name in enumerate(self._group_by):
            if name == "namespace":
                key[index] = key[index].partition("/")[0]
        return tuple(key)

    def divided(self) -> Query:
        """By all that the histograms know."""
        folded = f"SELECT {self._picks}c.bucket, c.count FROM durations AS c WHERE {self._folded_where}"  # noqa: S608
        return self._summed(f"{folded} UNION ALL {self._fresh}")

    def totals(self) -> Query:
        """Whole histograms, without what is not folded yet; several of one group where that is a namespace or a range."""
        sql = f"SELECT {self._picks}c.histogram FROM duration_totals AS c WHERE {self._folded_where}"  # noqa: S608
        return Query(sql, self._params, (*self._columns, Column("histogram", "text")))

    def fresh(self) -> Query:
        """What is not folded yet."""
        return self._summed(self._fresh)

    def _summed(self, rows: str) -> Query:
        names = "".join(f"s.g{index}, " for index in range(len(self._columns)))
        sql = f"SELECT {names}s.bucket, sum(s.count) FROM ({rows}) AS s GROUP BY {names}s.bucket"  # noqa: S608
        return Query(sql, self._params, (*self._columns, Column("bucket", "bigint"), Column("count", "bigint")))


def _conditions(workspace: str, filter: ExecutionFilter, grain: str) -> tuple[str, dict[str, Any]]:
    conditions, params = ["c.workspace = :workspace"], {"workspace": workspace}
    if filter.flow is not None:
        params["flow"] = filter.flow
    given: dict[str, Any] = {}
    if filter.namespace is not None:
        conditions.append("c.flow >= :first_flow AND c.flow <= :last_flow")
        given |= {"first_flow": f"{filter.namespace}/", "last_flow": f"{filter.namespace}/{_LAST}"}
    if filter.trigger_kind is not None:
        conditions.append("c.trigger_kind = :trigger_kind")
        given["trigger_kind"] = filter.trigger_kind
    if filter.statuses:
        names = [f"status_{index}" for index in range(len(filter.statuses))]
        conditions.append(f"c.status IN ({', '.join(f':{name}' for name in names)})")
        given |= dict(zip(names, filter.statuses, strict=True))
    if grain in _LENGTH:
        length = _LENGTH[grain]
        if filter.created_after is not None:
            conditions.append("c.period >= :first_period")
            given["first_period"] = filter.created_after // length
        if filter.created_before is not None:
            conditions.append("c.period < :end_period")
            given["end_period"] = -(-filter.created_before // length)
    return " AND ".join(conditions), params | given
