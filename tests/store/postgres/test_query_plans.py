"""No statement walks through a large table, whatever the planner knew of it when it made the plan."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import pytest

from perdure.model.states import ExecutionStatus
from perdure.store.interface import ExecutionFilter, Page
from perdure.store.postgres.connection import READING, WRITING, Connection, connect
from perdure.store.postgres.runner import Statements, numbered
from perdure.store.postgres.url import Address, parse_url
from perdure.store.reads.filters import FilterQuery
from perdure.store.statements import Query, library
from tests.store.databases import new_schema_url, opened

SMALL = {
    "search_state",
    "search_holder",
    "flows",
    "flow_versions",
    "workers",
    "tokens",
    "measures",
    "writers",
    "pg_stat_activity",
    "pg_database",
}
"""What may be scanned: tables that people fill by hand, one row for each process, and views of the server."""
SCANNED_IN_PART = {
    "counter_deltas_sum": "stops at its limit, oldest first",
    "newest_bare": "stops at its limit, newest first",
    "owners_lost": "jumps from worker to worker in the partial index of owned executions",
    "queue_family": "the empty index of units, as long as there are none",
    "queue_lines": "jumps from line to line in the index",
    "search_clear": "everything goes",
    "search_segments_end": "the last one, by the primary key",
    "search_tail_sizes": "what waits for a segment",
    "timers_next": "the first entry of the index",
}
ID = b"\x01" * 16

_UNDISTURBED = """
SET statement_timeout = '30s';
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' LOOP
        EXECUTE format('ALTER TABLE %I SET (autovacuum_enabled = off)', name);
    END LOOP;
END
$$
"""
"""What the planner knows is what a test told it: no autovacuum comes between, and holds no lock that ANALYZE waits for."""

_ANALYZE = """
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') LOOP
        EXECUTE format('ANALYZE %I', name);
    END LOOP;
END
$$
"""
"""Of these tables alone: a bare ANALYZE goes through every schema of the database, and holds a lock on each table."""

_SEED = """
INSERT INTO executions (
    id, workspace, namespace, flow, flow_version, status, priority, queue, tags, trigger_kind, root, depth,
    max_recoveries, epoch, last_seq, has_cleanup, created_at, updated_at, finished_at, parent, parent_node,
    parent_ordinal, parent_label, parent_attempt, worker
)
SELECT
    (lpad(to_hex(1795000000000 + i * 150000), 12, '0') || '7000' || lpad(to_hex(i), 16, '0'))::uuid, 'default', 'ns-' || i % 5,
    'ns-' || i % 5 || '/flow-' || i % 50, 1, CASE WHEN i % 97 = 0 THEN 'running' WHEN i % 31 = 0 THEN 'failed' ELSE 'completed' END,
    5, 'default', '{}', CASE WHEN i % 20 = 0 THEN 'schedule' ELSE 'api' END, gen_random_uuid(), CASE WHEN i % 10 = 0 THEN 1 ELSE 0 END, 5, 1,
    6, 0, i, i, CASE WHEN i % 97 = 0 THEN NULL ELSE i END, CASE WHEN i % 10 = 0 THEN gen_random_uuid() END, 'n', i, '', 1,
    CASE WHEN i % 97 = 0 THEN 'w' || i % 3 END
FROM generate_series(1, 8000) AS i;
INSERT INTO payloads (execution_id, input, input_size) SELECT id, '{}', 2 FROM executions;
INSERT INTO node_runs (execution_id, node, ordinal, label, type, status, attempt, interruptions)
SELECT id, 'n', n, '', 'python', 'completed', 1, 0 FROM executions, generate_series(1, 2) AS n;
INSERT INTO events (execution_id, seq, last_seq, at, kinds, body) SELECT id, n, n, 1, 2, '[]' FROM executions, generate_series(1, 2) AS n;
INSERT INTO queue (execution_id, workspace, queue, rank) SELECT id, 'default', 'default', number FROM executions LIMIT 3000;
INSERT INTO timers (execution_id, kind, due_at) SELECT id, 'wake', number FROM executions LIMIT 3000;
INSERT INTO tags (workspace, key, value, execution_id) SELECT 'default', 'customer', 'c' || number % 100, id FROM executions;
"""


class Planner:
    """Asks the server how it would carry something out."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection = connection
        self._schema = schema

    async def plan(self, sql: str, values: list[str]) -> list[dict[str, Any]]:
        """The nodes of the plan for any values (`values` are literals, for the types and for custom plans)."""
        await self._connection.execute(f"PREPARE asked AS {sql}")
        given = f"({', '.join(values)})" if values else ""
        answer = await self._connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked{given}")
        await self._connection.execute("DEALLOCATE asked")
        return list(_nodes(json.loads(answer)[0]["Plan"]))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def walks(nodes: list[dict[str, Any]]) -> list[str]:
    """Scans of large tables that no index condition narrows."""
    found = []
    for node in nodes:
        table = node.get("Relation Name", "")
        is_small = table in SMALL or table.startswith("pg_")
        is_scan = node["Node Type"].endswith("Scan")
        if table and is_scan and not is_small and "Index Cond" not in node and "Recheck Cond" not in node:
            found.append(f"{node['Node Type']} of {table}")
    return found


@contextlib.asynccontextmanager
async def session(settings: dict[str, str]) -> AsyncIterator[tuple[Connection, Address]]:
    """In tables that nothing was written to or deleted from yet."""
    url = new_schema_url()
    async with opened(url):
        pass
    address = parse_url(url)
    connection = await connect(address, settings, name="perdure plans")
    try:
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute(_UNDISTURBED)
        yield connection, address
    finally:
        # One that is left open would keep the loop from being closed.
        connection.terminate()


@pytest.fixture(params=["empty", "analyzed", "filled", "filled and analyzed", "analyzed, then filled"])
async def knowing(request: pytest.FixtureRequest) -> AsyncIterator[Planner]:
    """A writer's session when the server has these notions of the tables."""
    async with session(WRITING) as (connection, address):
        steps = {"analyzed": _ANALYZE, "filled": _SEED}
        for word in request.param.replace(",", "").split():
            if word in steps:
                await connection.execute(steps[word])
        yield Planner(connection, address.schema)


async def test_every_named_statement_finds_its_rows_by_an_index(knowing: Planner) -> None:
    known = Statements(library("postgres"))
    for name, parts in known.compiled.items():
        for sql, order, _ in parts:
            found = walks(await knowing.plan(sql, ["NULL"] * len(order)))
            assert not found or name in SCANNED_IN_PART, (name, found)
    for name, one in known.traits.items():
        if one.is_plain and name != "feed_put":
            text = known.together((name, "feed_put"))
            assert text is not None
            count = sum(len(part.order) for part in (*known.compiled[name], *known.compiled["feed_put"]))
            assert not walks(await knowing.plan(text, ["NULL"] * count)), f"{name}, where it goes with others"


def test_what_is_scanned_in_part_exists() -> None:
    assert SCANNED_IN_PART.keys() <= library("postgres").statements.keys()


async def test_only_the_partition_of_an_id_is_looked_into() -> None:
    async with session(WRITING) as (connection, _):
        await connection.execute(_SEED)
        known = Statements(library("postgres")).compiled
        id = await connection.fetchval("SELECT id FROM executions ORDER BY id LIMIT 1")
        at_once = {
            "standings": 1,
            "owned": 3,
            "records_free": 1,
            "payloads": 1,
            "node_runs_of": 1,
            "executions_told": 3,
        }
        for name, columns in at_once.items():
            ((sql, order, _),) = known[name]
            assert len(order) == columns
            others: dict[str, list[Any]] = {"owned": [[1], ["running"]], "executions_told": [[1], [0]]}
            rest = others.get(name, [])
            answer = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", [id], *rest)
            nodes = list(_nodes(json.loads(answer)[0]["Plan"]))
            scanned = [node["Relation Name"] for node in nodes if "Index Cond" in node and node["Actual Loops"]]
            assert len(scanned) == 1, (name, scanned)


LISTED: list[dict[str, Any]] = [
    {},
    {"statuses": (ExecutionStatus.FAILED,)},
    {"statuses": tuple(ExecutionStatus)},
    {"flow": "ns-1/flow-1"},
    {"flow": "ns-1/flow-1", "statuses": (ExecutionStatus.FAILED,)},
    {"namespace": "ns-1"},
    {"trigger_kind": "schedule"},
    {"tags": (("customer", "c1"),)},
    {"tags": (("customer", None),)},
    {"parent": ID},
    {"root": ID},
    {"replay_of": ID},
    {"created_after": 5, "created_before": 9},
    {"worker": "w1"},
    {"trigger_kind": "schedule", "trigger_id": "nightly"},
    {"namespace": "ns-1", "statuses": (ExecutionStatus.FAILED,), "trigger_kind": "api"},
]
PAGES = [Page(), Page(after=ID), Page(after=ID, newest_first=False)]


class Walked(NamedTuple):
    rows: int
    """Those that were looked at in large tables."""
    is_sorted: bool
    """Whether more than the wanted ones had to be sorted."""


async def walked(connection: Connection, query: Query) -> Walked:
    sql, order = numbered(query.sql)
    answer = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *[query.params[one] for one in order])
    rows, most_sorted = 0, 0
    for node in _nodes(json.loads(answer)[0]["Plan"]):
        if node.get("Relation Name") not in {None, *SMALL} and node["Node Type"].endswith("Scan"):
            rows += int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
        if node["Node Type"] == "Sort":
            most_sorted = max(most_sorted, *[int(child["Actual Rows"]) for child in node["Plans"]])
    return Walked(rows, most_sorted > 2_000)


@pytest.fixture(params=["force_generic_plan", "force_custom_plan"])
async def reading(request: pytest.FixtureRequest) -> AsyncIterator[Connection]:
    """A reader's session on 8,000 executions in two workspaces, of which the planner knows."""
    async with session(READING) as (connection, _):
        await connection.execute(f"SET plan_cache_mode = {request.param}")
        await connection.execute(_SEED)
        await connection.execute("UPDATE executions SET workspace = 'small' WHERE number % 400 = 0")
        await connection.execute(_ANALYZE)
        yield connection


@pytest.mark.parametrize("workspace", ["default", "small"])
async def test_a_listing_looks_at_little_more_than_it_shows(reading: Connection, workspace: str) -> None:
    for wanted in LISTED:
        for page in PAGES:
            query = FilterQuery(workspace, ExecutionFilter(**wanted), 0).listing(page, library("postgres"))
            found = await walked(reading, query)
            walks = max(len(wanted.get("statuses", ())), 11 if "flow" in wanted else 1)
            assert found.rows <= 200 * walks + 1_000, (wanted, page, found)
            assert not found.is_sorted, (wanted, page)


@pytest.mark.parametrize("workspace", ["default", "small"])
async def test_counting_looks_at_little_more_than_it_counts(reading: Connection, workspace: str) -> None:
    for wanted in LISTED:
        query = FilterQuery(workspace, ExecutionFilter(**wanted), 0)
        counting = query.counting(10_000)
        sql, order = numbered(counting.sql)
        count = await reading.fetchval(sql, *[counting.params[one] for one in order])
        found = await walked(reading, counting)
        assert found.rows <= 4 * count + 1_000, (wanted, count, found)


@pytest.mark.parametrize("workspace", ["default", "small"])
async def test_times_and_durations_are_driven_by_the_index_of_lags(reading: Connection, workspace: str) -> None:
    await reading.execute(
        "UPDATE executions SET started_at = created_at, lag = 1 + number % 5 WHERE finished_at IS NOT NULL"
    )
    await reading.execute("ANALYZE executions")
    now = 1_795_000_000_000_000
    lists: list[dict[str, Any]] = [
        {"started_after": now, "started_before": now + 1_000_000},
        {"finished_after": now + 1_100_000_000_000, "statuses": (ExecutionStatus.FAILED,)},
        {"min_duration": 10**7, "now": now, "flow": "ns-1/flow-1"},
        {"min_duration": 10**7, "now": now, "tags": (("customer", "c1"),)},
    ]
    for wanted in lists:
        for page in PAGES:
            query = FilterQuery(workspace, ExecutionFilter(**wanted), 0, driver="lag")
            met = await walked(reading, query.frontier(page, 100))
            assert met.rows <= 100 * 13 + 1_000, (wanted, page, met)
            count = query.counting(None, checked=False)
            sql, order = numbered(count.sql)
            whole = await reading.fetchval(sql, *[count.params[one] for one in order])
            found = await walked(reading, query.listing(page, library("postgres")))
            # Each of a tag's checks is one look into another table.
            assert found.rows <= 2 * whole + 1_000, (wanted, page, found, whole)
