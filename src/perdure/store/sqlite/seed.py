"""A long history made in seconds: executions that ended, written set by set straight into the tables.

It is for measuring how lists, counts and searches hold up (`perdure bench`): every row is one that
the engine could have written, spread over flows, states, tags, parents and thirty days.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw

from perdure.base.clock import DAY, HOUR, SECOND
from perdure.store.sqlite.connection import open_writer
from perdure.store.sqlite.migrate import migrate, migrations

SPAN = 30 * DAY
FLOWS = 50
CUSTOMERS = 1_000
FAMILY = 100
"""Every hundredth execution is the parent of the ten after it that are children."""
_SET = 50_000
"""Executions in one transaction."""

_DRAW = """
CREATE TEMP TABLE drawn AS
WITH RECURSIVE numbers (i) AS (SELECT :first UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :end),
moments (i, at, dice) AS (
    SELECT i, :since + cast(i * :step AS INTEGER), abs(random() % 10000) FROM numbers
)
SELECT
    i,
    at,
    dice,
    unhex(printf('%012x7%03x8%015x', at / 1000, i % 4096, abs(random() % (1 << 58)))) AS id,
    'bench/flow-' || (dice * 7 % :flows) AS flow,
    CASE WHEN dice < 300 THEN 'failed' WHEN dice < 320 THEN 'cancelled' ELSE 'completed' END AS status,
    CASE WHEN dice % 20 = 0 THEN 'schedule' ELSE 'api' END AS trigger_kind,
    'c' || (dice * 31 % :customers) AS customer,
    CASE WHEN i % :family BETWEEN 1 AND 10 THEN i / :family * :family END AS parent_i
FROM moments
"""

_EXECUTIONS = """
INSERT INTO executions (
    id, workspace, namespace, flow, flow_version, status, priority, queue, tags, trigger_kind, parent, parent_node,
    parent_ordinal, parent_attempt, parent_label, root, depth, max_recoveries, epoch, last_seq, has_cleanup, created_at, queued_at,
    started_at, finished_at, updated_at
)
SELECT
    d.id, :workspace, 'bench', d.flow, 1, d.status, 5, 'default', json_object('customer', d.customer),
    iif(p.id IS NULL, d.trigger_kind, 'flow'), p.id, iif(p.id IS NULL, NULL, 'call'),
    iif(p.id IS NULL, NULL, d.i), iif(p.id IS NULL, NULL, 1), iif(p.id IS NULL, NULL, ''), coalesce(p.id, d.id), iif(p.id IS NULL, 0, 1), 5, 1, 6, 0,
    d.at, d.at, d.at, d.at + 50000 + d.dice * 100, d.at + 50000 + d.dice * 100
FROM drawn AS d LEFT JOIN drawn AS p ON p.i = d.parent_i
ORDER BY d.i
"""

_PAYLOADS = """
INSERT INTO payloads (execution_id, input, input_size, output, output_size, error)
SELECT
    id, json_object('order', i, 'customer', customer), length(customer) + 40,
    iif(status = 'completed', '{"ok":true}', NULL), iif(status = 'completed', 11, NULL),
    iif(status = 'failed', '{"code":"node_failed","message":"the step failed","node":"step"}', NULL)
FROM drawn ORDER BY id
"""

_TAGS = """
INSERT INTO tags (workspace, key, value, execution_id)
SELECT :workspace, 'customer', customer, id FROM drawn ORDER BY customer, id
"""

_COUNTERS = """
INSERT INTO counters (workspace, flow, status, trigger_kind, hour, count)
SELECT :workspace, flow, status, iif(parent_i IS NULL, trigger_kind, 'flow') AS kind, at / :hour AS hour, count(*)
FROM drawn GROUP BY flow, status, kind, hour
ON CONFLICT (workspace, flow, status, trigger_kind, hour) DO UPDATE SET count = counters.count + excluded.count
"""

_HOURS = """
INSERT INTO hours (workspace, status, trigger_kind, hour, count)
SELECT workspace, status, trigger_kind, hour, sum(count) FROM counters GROUP BY 1, 2, 3, 4
ON CONFLICT (workspace, hour, status, trigger_kind) DO UPDATE SET count = excluded.count
"""

_DAYS = """
INSERT INTO days (workspace, flow, status, trigger_kind, day, count)
SELECT workspace, flow, status, trigger_kind, hour / 24, sum(count) FROM counters GROUP BY 1, 2, 3, 4, 5
ON CONFLICT (workspace, flow, status, trigger_kind, day) DO UPDATE SET count = excluded.count
"""

_TOTALS = """
INSERT INTO totals (workspace, flow, status, trigger_kind, count)
SELECT workspace, flow, status, trigger_kind, sum(count) FROM counters GROUP BY 1, 2, 3, 4
ON CONFLICT (workspace, flow, status, trigger_kind) DO UPDATE SET count = excluded.count
"""

_SKEW = """
INSERT INTO measures (name, value) VALUES ('id_skew_us', :skew) ON CONFLICT (name) DO NOTHING
"""


def seed_history(
    path: Path, *, workspace: str, executions: int, now: int, told: Callable[[int], None] = lambda done: None
) -> None:
    """Write that many ended executions, the newest at `now` (microseconds), into the store at `path`.

    Args:
        path: the database; nobody else may have it open. It is made where it is not there.
        told: is called with the number of executions written so far.
    """
    connection = open_writer(path)
    migrate(connection, path, migrations())
    connection.pragma("synchronous", "off")
    connection.pragma("cache_size", -256 * 1024)
    for first in range(0, executions, _SET):
        end = min(first + _SET, executions)
        with connection:
            _write_set(connection, workspace=workspace, first=first, end=end, since=now - SPAN, step=SPAN / executions)
        told(end)
    with connection:
        connection.execute(_HOURS)
        connection.execute(_DAYS)
        connection.execute(_TOTALS)
        connection.execute(_SKEW, {"skew": SECOND})
    connection.pragma("synchronous", "full")
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.close()


def _write_set(connection: apsw.Connection, *, workspace: str, first: int, end: int, since: int, step: float) -> None:
    connection.execute("DROP TABLE IF EXISTS temp.drawn")
    drawing = {
        "first": first, "end": end, "since": since, "step": step,
        "flows": FLOWS, "customers": CUSTOMERS, "family": FAMILY,
    }  # fmt: skip
    connection.execute(_DRAW, drawing)
    connection.execute("CREATE INDEX temp.drawn_by_number ON drawn (i)")
    for statement in (_EXECUTIONS, _PAYLOADS, _TAGS):
        connection.execute(statement, {"workspace": workspace})
    connection.execute(_COUNTERS, {"workspace": workspace, "hour": HOUR})
