"""The one filter builder: an `ExecutionFilter` as SQL. Values travel as parameters only.

A listing is driven by one index that yields ids in order; every other condition is checked on the
rows that it leads to (`{+}` keeps a planner from driving by a condition, `{by NAME}` names the index). Flows' executions and
units have indexes of their own, which a condition on the kind, written out, leads to. Where an index
holds the ids in order only within a class (a status, a lag), there is one walk for each class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from perdure.base.ids import id_floor
from perdure.model.states import ExecutionKind, ExecutionStatus
from perdure.store.interface import ExecutionFilter, Page
from perdure.store.statements import Column, Library, Query

_TOOK = "coalesce(e.finished_at, :now) - e.started_at"
_RESIDUALS = {
    "flow": "e.flow = :flow",
    "namespace": "e.namespace = :namespace",
    "trigger_kind": "e.trigger_kind = :trigger_kind",
    "trigger_id": "e.trigger_id = :trigger_id",
    "parent": "e.parent = :parent",
    "replay_of": "e.replay_of = :replay_of",
    "root": "e.root = :root",
    "worker": "e.worker = :worker",
    "started_after": "e.started_at >= :started_after",
    "started_before": "e.started_at < :started_before",
    "finished_after": "e.finished_at >= :finished_after",
    "finished_before": "e.finished_at < :finished_before",
    "min_duration": f"{_TOOK} >= :min_duration",
    "max_duration": f"{_TOOK} <= :max_duration",
}
_GROUPS = {
    "status": Column("e.status", "text"),
    "flow": Column("e.flow", "text"),
    "namespace": Column("e.namespace", "text"),
    "trigger": Column("e.trigger_kind", "text"),
    "hour": Column("e.created_at / 3600000000", "bigint"),
    "day": Column("e.created_at / 86400000000", "bigint"),
}
_LAGS = range(1, 10)
"""Pairs of decimal digits that the microseconds from creation to end can have (the column `lag`)."""
_UNENDED = (
    ExecutionStatus.RUNNING, ExecutionStatus.SUSPENDED, ExecutionStatus.INTERRUPTED, ExecutionStatus.CANCELLING,
)  # fmt: skip
"""States in which it may have been started and has not ended."""
ALONE = ("replay_of", "worker", "parent", "root", "trigger_id")
"""Conditions that few executions meet: the first of them that is given drives, whatever else is asked."""
_SIZES = (128, 1_024, 16_384)
_CREATED = frozenset({"created_after", "created_before"})


class Walk(NamedTuple):
    """Rows in the order of their ids: those that an index leads to (`driving`), of which `checks` let some pass."""

    source: str
    id: str
    driving: tuple[str, ...]
    checks: tuple[str, ...]

    def sql(self, *, checked: bool = True) -> str:
        """A check inside CASE is none that a planner could drive by."""
        passed = f" AND CASE WHEN {' AND '.join(self.checks)} THEN TRUE END" if checked and self.checks else ""
        return f"FROM {self.source} WHERE {' AND '.join(self.driving)}{passed}"

    @property
    def bare(self) -> Walk:
        """Without what only the checks need."""
        return self._replace(source="tags AS t") if self.id == "t.execution_id" else self


class FilterQuery:
    """Conditions of one filter, split into what drives the walk and what is checked on the way."""

    def __init__(
        self,
        workspace: str,
        filter: ExecutionFilter,
        skew: int,
        *,
        driver: str = "",
        statuses: Sequence[str] = (*ExecutionStatus,),
    ) -> None:
        """Args:
        skew: how far creation times stray from those in the ids, in microseconds.
        driver: status, namespace, trigger_kind, tag or lag, where it is known which of them leads to the fewest rows.
        statuses: those that a flow's executions can have, where the filter names none.
        """
        self.params: dict[str, Any] = {"workspace": workspace}
        self._driver = driver
        self._skew = skew
        self._filter = filter
        self._residual: dict[str, str] = {}
        for name, sql in _RESIDUALS.items():
            if (value := getattr(filter, name)) is not None:
                self.params[name] = value
                self._residual[name] = sql
        if filter.min_duration is not None or filter.max_duration is not None:
            self.params["now"] = filter.now
        self._statuses = list(dict.fromkeys(filter.statuses))
        self._possible = self._statuses or [*(statuses if filter.kind is ExecutionKind.FLOW else ExecutionStatus)]
        self.params |= {f"status_{index}": status for index, status in enumerate(self._possible)}
        self._tags = self._tag_conditions(filter)
        self._created(filter)

    @property
    def has_residual(self) -> bool:
        """Whether its walks may meet many rows that do not match."""
        created = {sql for name, sql in self._residual.items() if name in _CREATED}
        return any(set(walk.checks) - created for walk in self._walks(None))

    def _tag_conditions(self, filter: ExecutionFilter) -> list[tuple[str, str]]:
        """(driving, the rest of a check) for each tag, those with a value first: they drive better.

        A check ends in OFFSET 0: nobody is to look up all that have the tag at once.
        """
        found = []
        for index, (key, value) in enumerate(sorted(filter.tags, key=lambda tag: tag[1] is None)):
            self.params[f"key_{index}"] = key
            named = f"t.workspace = :workspace AND t.key = :key_{index}"
            if value is not None:
                self.params[f"value_{index}"] = value
                named += f" AND t.value = :value_{index}"
            found.append((named, f"EXISTS (SELECT 1 FROM tags AS t WHERE {named} AND t.execution_id"))  # noqa: S608
        return found

    def _created(self, filter: ExecutionFilter) -> None:
        if filter.created_after is not None:
            self.params["created_after"] = filter.created_after
            self._residual["created_after"] = "e.created_at >= :created_after"
        if filter.created_before is not None:
            self.params["created_before"] = filter.created_before
            self._residual["created_before"] = "e.created_at < :created_before"
        for name, id in zip(("least_id", "most_id"), id_bounds(filter, self._skew), strict=True):
            if id is not None:
                self.params[name] = id

    def _id_range(self, column: str, page: Page | None) -> list[str]:
        found = [f"{column} >= :least_id"] if "least_id" in self.params else []
        if "most_id" in self.params:
            found.append(f"{column} <= :most_id")
        if page is None:
            return found
        for name, bound, backwards in (("after", page.after, "<"), ("until", page.until, ">=")):
            if bound is not None:
                self.params[name] = bound
                forwards = {"<": ">", ">=": "<="}[backwards]
                found.append(f"{column} {backwards if page.newest_first else forwards} :{name}")
        return found

    def _checks(self, *driving: str, driving_tag: int | None = None, tagged: str = "e.id") -> tuple[str, ...]:
        checks = [sql for name, sql in self._residual.items() if name not in driving]
        checks += [
            f"{check} = {tagged} LIMIT 1 OFFSET 0)"
            for index, (_, check) in enumerate(self._tags)
            if index != driving_tag
        ]
        if self._statuses and "status" not in driving:
            names = ", ".join(f":status_{index}" for index in range(len(self._statuses)))
            checks.append(f"e.status IN ({names})")
        return tuple(checks)

    def _walks(self, page: Page | None) -> list[Walk]:
        """Together they meet every match exactly once."""
        kind = self._filter.kind
        walks = [] if kind is ExecutionKind.UNIT else self._walks_over_flows(page)
        return walks if kind is ExecutionKind.FLOW else walks + self._walks_over_units(page)

    def _walks_over_units(self, page: Page | None) -> list[Walk]:
        ids = ["e.kind = 'unit'", *self._id_range("e.id", page)]
        for name in ("parent", "root"):
            if name in self._residual:
                driving = [f"e.{name} = :{name}", "{+}e.workspace = :workspace", *ids]
                return [_walk(driving, self._checks(name, tagged="e.parent"))]
        return self._walks_by_status(ids, self._checks("status", tagged="e.parent"))

    def _walks_over_flows(self, page: Page | None) -> list[Walk]:
        range_ = self._id_range("e.id", page)
        for name in ("replay_of", "worker"):
            if name in self._residual:
                driving = [f"e.{name} = :{name}", "{+}e.kind = 'flow'", "{+}e.workspace = :workspace", *range_]
                return [_walk(driving, self._checks(name))]
        ids = ["e.kind = 'flow'", *range_]
        if "parent" in self._residual:
            driving = ["e.parent = :parent", "{+}e.workspace = :workspace", *ids]
            return [_walk(driving, self._checks("parent"))]
        if "root" in self._residual:
            rest = ["{+}e.workspace = :workspace", *ids]
            checks = self._checks("root")
            return [
                _walk(["e.root = :root", "e.depth > 0", *rest], checks),
                _walk(["e.id = :root", "{+}e.depth = 0", *rest], checks),
            ]
        if "trigger_id" in self._residual:
            driving = [
                "e.workspace = :workspace AND e.trigger_kind = :trigger_kind AND e.trigger_id = :trigger_id",
                *ids,
            ]
            return [_walk(driving, self._checks("trigger_kind", "trigger_id"))]
        if self._tags and self._driver in ("", "tag"):
            driving = [self._tags[0][0], *self._id_range("t.execution_id", page)]
            source = "tags AS t CROSS JOIN executions AS e ON e.id = t.execution_id"
            return [_walk(driving, self._checks(driving_tag=0), source=source, id="t.execution_id")]
        return self._walks_by_driver(ids)

    def _walks_by_driver(self, ids: list[str]) -> list[Walk]:
        if self._driver == "lag":
            return self._walks_by_lag(ids)
        if self._driver in ("", "status") and ("flow" in self._residual or self._statuses):
            flow = ["e.flow = :flow"] if "flow" in self._residual else []
            return self._walks_by_status([*flow, *ids], self._checks("flow", "status"))
        for name in ("namespace", "trigger_kind"):
            if name in self._residual and self._driver in ("", name):
                return [_walk([f"e.workspace = :workspace AND e.{name} = :{name}", *ids], self._checks(name))]
        return [_walk(["e.workspace = :workspace", *ids], self._checks())]

    def _walks_by_status(self, rest: list[str], checks: tuple[str, ...]) -> list[Walk]:
        """One walk for each status: the indexes of flows and of units are in order of id within a status only."""
        return [
            _walk(["e.workspace = :workspace", f"e.status = :status_{index}", *rest], checks)
            for index in range(len(self._possible))
        ]

    def _walks_by_lag(self, ids: list[str]) -> list[Walk]:
        """One for each class of those that ended: it bounds how long before its start or end one was created; and one
        for each state of those that did not end."""
        checks, walks = self._checks(), []
        filter = self._filter
        since = max((at for at in (filter.started_after, filter.finished_after) if at is not None), default=None)
        longest = 0 if filter.min_duration is None else (len(str(filter.min_duration)) + 1) // 2
        for lag in _LAGS:
            if lag < longest:
                continue
            driving = ["e.workspace = :workspace", f"e.lag = :lag_{lag}", *ids]
            # A planner that knew the class would think of the largest as of all rows, and take another index.
            self.params[f"lag_{lag}"] = lag
            if since is not None:
                self.params[f"least_id_{lag}"] = id_floor(since - 100**lag - self._skew)
                driving.append(f"e.id >= :least_id_{lag}")
            walks.append(_walk(driving, checks, source="executions AS e {by executions_by_lag}"))
        if filter.finished_after is None and filter.finished_before is None:
            for index, status in enumerate(_UNENDED):
                self.params[f"unended_{index}"] = status
                driving = ["e.workspace = :workspace", f"e.status = :unended_{index}", *ids]
                walks.append(_walk(driving, checks, source="executions AS e {by executions_by_status}"))
        return walks

    def listing(self, page: Page, library: Library) -> Query:
        direction = "DESC" if page.newest_first else "ASC"
        self.params |= {"limit": page.limit, "offset": page.offset}
        reach = _roomy(page.limit + page.offset)
        walks = [
            f"SELECT * FROM (SELECT e.id {walk.sql()} ORDER BY {walk.id} {direction} LIMIT {reach}) AS walk_{index}"  # noqa: S608
            for index, walk in enumerate(self._walks(page))
        ]
        # Behind a fence: a planner that hears of the page's size takes what yields a first row soon, and the others late.
        sql = (
            f"WITH met (id) AS MATERIALIZED ({' UNION ALL '.join(walks)}) "  # noqa: S608
            f"SELECT {library.shape_sql('record')} "
            f"FROM (SELECT u.id FROM met AS u ORDER BY u.id {direction} LIMIT :limit OFFSET :offset) AS found "
            f"CROSS JOIN executions AS e ON e.id = found.id ORDER BY found.id {direction}"
        )
        return Query(sql, self.params, library.shapes["record"])

    def frontier(self, page: Page, span: int) -> Query:
        """The id at which `span` rows were met, unchecked, from the page's beginning on; none when there are fewer."""
        direction = "DESC" if page.newest_first else "ASC"
        walks = [
            f"SELECT * FROM (SELECT {walk.id} AS id {walk.bare.sql(checked=False)} ORDER BY {walk.id} {direction} LIMIT {span}) AS walk_{index}"  # noqa: S608
            for index, walk in enumerate(self._walks(page))
        ]
        met = " UNION ALL ".join(walks)
        sql = f"SELECT u.id FROM ({met}) AS u ORDER BY u.id {direction} LIMIT 1 OFFSET {span - 1}"  # noqa: S608
        return Query(sql, self.params, (Column("id", "uuid"),))

    def counting(self, cap: int | None, page: Page | None = None, *, checked: bool = True) -> Query:
        """At most `cap`, where it is given; of all, or of what a page's bounds hold."""
        bound = "" if cap is None else f" LIMIT {cap}"
        walks = [
            f"SELECT * FROM (SELECT 1 {(walk if checked and walk.checks else walk.bare).sql(checked=checked)}{bound}) AS walk_{index}"  # noqa: S608
            for index, walk in enumerate(self._walks(page))
        ]
        sql = f"SELECT count(*) FROM ({' UNION ALL '.join(walks)}{bound}) AS found"  # noqa: S608
        return Query(sql, self.params, (Column("count", "bigint"),))

    def grouping(self, group_by: Sequence[str], page: Page | None = None) -> Query:
        """Rows of (group, …, count); of all, or of what a page's bounds hold."""
        columns = [_GROUPS[name] for name in group_by]
        names = ", ".join(f"g{index}" for index in range(len(columns)))
        picks = ", ".join(f"{column.name} AS g{index}" for index, column in enumerate(columns)) or "1 AS one"
        walks = [f"SELECT {picks} {walk.sql()}" for walk in self._walks(page)]
        by = f" GROUP BY {names} ORDER BY {names}" if columns else ""
        sql = f"SELECT {names}{', ' if names else ''}count(*) FROM ({' UNION ALL '.join(walks)}) AS found{by}"  # noqa: S608
        return Query(sql, self.params, (*columns, Column("count", "bigint")))


GROUPS: Mapping[str, Column] = _GROUPS


def id_bounds(filter: ExecutionFilter, skew: int) -> tuple[bytes | None, bytes | None]:
    """Between which ids creation times leave matches, widened by the farthest that the two ever were apart.

    Whatever started or ended before a time was created before it.
    """
    since = filter.created_after
    ends = [filter.created_before, filter.started_before, filter.finished_before]
    until = min((end for end in ends if end is not None), default=None)
    return (
        None if since is None else id_floor(since - skew),
        None if until is None else id_floor(until + skew + 1000),
    )


def _roomy(rows: int) -> int:
    """A planner that is not told how many rows are wanted expects a few; and there are not to be many texts."""
    return next((size for size in _SIZES if size >= rows), rows)


def _walk(
    driving: Sequence[str], checks: tuple[str, ...], *, source: str = "executions AS e", id: str = "e.id"
) -> Walk:
    return Walk(source, id, tuple(driving), checks)
