"""How long executions took, by group, from the histograms and what is not folded into them yet.

They know workspace, flow, status and trigger; of all times, by day, and by hour where no flow is asked for. A range of creation
times is widened to whole hours, or whole days where a flow is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.base.clock import DAY, HOUR
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
    found: Histograms = {}
    for row in (yield _query(workspace, filter, group_by, needs_flow=needs_flow)):
        *key, bucket, count = row
        for index, name in enumerate(group_by):
            if name == "namespace":
                key[index] = key[index].partition("/")[0]
        buckets = found.setdefault(tuple(key), {})
        buckets[bucket] = buckets.get(bucket, 0) + count
    return found


def _grain(filter: ExecutionFilter, group_by: Sequence[str], *, needs_flow: bool) -> str:
    if "hour" in group_by:
        return "hour"
    is_timed = filter.created_after is not None or filter.created_before is not None
    if "day" in group_by or (is_timed and needs_flow):
        return "day"
    return "hour" if is_timed else "all"


def _query(workspace: str, filter: ExecutionFilter, group_by: Sequence[str], *, needs_flow: bool) -> Query:
    grain = _grain(filter, group_by, needs_flow=needs_flow)
    where, params = _conditions(workspace, filter, grain)
    columns = [_COLUMNS[name] for name in group_by]
    picks = "".join(f"{column.name} AS g{index}, " for index, column in enumerate(columns))
    if not needs_flow:
        flows = f"c.flow = '{ALL_FLOWS}'"
    else:
        flows = "c.flow = :flow" if filter.flow is not None else f"c.flow > '{ALL_FLOWS}'"
    folded = f"SELECT {picks}c.bucket, c.count FROM durations AS c WHERE c.grain = :grain AND {flows} AND {where}"  # noqa: S608
    chosen = " AND c.flow = :flow" if filter.flow is not None else ""
    fresh = (
        f"SELECT {picks}c.bucket, c.count FROM ({_DELTAS[grain]}) AS c WHERE c.bucket IS NOT NULL{chosen} AND {where}"  # noqa: S608
    )
    names = "".join(f"s.g{index}, " for index in range(len(columns)))
    sql = f"SELECT {names}s.bucket, sum(s.count) FROM ({folded} UNION ALL {fresh}) AS s GROUP BY {names}s.bucket"  # noqa: S608
    return Query(sql, params | {"grain": grain}, (*columns, Column("bucket", "bigint"), Column("count", "bigint")))


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
