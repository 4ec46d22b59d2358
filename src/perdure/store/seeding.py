"""A realistic history, drawn by the database itself: what `sqlite.seed` and `postgres.seed` share.

Every row is one that the engine could have written: executions that ended over the last ninety days, most of them of
few flows, most of them completed and quick, with tags, triggers, children, payloads of 0.1 to 4 KiB, node runs, events,
and the counters that belong to them. A set at a time is drawn into the temporary table `drawn`, from numbers between
0 and 1 that each dialect rolls into `rolled (i, at, id, u1, u2, u3, u4, u5)`, and written from there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import msgspec

from perdure.base.clock import DAY, HOUR, SECOND

SPAN = 90 * DAY
FLOWS = 200
NAMESPACES = 10
CUSTOMERS = 1_000
SCHEDULES = 20
OTHER_WORKSPACES = ("acme", "lab")
OTHER_FAMILIES = (3, 11)
FAMILY = 100
"""Executions that follow each other stay in one workspace, and ten of each hundred are children of the first."""
SET = 50_000
"""Executions in one transaction."""
FILLERS = 4_000
SKEW = SECOND
"""Written as the distance between creation times and those in the ids."""

_STEPS = ("fetch", "check", "price", "store", "index")
_RUN_EVENTS = "".join(f'["node.started",~,"{step}",0,1],["node.completed",~,"{step}",0,1],' for step in _STEPS)
_AT_DIGITS = 16
_EVENTS_OF_A_STEP = (len(_RUN_EVENTS) + 2 * len(_STEPS) * (_AT_DIGITS - 1)) // len(_STEPS)

Told = Callable[[int], None]


class Drawing(msgspec.Struct, frozen=True, kw_only=True):
    """`executions` in `workspace` and the others, the newest at `now` (microseconds)."""

    workspace: str
    executions: int
    now: int

    @property
    def since(self) -> int:
        return self.now - SPAN

    @property
    def step(self) -> float:
        """Microseconds from one creation to the next."""
        return SPAN / self.executions

    @property
    def in_workspace(self) -> int:
        """How many of them stand in `workspace`; two in twenty families are the others'."""
        rounds, rest = divmod(self.executions, 20 * FAMILY)
        others = sum(min(max(rest - family * FAMILY, 0), FAMILY) for family in OTHER_FAMILIES)
        return self.executions - 2 * FAMILY * rounds - others

    def sets(self) -> Iterator[tuple[int, int]]:
        """First and end (exclusive) of each transaction's numbers."""
        for first in range(0, self.executions, SET):
            yield first, min(first + SET, self.executions)


def reference_of(i: int) -> str:
    """What the input of number `i` alone holds: something rare to search for."""
    return f"R-{i * 48_271 % 2_147_483_647:010d}"


def fillers() -> list[tuple[int, str]]:
    """(number, text): words that stand in payloads, most of them short, some of 3.5 KiB; the same each time."""
    dice = random.Random(2_026)
    syllables = [
        first + vowel
        for first in ["b", "c", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "st", "tr", "pl"]
        for vowel in "aeiou"
    ]
    words = ["".join(dice.choices(syllables, k=dice.randint(1, 4))) for _ in range(3_000)]
    found = []
    for number in range(FILLERS):
        length = 60 + int(3_400 * dice.random() ** 3)
        text = " ".join(dice.choices(words, k=length // 4))
        found.append((number, text[:length]))
    return found


DRAWN = f"""
SELECT
    r.i,
    r.at,
    r.id,
    CASE r.i / {FAMILY} % 20 WHEN {OTHER_FAMILIES[0]} THEN '{OTHER_WORKSPACES[0]}' WHEN {OTHER_FAMILIES[1]} THEN '{OTHER_WORKSPACES[1]}' ELSE '{{workspace}}' END AS workspace,
    'team-' || (CAST(floor({FLOWS} * power(r.u1, 2.5)) AS bigint) % {NAMESPACES}) AS namespace,
    'team-' || (CAST(floor({FLOWS} * power(r.u1, 2.5)) AS bigint) % {NAMESPACES}) || '/flow-' || CAST(floor({FLOWS} * power(r.u1, 2.5)) AS bigint) AS flow,
    CASE
        WHEN r.u2 < 0.9300 THEN 'completed'
        WHEN r.u2 < 0.9800 THEN 'failed'
        WHEN r.u2 < 0.9900 THEN 'cancelled'
        WHEN r.u2 < 0.9990 THEN 'timed_out'
        ELSE 'abandoned'
    END AS status,
    CASE
        WHEN p.id IS NOT NULL THEN 'flow'
        WHEN r.u3 < 0.7 THEN 'api'
        WHEN r.u3 < 0.9 THEN 'schedule'
        WHEN r.u3 < 0.98 THEN 'webhook'
        ELSE 'cli'
    END AS trigger_kind,
    CASE WHEN p.id IS NULL AND r.u3 >= 0.7 AND r.u3 < 0.9 THEN 'nightly-' || (CAST(floor(r.u3 * 1000) AS bigint) % {SCHEDULES}) END AS trigger_id,
    'c' || CAST(floor({CUSTOMERS} * r.u4) AS bigint) AS customer,
    CASE CAST(floor(r.u5 * 4) AS bigint) WHEN 0 THEN 'eu' WHEN 1 THEN 'us' WHEN 2 THEN 'asia' ELSE 'africa' END AS region,
    p.id AS parent,
    CAST(floor(2000 * power(10, 4 * power(r.u4, 6))) AS bigint) AS wait_us,
    CAST(floor(10000 * power(10, 5 * power(r.u5, 3))) AS bigint) AS took_us,
    CAST(1 + floor(r.u4 * r.u5 * {len(_STEPS)}) AS bigint) AS steps,
    CAST(floor(r.u3 * {FILLERS}) AS bigint) AS note,
    CAST(floor(r.u1 * {FILLERS}) AS bigint) AS summary
FROM rolled AS r LEFT JOIN rolled AS p ON p.i = CASE WHEN r.i % {FAMILY} BETWEEN 1 AND 10 THEN r.i - r.i % {FAMILY} END
"""  # noqa: S608
"""Behind `CREATE TEMP TABLE drawn AS`; a set holds whole families."""

_EXECUTIONS = """
INSERT INTO executions (
    id, workspace, namespace, flow, flow_version, status, priority, queue, tags, trigger_kind, trigger_id, parent,
    parent_node, parent_ordinal, parent_attempt, parent_label, root, depth, max_recoveries, epoch, last_seq,
    has_cleanup, created_at, queued_at, started_at, finished_at, updated_at, lag
)
SELECT
    d.id, d.workspace, d.namespace, d.flow, 1 + d.i / 400000, d.status, 5, 'default',
    '{"customer":"' || d.customer || '","region":"' || d.region || '"}', d.trigger_kind, d.trigger_id, d.parent,
    CASE WHEN d.parent IS NOT NULL THEN 'call' END, CASE WHEN d.parent IS NOT NULL THEN d.i END,
    CASE WHEN d.parent IS NOT NULL THEN 1 END, CASE WHEN d.parent IS NOT NULL THEN '' END, coalesce(d.parent, d.id),
    CASE WHEN d.parent IS NULL THEN 0 ELSE 1 END, 5, 1, 3 + 2 * d.steps, 0, d.at, d.at, d.at + d.wait_us,
    d.at + d.wait_us + d.took_us, d.at + d.wait_us + d.took_us,
    (length(CAST(d.wait_us + d.took_us AS text)) + 1) / 2
FROM drawn AS d
ORDER BY d.i
"""

_PAYLOADS = """
INSERT INTO payloads (execution_id, input, input_size, output, output_size, error)
SELECT v.id, v.input, length(v.input), v.output, length(v.output), v.error
FROM (
    SELECT
        d.i,
        d.id,
        '{"order":' || d.i || ',"customer":"' || d.customer || '","reference":"R-'
        || substr('0000000000', 1, 10 - CAST(length(CAST(d.i * 48271 % 2147483647 AS text)) AS integer))
        || CAST(d.i * 48271 % 2147483647 AS text)
        || '","note":"' || n.text || '"}' AS input,
        CASE WHEN d.status = 'completed' THEN '{"ok":true,"total":' || (d.i % 9973) || ',"summary":"' || substr(s.text, 1, 400) || '"}' END
        AS output,
        CASE
            WHEN d.status IN ('failed', 'timed_out', 'abandoned') THEN
                '{"code":"' || CASE d.status WHEN 'failed' THEN 'node_failed' ELSE d.status END
                || '","message":"HTTP ' || (500 + d.i % 4) || ' from orders.' || d.region || '.example, order '
                || d.i || '","node":"price","ordinal":0,"attempt":1}'
        END AS error
    FROM drawn AS d JOIN fillers AS n ON n.number = d.note JOIN fillers AS s ON s.number = d.summary
) AS v
ORDER BY v.id
"""

_NODE_RUNS = f"""
INSERT INTO node_runs (
    execution_id, node, ordinal, label, type, status, attempt, output, output_size, started_at, finished_at, interruptions
)
SELECT
    d.id, s.node, 0, '', 'python', CASE WHEN s.n = d.steps AND d.status = 'failed' THEN 'failed' ELSE 'completed' END, 1,
    '{{"rows":' || (d.i % 97) || ',"step":"' || s.node || '"}}', 19 + length(CAST(d.i % 97 AS text)) + length(s.node), d.at + d.wait_us,
    d.at + d.wait_us + d.took_us, 0
FROM drawn AS d
JOIN ({" UNION ALL ".join(f"SELECT {n} AS n, '{step}' AS node" for n, step in enumerate(_STEPS, 1))}) AS s ON s.n <= d.steps
ORDER BY d.id, s.node
"""  # noqa: S608

_EVENTS_BEGUN = """
INSERT INTO events (execution_id, seq, last_seq, at, kinds, body)
SELECT
    d.id, 1, 2, d.at + d.wait_us, 2,
    '[["execution.created",' || d.at || ',null,null,null,{"flow":"' || d.flow || '","flow_version":1,"trigger":"'
    || d.trigger_kind || '","number":' || d.i || '}],["execution.started",' || (d.at + d.wait_us) || ']]'
FROM drawn AS d
ORDER BY d.id
"""

_EVENTS_ENDED = f"""
INSERT INTO events (execution_id, seq, last_seq, at, kinds, body)
SELECT
    d.id, 3, 3 + 2 * d.steps, d.at + d.wait_us + d.took_us, 2,
    '[' || substr(
        replace('{_RUN_EVENTS}', '~', CAST(d.at + d.wait_us + d.took_us AS text)), 1,
        CAST(d.steps * {_EVENTS_OF_A_STEP} AS integer)
    )
    || '["execution.' || d.status || '",' || (d.at + d.wait_us + d.took_us) || ']]'
FROM drawn AS d
ORDER BY d.id
"""  # noqa: S608

_TAGS = """
INSERT INTO tags (workspace, key, value, execution_id)
SELECT t.workspace, t.key, t.value, t.id
FROM (
    SELECT d.workspace, 'customer' AS key, d.customer AS value, d.id FROM drawn AS d
    UNION ALL
    SELECT d.workspace, 'region', d.region, d.id FROM drawn AS d
) AS t
ORDER BY t.workspace, t.key, t.value, t.id
"""

_COUNTERS = f"""
INSERT INTO counters (workspace, flow, status, trigger_kind, hour, count)
SELECT d.workspace, d.flow, d.status, d.trigger_kind, d.at / {HOUR}, count(*)
FROM drawn AS d
WHERE d.i >= 0
GROUP BY 1, 2, 3, 4, 5
ON CONFLICT (workspace, flow, status, trigger_kind, hour) DO UPDATE SET count = counters.count + excluded.count
"""  # noqa: S608

_HOURS = """
INSERT INTO hours (workspace, status, trigger_kind, hour, count)
SELECT c.workspace, c.status, c.trigger_kind, c.hour, sum(c.count) FROM counters AS c WHERE c.count > 0 GROUP BY 1, 2, 3, 4
ON CONFLICT (workspace, hour, status, trigger_kind) DO UPDATE SET count = excluded.count
"""

_HOUR_TOTALS = """
INSERT INTO hour_totals (workspace, hour, count)
SELECT h.workspace, h.hour, sum(h.count) FROM hours AS h WHERE h.count > 0 GROUP BY 1, 2
ON CONFLICT (workspace, hour) DO UPDATE SET count = excluded.count
"""

_DAYS = """
INSERT INTO days (workspace, flow, status, trigger_kind, day, count)
SELECT c.workspace, c.flow, c.status, c.trigger_kind, c.hour / 24, sum(c.count)
FROM counters AS c
WHERE c.count > 0
GROUP BY 1, 2, 3, 4, 5
ON CONFLICT (workspace, flow, status, trigger_kind, day) DO UPDATE SET count = excluded.count
"""

_TOTALS = """
INSERT INTO totals (workspace, flow, status, trigger_kind, count)
SELECT c.workspace, c.flow, c.status, c.trigger_kind, sum(c.count) FROM counters AS c WHERE c.count > 0 GROUP BY 1, 2, 3, 4
ON CONFLICT (workspace, flow, status, trigger_kind) DO UPDATE SET count = excluded.count
"""

_DURATIONS = f"""
INSERT INTO durations (workspace, grain, flow, period, status, trigger_kind, bucket, count)
SELECT v.workspace, v.grain, v.flow, v.period, v.status, v.trigger_kind, v.bucket, count(*)
FROM (
    SELECT
        d.workspace,
        g.grain,
        CASE WHEN g.of_all = 1 THEN '' ELSE d.flow END AS flow,
        CASE g.grain WHEN 'all' THEN 0 WHEN 'day' THEN d.at / {DAY} ELSE d.at / {HOUR} END AS period,
        d.status,
        d.trigger_kind,
        32 * (CAST(floor(ln(d.took_us) / ln(2.0)) AS bigint) - 4)
        + CAST(floor(32 * (d.took_us / power(2.0, floor(ln(d.took_us) / ln(2.0))) - 1)) AS bigint) AS bucket
    FROM drawn AS d
    CROSS JOIN (
        SELECT 'all' AS grain, 0 AS of_all UNION ALL SELECT 'all', 1 UNION ALL SELECT 'day', 0 UNION ALL SELECT 'day', 1
        UNION ALL SELECT 'hour', 1
    ) AS g
    WHERE d.took_us >= 32
) AS v
WHERE v.bucket >= 0
GROUP BY 1, 2, 3, 4, 5, 6, 7
ON CONFLICT (workspace, grain, flow, period, status, trigger_kind, bucket)
DO UPDATE SET count = durations.count + excluded.count
"""  # noqa: S608

_DURATION_TOTALS = """
INSERT INTO duration_totals (workspace, grain, flow, period, histogram)
SELECT
    b.workspace, b.grain, b.flow, b.period,
    '[' || string_agg(CAST(b.bucket AS text) || ',' || CAST(b.count AS text), ',' ORDER BY b.bucket) || ']'
FROM (
    SELECT d.workspace, d.grain, d.flow, d.period, d.bucket, sum(d.count) AS count
    FROM durations AS d
    GROUP BY d.workspace, d.grain, d.flow, d.period, d.bucket
) AS b
WHERE b.count > 0
GROUP BY 1, 2, 3, 4
ON CONFLICT (workspace, grain, flow, period) DO UPDATE SET histogram = excluded.histogram
"""

_SKEW = f"""
INSERT INTO measures (name, value) VALUES ('id_skew_us', {SKEW}) ON CONFLICT (name) DO NOTHING
"""  # noqa: S608

WRITES = (_EXECUTIONS, _PAYLOADS, _NODE_RUNS, _EVENTS_BEGUN, _EVENTS_ENDED, _TAGS, _COUNTERS, _DURATIONS)
"""From `drawn` and `fillers (number, text)`, once for each set."""

SUMS = (_HOURS, _HOUR_TOTALS, _DAYS, _TOTALS, _DURATION_TOTALS, _SKEW)
"""Once, when all sets are written: the same sums as the folder of counters keeps."""
