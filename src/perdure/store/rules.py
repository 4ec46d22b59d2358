"""What holds in every sound store, as rules that ask for the places where it does not."""

from __future__ import annotations

from typing import NamedTuple

_OWNED = (
    "payloads", "node_runs", "events", "waits", "wait_approvers", "signals", "inbox", "queue", "timers", "slots", "tags",
    "artifacts", "blobs",
)  # fmt: skip
"""Tables whose rows belong to an execution."""


class Rule(NamedTuple):
    """`found` answers a row for each place where it is broken; `{place}` in what is told stands for the first ones."""

    code: str
    found: str
    detail: str
    hint: str


RESTORE = "restore a backup from before (perdure store restore)"
_REPORT = "this should not happen: report it, with the versions that wrote to this store"
_COUNTED = "workspace, flow, status, trigger_kind"
_HOUR_US = 3_600_000_000

RULES = (
    *(
        Rule(
            "rows_without_execution",
            f"SELECT o.execution_id FROM {table} AS o "  # noqa: S608
            "WHERE NOT EXISTS (SELECT 1 FROM executions AS e WHERE e.id = o.execution_id)",
            f"{{count}} rows of {table} belong to executions that are not there: {{place}}",
            _REPORT,
        )
        for table in _OWNED
    ),
    Rule(
        "execution_without_payload",
        "SELECT e.id FROM executions AS e WHERE NOT EXISTS (SELECT 1 FROM payloads AS p WHERE p.execution_id = e.id)",
        "{count} executions have lost their input: {place}",
        RESTORE,
    ),
    Rule(
        "child_without_parent",
        "SELECT e.id FROM executions AS e WHERE e.parent IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM executions AS p WHERE p.id = e.parent)",
        "{count} executions were started by ones that are not there: {place}",
        _REPORT,
    ),
    Rule(
        "events_with_gap",
        "SELECT s.execution_id FROM (SELECT v.execution_id, v.seq, "
        "lag(v.last_seq, 1, CAST(0 AS bigint)) OVER (PARTITION BY v.execution_id ORDER BY v.seq) AS before FROM events AS v) AS s "
        "WHERE s.seq <> s.before + 1",
        "the events of executions have {count} gaps: {place}",
        RESTORE,
    ),
    Rule(
        "events_without_end",
        "SELECT e.id FROM executions AS e WHERE e.last_seq <> "
        "coalesce((SELECT max(v.last_seq) FROM events AS v WHERE v.execution_id = e.id), 0)",
        "{count} executions count other events than they have: {place}",
        RESTORE,
    ),
    Rule(
        "nobody_comes",
        "SELECT e.id FROM executions AS e WHERE e.status IN ('queued', 'interrupted') "
        "AND NOT EXISTS (SELECT 1 FROM queue AS q WHERE q.execution_id = e.id)",
        "{count} executions are to run and stand in no queue: {place}",
        "cancel them, and start them again",
    ),
    Rule(
        "slot_of_ended",
        "SELECT s.execution_id FROM slots AS s CROSS JOIN executions AS e "
        "WHERE e.id = s.execution_id AND e.finished_at IS NOT NULL",
        "{count} executions hold a slot of a limit although they have ended: {place}",
        _REPORT,
    ),
    *(
        Rule(
            "value_without_blob",
            f"SELECT o.execution_id FROM {table} AS o WHERE o.{value}_blob IS NOT NULL AND NOT EXISTS "  # noqa: S608
            f"(SELECT 1 FROM blobs AS b WHERE b.execution_id = o.execution_id AND b.sha256 = o.{value}_blob)",
            f"{{count}} large {value}s in {table} are registered nowhere, so that copies and sweeps do not know of them: {{place}}",
            _REPORT,
        )
        for table in ("payloads", "node_runs")
        for value in ("input", "output")
    ),
)
OPERATION_RULES = (
    Rule(
        "items_without_operation",
        "SELECT i.operation_id FROM operation_items AS i "
        "WHERE NOT EXISTS (SELECT 1 FROM operations AS o WHERE o.id = i.operation_id)",
        "{count} items belong to operations that are not there: {place}",
        _REPORT,
    ),
    Rule(
        "operation_items_with_gap",
        "SELECT i.operation_id FROM operation_items AS i GROUP BY i.operation_id "
        "HAVING max(i.n) - min(i.n) + 1 <> count(*)",
        "{count} operations have lost items: {place}",
        RESTORE,
    ),
    Rule(
        "operation_counts_differ",
        # Of one that is being forgotten, the first items are gone already.
        "SELECT o.id FROM operations AS o LEFT JOIN (SELECT operation_id, min(n) AS first, count(*) AS items, "
        "sum(CASE WHEN outcome = 'succeeded' THEN 1 ELSE 0 END) AS succeeded, "
        "sum(CASE WHEN outcome = 'refused' THEN 1 ELSE 0 END) AS refused FROM operation_items GROUP BY operation_id) AS i "
        "ON i.operation_id = o.id WHERE (i.first = 1 OR o.finished_at IS NULL) AND (o.total <> coalesce(i.items, 0) "
        "OR o.succeeded <> coalesce(i.succeeded, 0) OR o.refused <> coalesce(i.refused, 0))",
        "{count} operations count other items than they have: {place}",
        _REPORT,
    ),
    Rule(
        "operation_ended_early",
        "SELECT o.id FROM operations AS o WHERE (o.status = 'completed' AND o.succeeded + o.refused <> o.total) "
        "OR (o.status IN ('collecting', 'running')) <> (o.finished_at IS NULL)",
        "{count} operations are said to have ended, and have not, or the other way round: {place}",
        "ask for the same once more; " + _REPORT,
    ),
    Rule(
        "replay_not_named",
        "SELECT i.operation_id, i.n FROM operation_items AS i CROSS JOIN operations AS o WHERE o.id = i.operation_id "
        "AND o.action IN ('retry', 'replay') AND i.outcome = 'succeeded' AND i.result_id IS NULL",
        "{count} items of operations have made a replay that they do not name: {place}",
        _REPORT,
    ),
)

_TRUE_COUNTS = f"SELECT {_COUNTED}, created_at / {_HOUR_US} AS hour, 1 AS n FROM executions WHERE kind = 'flow'"  # noqa: S608
_DELTAS = f"SELECT {_COUNTED}, hour, -delta AS n FROM counter_deltas"  # noqa: S608


def _counts(table: str, keys: str, day: str) -> Rule:
    """What a table of counters and the deltas that are not in it yet say, against the executions themselves."""
    return Rule(
        "counters_differ",
        f"SELECT {keys}, sum(c.n) FROM (SELECT {keys.replace('day', day)}, n FROM ({_TRUE_COUNTS}) AS t "  # noqa: S608
        f"UNION ALL SELECT {keys.replace('day', day)}, n FROM ({_DELTAS}) AS d "
        f"UNION ALL SELECT {keys}, -count FROM {table}) AS c GROUP BY {keys} HAVING sum(c.n) <> 0",
        f"{table} is wrong at {{count}} places: {{place}}",
        "counts in lists and statistics are off by so many (the last number); " + _REPORT,
    )


COUNTER_RULES = (
    _counts("counters", f"{_COUNTED}, hour", "day"),
    _counts("hours", "workspace, status, trigger_kind, hour", "day"),
    _counts("hour_totals", "workspace, hour", "day"),
    _counts("days", f"{_COUNTED}, day", "hour / 24 AS day"),
    _counts("totals", _COUNTED, "day"),
)

_TRUE_ENDS = (
    f"SELECT {_COUNTED}, created_at / {_HOUR_US} AS hour, 1 AS n FROM executions "  # noqa: S608
    "WHERE kind = 'flow' AND started_at IS NOT NULL AND finished_at IS NOT NULL"
)
_DELTA_ENDS = f"SELECT {_COUNTED}, hour, -delta AS n FROM counter_deltas WHERE bucket IS NOT NULL"  # noqa: S608


def _durations(grain: str, period: str, flow: str) -> Rule:
    """How many durations a grain counts, of each flow or ('') of all together, against the executions that have ended."""
    keys = "workspace, flow, period, status, trigger_kind"
    ends = f"workspace, {flow} AS flow, {period} AS period, status, trigger_kind"
    which = "= ''" if flow == "''" else "<> ''"
    of = "all flows together" if flow == "''" else "each flow"
    return Rule(
        "durations_differ",
        f"SELECT {keys}, sum(c.n) FROM (SELECT {ends}, n FROM ({_TRUE_ENDS}) AS t "  # noqa: S608
        f"UNION ALL SELECT {ends}, n FROM ({_DELTA_ENDS}) AS d "
        f"UNION ALL SELECT {keys}, -count FROM durations WHERE grain = '{grain}' AND flow {which}) AS c "
        f"GROUP BY {keys} HAVING sum(c.n) <> 0",
        f"durations by {grain} of {of} are wrong at {{count}} places: {{place}}",
        "percentiles of durations are off by so many executions (the last number); " + _REPORT,
    )


_PACKED = (
    "SELECT b.workspace, b.grain, b.flow, b.period, "
    "'[' || string_agg(CAST(b.bucket AS text) || ',' || CAST(b.count AS text), ',' ORDER BY b.bucket) || ']' AS histogram "
    "FROM (SELECT workspace, grain, flow, period, bucket, sum(count) AS count FROM durations "
    "GROUP BY workspace, grain, flow, period, bucket HAVING sum(count) <> 0) AS b "
    "GROUP BY b.workspace, b.grain, b.flow, b.period"
)
DURATION_RULES = (
    *(
        _durations(grain, period, flow)
        for grain, period in (("all", "0"), ("day", "hour / 24"))
        for flow in ("flow", "''")
    ),
    _durations("hour", "hour", "''"),
    Rule(
        "duration_totals_differ",
        f"SELECT c.workspace, c.grain, c.flow, c.period FROM ({_PACKED} "  # noqa: S608
        "UNION ALL SELECT workspace, grain, flow, period, histogram FROM duration_totals) AS c "
        "GROUP BY c.workspace, c.grain, c.flow, c.period HAVING count(*) <> 2 OR min(c.histogram) <> max(c.histogram)",
        "duration_totals is not the sum of durations at {count} places: {place}",
        "percentiles of durations are wrong there; " + _REPORT,
    ),
)

ALL_RULES = (*RULES, *OPERATION_RULES, *COUNTER_RULES, *DURATION_RULES)
