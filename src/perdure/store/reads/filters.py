"""The one filter builder: an `ExecutionFilter` as SQL. Values travel as parameters only.

A listing is driven by one index that yields ids in order; every other condition is checked on the
rows that it leads to (`{+}` keeps a planner from driving by that condition). Flows' executions and
units have indexes of their own, which a condition on the kind, written out, leads to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perdure.base.ids import id_floor
from perdure.model.states import ExecutionKind, ExecutionStatus
from perdure.store.interface import ExecutionFilter, Page
from perdure.store.statements import Column, Library, Query

_RESIDUALS = {
    "flow": "{+}e.flow = :flow",
    "namespace": "{+}e.namespace = :namespace",
    "trigger_kind": "{+}e.trigger_kind = :trigger_kind",
    "parent": "{+}e.parent = :parent",
    "replay_of": "{+}e.replay_of = :replay_of",
    "root": "{+}e.root = :root",
}
_GROUPS = {
    "status": Column("e.status", "text"),
    "flow": Column("e.flow", "text"),
    "namespace": Column("e.namespace", "text"),
    "trigger": Column("e.trigger_kind", "text"),
    "hour": Column("e.created_at / 3600000000", "bigint"),
    "day": Column("e.created_at / 86400000000", "bigint"),
}


class FilterQuery:
    """Conditions of one filter, split into what drives the walk and what is checked on the way."""

    def __init__(self, workspace: str, filter: ExecutionFilter, skew: int, *, driver: str = "") -> None:
        """Args:
        skew: how far creation times stray from those in the ids, in microseconds.
        driver: status, namespace or trigger_kind, where it is known which of them leads to the fewest rows.
        """
        self.params: dict[str, Any] = {"workspace": workspace}
        self._driver = driver
        self._kind = filter.kind
        self._residual: dict[str, str] = {}
        for name, sql in _RESIDUALS.items():
            if (value := getattr(filter, name)) is not None:
                self.params[name] = value
                self._residual[name] = sql
        self._statuses = list(dict.fromkeys(filter.statuses))
        for index, status in enumerate(self._statuses):
            self.params[f"status_{index}"] = status
        self._tags = self._tag_conditions(filter)
        self._created(filter, skew)

    def _tag_conditions(self, filter: ExecutionFilter) -> list[tuple[str, str]]:
        """(driving, the rest of a check) for each tag, those with a value first: they drive better."""
        found = []
        for index, (key, value) in enumerate(sorted(filter.tags, key=lambda tag: tag[1] is None)):
            self.params[f"key_{index}"] = key
            named = f"t.workspace = :workspace AND t.key = :key_{index}"
            if value is not None:
                self.params[f"value_{index}"] = value
                named += f" AND t.value = :value_{index}"
            found.append((named, f"EXISTS (SELECT 1 FROM tags AS t WHERE {named} AND t.execution_id"))  # noqa: S608
        return found

    def _created(self, filter: ExecutionFilter, skew: int) -> None:
        """Creation times as ranges of ids, widened by the farthest that the two ever were apart."""
        if filter.created_after is not None:
            self.params |= {"created_after": filter.created_after, "least_id": id_floor(filter.created_after - skew)}
            self._residual["created_after"] = "{+}e.created_at >= :created_after"
        if filter.created_before is not None:
            bound = id_floor(filter.created_before + skew + 1000)
            self.params |= {"created_before": filter.created_before, "most_id": bound}
            self._residual["created_before"] = "{+}e.created_at < :created_before"

    def _id_range(self, column: str, page: Page | None) -> list[str]:
        found = [f"{column} >= :least_id"] if "least_id" in self.params else []
        if "most_id" in self.params:
            found.append(f"{column} <= :most_id")
        if page is not None and page.after is not None:
            self.params["after"] = page.after
            found.append(f"{column} {'<' if page.newest_first else '>'} :after")
        return found

    def _checks(self, *driving: str, driving_tag: int | None = None, tagged: str = "e.id") -> list[str]:
        checks = [sql for name, sql in self._residual.items() if name not in driving]
        checks += [f"{check} = {tagged})" for index, (_, check) in enumerate(self._tags) if index != driving_tag]
        if self._statuses and "status" not in driving:
            names = ", ".join(f":status_{index}" for index in range(len(self._statuses)))
            checks.append(f"{{+}}e.status IN ({names})")
        return checks

    def _walks(self, page: Page | None) -> list[str]:
        """FROM and WHERE of each index walk; together they meet every match exactly once."""
        walks = [] if self._kind is ExecutionKind.UNIT else self._walks_over_flows(page)
        return walks if self._kind is ExecutionKind.FLOW else walks + self._walks_over_units(page)

    def _walks_over_units(self, page: Page | None) -> list[str]:
        ids = ["e.kind = 'unit'", *self._id_range("e.id", page)]
        for name in ("parent", "root"):
            if name in self._residual:
                checks = self._checks(name, tagged="e.parent")
                return [self._walk([f"e.{name} = :{name}", "{+}e.workspace = :workspace", *ids, *checks])]
        return self._walks_by_status([*ids, *self._checks("status", tagged="e.parent")])

    def _walks_over_flows(self, page: Page | None) -> list[str]:
        if "replay_of" in self._residual:
            rest = ["{+}e.kind = 'flow'", "{+}e.workspace = :workspace", *self._id_range("e.id", page)]
            return [self._walk(["e.replay_of = :replay_of", *rest, *self._checks("replay_of")])]
        ids = ["e.kind = 'flow'", *self._id_range("e.id", page)]
        if "parent" in self._residual:
            return [self._walk(["e.parent = :parent", "{+}e.workspace = :workspace", *ids, *self._checks("parent")])]
        if "root" in self._residual:
            rest = ["{+}e.workspace = :workspace", *ids, *self._checks("root")]
            return [
                self._walk(["e.root = :root", "e.depth > 0", *rest]),
                self._walk(["e.id = :root", "{+}e.depth = 0", *rest]),
            ]
        if self._tags:
            where = [self._tags[0][0], *self._id_range("t.execution_id", page), *self._checks(driving_tag=0)]
            return [f"FROM tags AS t CROSS JOIN executions AS e ON e.id = t.execution_id WHERE {' AND '.join(where)}"]
        if self._driver in ("", "status") and ("flow" in self._residual or self._statuses):
            flow = ["e.flow = :flow"] if "flow" in self._residual else []
            return self._walks_by_status([*flow, *ids, *self._checks("flow", "status")])
        for name in ("namespace", "trigger_kind"):
            if name in self._residual and self._driver in ("", name):
                return [self._walk([f"e.workspace = :workspace AND e.{name} = :{name}", *ids, *self._checks(name)])]
        return [self._walk(["e.workspace = :workspace", *ids, *self._checks()])]

    def _walks_by_status(self, rest: list[str]) -> list[str]:
        """One walk for each status: the indexes of flows and of units are in order of id within a status only."""
        if not self._statuses:
            self.params |= {f"status_{index}": status for index, status in enumerate(ExecutionStatus)}
        count = len(self._statuses) or len(ExecutionStatus)
        return [
            self._walk(["e.workspace = :workspace", f"e.status = :status_{index}", *rest]) for index in range(count)
        ]

    @staticmethod
    def _walk(where: list[str]) -> str:
        return f"FROM executions AS e WHERE {' AND '.join(where)}"

    def listing(self, page: Page, library: Library) -> Query:
        direction = "DESC" if page.newest_first else "ASC"
        self.params |= {"limit": page.limit, "offset": page.offset, "reach": page.limit + page.offset}
        walks = [
            f"SELECT * FROM (SELECT e.id {walk} ORDER BY {_order_column(walk)} {direction} LIMIT :reach) AS walk_{index}"  # noqa: S608
            for index, walk in enumerate(self._walks(page))
        ]
        found = " UNION ALL ".join(walks)
        sql = (
            f"SELECT {library.shape_sql('record')} "  # noqa: S608
            f"FROM (SELECT u.id FROM ({found}) AS u ORDER BY u.id {direction} LIMIT :limit OFFSET :offset) AS found "
            f"CROSS JOIN executions AS e ON e.id = found.id ORDER BY found.id {direction}"
        )
        return Query(sql, self.params, library.shapes["record"])

    def counting(self, cap: int | None) -> Query:
        """At most `cap`, where it is given."""
        bound = "" if cap is None else " LIMIT :cap"
        if cap is not None:
            self.params["cap"] = cap
        walks = [f"SELECT * FROM (SELECT 1 {walk}{bound}) AS walk_{i}" for i, walk in enumerate(self._walks(None))]  # noqa: S608
        sql = f"SELECT count(*) FROM ({' UNION ALL '.join(walks)}{bound}) AS found"  # noqa: S608
        return Query(sql, self.params, (Column("count", "bigint"),))

    def grouping(self, group_by: Sequence[str]) -> Query:
        """Rows of (group, …, count)."""
        columns = [_GROUPS[name] for name in group_by]
        names = ", ".join(f"g{index}" for index in range(len(columns)))
        picks = ", ".join(f"{column.name} AS g{index}" for index, column in enumerate(columns)) or "1 AS one"
        walks = [f"SELECT {picks} {walk}" for walk in self._walks(None)]
        by = f" GROUP BY {names} ORDER BY {names}" if columns else ""
        sql = f"SELECT {names}{', ' if names else ''}count(*) FROM ({' UNION ALL '.join(walks)}) AS found{by}"  # noqa: S608
        return Query(sql, self.params, (*columns, Column("count", "bigint")))


GROUPS: Mapping[str, Column] = _GROUPS


def _order_column(walk: str) -> str:
    return "t.execution_id" if walk.startswith("FROM tags") else "e.id"
