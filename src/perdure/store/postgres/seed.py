"""A long history made in seconds, as `perdure.store.sqlite.seed` makes it, in PostgreSQL's own words."""

from __future__ import annotations

from collections.abc import Callable

from perdure.base.clock import DAY, HOUR, SECOND
from perdure.store.postgres.connection import MIGRATING, connect
from perdure.store.postgres.store import PostgresStore
from perdure.store.postgres.url import parse_url

SPAN = 30 * DAY
FLOWS = 50
CUSTOMERS = 1_000
FAMILY = 100
"""Every hundredth execution is the parent of the ten after it that are children."""
_SET = 50_000
"""Executions in one transaction."""

_DRAW = """
CREATE TEMP TABLE drawn ON COMMIT DROP AS
SELECT
    m.i,
    m.at,
    m.dice,
    (
        lpad(to_hex(m.at / 1000), 12, '0') || '7' || lpad(to_hex(m.i % 4096), 3, '0') || '8'
        || lpad(to_hex((random() * 288230376151711743)::bigint), 15, '0')
    )::uuid AS id,
    'bench/flow-' || (m.dice * 7 % {flows}) AS flow,
    CASE WHEN m.dice < 300 THEN 'failed' WHEN m.dice < 320 THEN 'cancelled' ELSE 'completed' END AS status,
    CASE WHEN m.dice % 20 = 0 THEN 'schedule' ELSE 'api' END AS trigger_kind,
    'c' || (m.dice * 31 % {customers}) AS customer,
    CASE WHEN m.i % {family} BETWEEN 1 AND 10 THEN m.i / {family} * {family} END AS parent_i
FROM (
    SELECT i, {since} + (i * {step}::float8)::bigint AS at, floor(random() * 10000)::bigint AS dice
    FROM generate_series({first}::bigint, {end}::bigint - 1) AS i
) AS m
"""

_EXECUTIONS = """
INSERT INTO executions (
    id, workspace, namespace, flow, flow_version, status, priority, queue, tags, trigger_kind, parent, parent_node,
    parent_ordinal, parent_attempt, parent_label, root, depth, max_recoveries, epoch, last_seq, has_cleanup, created_at,
    queued_at, started_at, finished_at, updated_at
)
SELECT
    d.id, '{workspace}', 'bench', d.flow, 1, d.status, 5, 'default', '{{"customer":"' || d.customer || '"}}',
    CASE WHEN p.id IS NULL THEN d.trigger_kind ELSE 'flow' END, p.id, CASE WHEN p.id IS NOT NULL THEN 'call' END,
    CASE WHEN p.id IS NOT NULL THEN d.i END, CASE WHEN p.id IS NOT NULL THEN 1 END,
    CASE WHEN p.id IS NOT NULL THEN '' END, coalesce(p.id, d.id), CASE WHEN p.id IS NULL THEN 0 ELSE 1 END, 5, 1, 6, 0,
    d.at, d.at, d.at, d.at + 50000 + d.dice * 100, d.at + 50000 + d.dice * 100
FROM drawn AS d LEFT JOIN drawn AS p ON p.i = d.parent_i
ORDER BY d.i
"""

_PAYLOADS = """
INSERT INTO payloads (execution_id, input, input_size, output, output_size, error)
SELECT
    id, '{{"order":' || i || ',"customer":"' || customer || '"}}', length(customer) + 40,
    CASE WHEN status = 'completed' THEN '{{"ok":true}}' END, CASE WHEN status = 'completed' THEN 11 END,
    CASE WHEN status = 'failed' THEN '{{"code":"node_failed","message":"the step failed","node":"step"}}' END
FROM drawn ORDER BY id
"""

_TAGS = """
INSERT INTO tags (workspace, key, value, execution_id)
SELECT '{workspace}', 'customer', customer, id FROM drawn ORDER BY customer, id
"""

_COUNTERS = """
INSERT INTO counters (workspace, flow, status, trigger_kind, hour, count)
SELECT '{workspace}', flow, status, CASE WHEN parent_i IS NULL THEN trigger_kind ELSE 'flow' END, at / {hour}, count(*)
FROM drawn GROUP BY 1, 2, 3, 4, 5
ON CONFLICT (workspace, flow, status, trigger_kind, hour) DO UPDATE SET count = counters.count + excluded.count
"""

_SUMS = (
    """
    INSERT INTO hours (workspace, status, trigger_kind, hour, count)
    SELECT workspace, status, trigger_kind, hour, sum(count) FROM counters GROUP BY 1, 2, 3, 4
    """,
    """
    INSERT INTO days (workspace, flow, status, trigger_kind, day, count)
    SELECT workspace, flow, status, trigger_kind, hour / 24, sum(count) FROM counters GROUP BY 1, 2, 3, 4, 5
    """,
    """
    INSERT INTO totals (workspace, flow, status, trigger_kind, count)
    SELECT workspace, flow, status, trigger_kind, sum(count) FROM counters GROUP BY 1, 2, 3, 4
    """,
    "INSERT INTO measures (name, value) VALUES ('id_skew_us', {skew}) ON CONFLICT (name) DO NOTHING",
)
_TABLES = "executions, payloads, tags, counters, hours, days, totals"


async def seed_history(url: str, *, workspace: str, executions: int, now: int, told: Callable[[int], None]) -> None:
    """Write that many ended executions, the newest at `now` (microseconds), into an empty store.

    `told` is called with the number of executions written so far. What would be vacuumed and analysed in the course of
    time is so at the end.
    """
    since = now - SPAN
    store = await PostgresStore.open(url)
    try:
        await store.make_partitions(since=since)
    finally:
        await store.close()
    connection = await connect(parse_url(url), MIGRATING | {"synchronous_commit": "off"}, name="perdure bench")
    try:
        for first in range(0, executions, _SET):
            end = min(first + _SET, executions)
            words = {
                "first": first, "end": end, "since": since, "step": SPAN / executions, "workspace": workspace,
                "flows": FLOWS, "customers": CUSTOMERS, "family": FAMILY, "hour": HOUR,
            }  # fmt: skip
            async with connection.transaction():
                await connection.execute(_DRAW.format_map(words))
                await connection.execute("CREATE INDEX ON drawn (i); ANALYZE drawn")
                for statement in (_EXECUTIONS, _PAYLOADS, _TAGS, _COUNTERS):
                    await connection.execute(statement.format_map(words))
            told(end)
        for statement in _SUMS:
            await connection.execute(statement.format(skew=SECOND))
        await connection.execute(f"VACUUM ANALYZE {_TABLES}")
    finally:
        await connection.close()
