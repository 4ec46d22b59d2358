"""No list, filter, claim or timer walks through all executions: SQLite's own plans say so."""

import re
from collections.abc import Iterator
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw
import pytest

from perdure.model.states import ExecutionKind, ExecutionStatus
from perdure.store.interface import ExecutionFilter, Page
from perdure.store.reads.filters import FilterQuery
from perdure.store.sqlite.connection import open_writer
from perdure.store.sqlite.migrate import migrate, migrations
from perdure.store.sqlite.runner import Compiled, as_one_text, spelt
from perdure.store.statements import library

SMALL = {"batch", "names", "lines", "owners", "flows", "workers", "tokens", "measures", "json_each"}
"""What may be scanned: the rows that were handed in, and tables that people fill by hand."""
ALIASES = {"f", "k", "t"}
SCANNED_IN_PART = {
    "feed_end": "one row for each writer, by the primary key",
    "feed_stale": "stops at its limit, oldest first",
    "counter_deltas_sum": "stops at its limit, oldest first",
    "search_state": "a handful of rows",
    "search_clear": "everything goes",
    "search_segments_end": "the last one, by the primary key",
    "search_tail_sizes": "what waits for a segment",
    "timers_next": "the first entry of the index",
    "standings_of_others": "the partial index of owned executions",
}


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    path = tmp_path / "perdure.db"
    made = open_writer(path)
    migrate(made, path, migrations())
    # In truth they stand in a file of their own.
    made.execute(files("perdure.store.search").joinpath("schema.sql").read_text(encoding="utf-8"))
    yield made
    made.close()


def plan(connection: apsw.Connection, sql: str) -> list[str]:
    bindings = [None] * sql.count("?") or dict.fromkeys(re.findall(r":(\w+)", sql))
    return [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + sql, bindings)]


def scans(steps: list[str]) -> list[str]:
    """Steps that walk through a whole table or index."""
    derived = (
        "CONSTANT ROW",
        "(subquery",
        "walk_",
        "found",
        "answer",
        "LEFTMOST",
        "u",
        "met",
    )
    names = [
        re.sub(r"^\d+(-ROW VALUES| CONSTANT ROW)", "CONSTANT ROW", step[5:])
        for step in steps
        if step.startswith("SCAN ")
    ]
    return [name for name in names if name.split()[0] not in SMALL and not name.startswith(derived)]


def test_every_named_statement_finds_its_rows_by_an_index(connection: apsw.Connection) -> None:
    for name, statement in library("sqlite").statements.items():
        if name in SCANNED_IN_PART:
            continue
        for part in statement.parts:
            compiled = Compiled(part, statement.rows, statement.returns)
            # For many rows the planner may choose otherwise than for few.
            sizes = [1 << power for power in range(compiled.most_rows.bit_length())] if statement.rows else [0]
            for size in sizes:
                steps = plan(connection, compiled.sql(size))
                found = [step for step in scans(steps) if not _is_small(step, part)]
                assert not found, (name, size, steps)


def _is_small(step: str, sql: str) -> bool:
    """An alias of a table that people fill by hand (flows AS f, workers AS k, tokens AS t)."""
    alias = step.split(maxsplit=1)[0]
    return alias in ALIASES and any(f"{table} AS {alias}" in sql for table in ("flows", "workers", "tokens"))


def test_the_lines_of_a_queue_are_found_however_long_they_are(connection: apsw.Connection) -> None:
    lines = [("default", "default"), ("default", "other"), ("heavy", "default")]
    rows = [(n.to_bytes(16), *lines[n % 3], n) for n in range(9_000)]
    connection.executemany("INSERT INTO queue (execution_id, queue, workspace, rank) VALUES (?, ?, ?, ?)", rows)
    steps: list[int] = []
    connection.trace_v2(
        apsw.SQLITE_TRACE_PROFILE, lambda told: steps.append(told["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"])
    )
    [sql] = library("sqlite").statements["queue_lines"].parts
    assert sorted(connection.execute(sql)) == lines
    connection.trace_v2(0, None)
    assert max(steps) < 1_000


def test_what_is_scanned_in_part_exists() -> None:
    assert SCANNED_IN_PART.keys() <= library("sqlite").statements.keys()


ONE = b"\x01" * 16
LISTED: list[dict[str, Any]] = [
    {},
    {"statuses": (ExecutionStatus.FAILED,)},
    {"statuses": tuple(ExecutionStatus)},
    {"flow": "a/b"},
    {"flow": "a/b", "statuses": (ExecutionStatus.FAILED,)},
    {"namespace": "a"},
    {"trigger_kind": "api"},
    {"tags": (("k", "v"),)},
    {"tags": (("k", None),)},
    {"tags": (("k", "v"), ("l", None)), "statuses": (ExecutionStatus.FAILED,), "flow": "a/b"},
    {"parent": ONE},
    {"parent": ONE, "statuses": (ExecutionStatus.FAILED,), "flow": "a/b", "namespace": "a"},
    {"root": ONE},
    {"replay_of": ONE},
    {"created_after": 5, "created_before": 9},
    {"namespace": "a", "statuses": (ExecutionStatus.FAILED,), "trigger_kind": "api"},
    {"worker": "w"},
    {"worker": "w", "statuses": (ExecutionStatus.RUNNING,), "flow": "a/b"},
    {"trigger_kind": "schedule", "trigger_id": "nightly"},
    {"trigger_kind": "schedule", "trigger_id": "nightly", "tags": (("k", "v"),), "flow": "a/b"},
    {"flow": "a/b", "min_duration": 5, "started_after": 9, "finished_before": 20},
    {"kind": ExecutionKind.UNIT},
    {"kind": ExecutionKind.UNIT, "statuses": (ExecutionStatus.RUNNING,), "flow": "a/b", "tags": (("k", "v"),)},
    {"kind": ExecutionKind.UNIT, "parent": ONE, "statuses": (ExecutionStatus.FAILED,)},
    {"kind": ExecutionKind.UNIT, "root": ONE},
]
DRIVEN_BY = {
    "parent": "children_by_parent",
    "root": "executions_by_root",
    "replay_of": "executions_by_replay_of",
    "worker": "executions_by_worker",
    "trigger_id": "executions_by_trigger_id",
    "tags": "t USING",
    "flow": "executions_by_flow",
    "statuses": "executions_by_status",
    "namespace": "executions_by_namespace",
    "trigger_kind": "executions_by_trigger",
}
UNITS_DRIVEN_BY = {"parent": "units_by_parent", "root": "units_by_root"}


@pytest.mark.parametrize("wanted", LISTED, ids=lambda wanted: "+".join(wanted) or "all")
@pytest.mark.parametrize("page", [Page(), Page(after=ONE), Page(after=ONE, newest_first=False)])
def test_a_listing_walks_one_index_in_the_order_of_ids(
    connection: apsw.Connection, wanted: dict[str, Any], page: Page
) -> None:
    known = library("sqlite")
    query = FilterQuery("default", ExecutionFilter(**wanted), 0).listing(page, known)
    steps = plan(connection, spelt(query.sql))
    assert not scans(steps), steps
    by, otherwise = DRIVEN_BY, "executions_by_workspace"
    if wanted.get("kind") is ExecutionKind.UNIT:
        by, otherwise = UNITS_DRIVEN_BY, "units_by_status"
    driver = next((index for name, index in by.items() if name in wanted), otherwise)
    assert any(driver in step for step in steps), steps
    walks = [step for step in steps if driver in step]
    assert len(walks) >= (len(wanted.get("statuses", ())) if driver == "executions_by_status" else 1)
    for before, step in pairwise(step for step in steps if not step.startswith("CO-ROUTINE")):
        assert "TEMP B-TREE" not in step or before.startswith(("SCAN", "UNION")), steps


@pytest.mark.parametrize("wanted", LISTED, ids=lambda wanted: "+".join(wanted) or "all")
def test_counting_uses_an_index_as_well(connection: apsw.Connection, wanted: dict[str, Any]) -> None:
    query = FilterQuery("default", ExecutionFilter(**wanted), 0)
    counting = query.counting(10_000)
    steps = plan(connection, spelt(as_one_text(counting.sql, counting.returns)))
    assert not [step for step in scans(steps) if "execution" in step or step.startswith("e")], steps


@pytest.mark.parametrize("wanted", LISTED[:15], ids=lambda wanted: "+".join(wanted) or "all")
def test_flows_and_units_together_walk_an_index_of_each(connection: apsw.Connection, wanted: dict[str, Any]) -> None:
    query = FilterQuery("default", ExecutionFilter(**wanted, kind=None), 0).listing(Page(), library("sqlite"))
    steps = plan(connection, spelt(query.sql))
    assert not scans(steps), steps
    assert any("units_by_" in step for step in steps), steps


def test_a_driver_can_be_named(connection: apsw.Connection) -> None:
    wanted = ExecutionFilter(namespace="a", statuses=(ExecutionStatus.FAILED,), trigger_kind="api")
    for driver in ("status", "namespace", "trigger_kind"):
        query = FilterQuery("default", wanted, 0, driver=driver).listing(Page(), library("sqlite"))
        steps = plan(connection, spelt(query.sql))
        index = {"trigger_kind": "executions_by_trigger"}.get(driver, f"executions_by_{driver}")
        assert any(index in step for step in steps), steps


@pytest.mark.parametrize(
    "wanted",
    [
        {"started_after": 5, "started_before": 9},
        {"finished_after": 5},
        {"finished_after": 5, "statuses": (ExecutionStatus.FAILED,), "flow": "a/b"},
        {"min_duration": 10_000_000},
        {"min_duration": 10_000_000, "created_after": 5, "created_before": 9, "tags": (("k", "v"),)},
    ],
)
@pytest.mark.parametrize("page", [Page(), Page(after=ONE, until=ONE), Page(after=ONE, newest_first=False)])
def test_times_and_durations_walk_the_index_of_lags(
    connection: apsw.Connection, wanted: dict[str, Any], page: Page
) -> None:
    query = FilterQuery("default", ExecutionFilter(**wanted), 0, driver="lag")
    for asked in (query.listing(page, library("sqlite")), query.frontier(page, 1_000)):
        steps = plan(connection, spelt(asked.sql))
        assert not scans(steps), steps
        walks = [step for step in steps if step.startswith("SEARCH e USING")]
        indexes = {"executions_by_lag", "executions_by_status", "sqlite_autoindex_executions_1"}
        assert all(any(index in step for index in indexes) for step in walks), walks
        assert any("executions_by_lag" in step for step in walks)
