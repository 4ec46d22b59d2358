"""The SQL of a copy: alike for all tables, and the same text for both databases."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.model.states import TERMINAL
from perdure.store.copying.tables import TABLES, TRACES, Table

_ENDED = ", ".join(f"'{status}'" for status in sorted(TERMINAL))

FIRST_ID = "SELECT e.id FROM executions AS e ORDER BY e.id LIMIT 1"
EXECUTIONS = "SELECT count(*) FROM executions AS e WHERE e.kind = 'flow'"
UNFINISHED = f"{EXECUTIONS} AND e.status NOT IN ({_ENDED})"
CONTENTS = """
SELECT f.sha256, max(f.size) AS size
FROM (SELECT b.sha256, b.size FROM blobs AS b UNION ALL SELECT a.sha256, a.size_bytes FROM artifacts AS a) AS f
GROUP BY f.sha256
ORDER BY f.sha256
"""
CONTENTS_TOTAL = f"SELECT count(*), coalesce(sum(f.size), 0) FROM ({CONTENTS}) AS f"  # noqa: S608
WORKERS_ALIVE = """
SELECT k.name, k.host FROM workers AS k
WHERE k.stopped_at IS NULL AND k.heartbeat_at >= (extract(EPOCH FROM clock_timestamp()) * 1000000)::bigint - $1::bigint
"""
"""By PostgreSQL's own clock; the argument is in microseconds."""


def select_sql(table: Table, columns: Sequence[str]) -> str:
    """All rows by their key."""
    return f"SELECT {', '.join(columns)} FROM {table.name} ORDER BY {', '.join(table.key)}"  # noqa: S608


def count_sql(table: Table) -> str:
    return f"SELECT count(*) FROM {table.name}"  # noqa: S608


def filled_sql() -> str:
    """Names of the tables that hold something, but for the traces of a server that did nothing."""
    parts = [
        f"SELECT '{table.name}' AS name WHERE EXISTS (SELECT 1 FROM {table.name})"  # noqa: S608
        for table in TABLES
        if table.name not in TRACES
    ]
    return " UNION ALL ".join(parts)
