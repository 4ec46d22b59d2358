"""A copy takes every table along, in an order that both databases share."""

from __future__ import annotations

from typing import Any

import apsw
import asyncpg
import pytest

from perdure.store.copying.tables import NOT_COPIED, TABLES, TRACES, Table
from perdure.store.postgres.migrate import bring_up, migrations
from perdure.store.postgres.url import parse_url
from perdure.store.sqlite import migrate as sqlite
from perdure.store.sqlite.connection import open_writer
from tests.store.databases import fresh_url
from tests.store.portal import call

KEYS = """
SELECT c.relname, array_agg(a.attname::text ORDER BY k.place)
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indrelid
CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (number, place)
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.number
WHERE i.indisunique AND c.relnamespace = current_schema()::regnamespace
GROUP BY c.relname, i.indexrelid
"""
NUMBERED = """
SELECT c.relname, a.attname
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
AND pg_get_serial_sequence(c.relname, a.attname) IS NOT NULL
"""
NAMES = """
SELECT c.relname FROM pg_class AS c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
"""
WORDS = """
SELECT c.relname || '.' || a.attname
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_collation AS o ON o.oid = a.attcollation
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY ($1)
AND (t.typname NOT IN ('bigint', 'int8', 'text', 'uuid', 'bytea') OR (t.typname = 'text' AND o.collname <> 'C'))
"""


def ask(url: str, sql: str, *params: Any) -> list[Any]:
    async def run() -> list[Any]:
        address = parse_url(url)
        connection = await asyncpg.connect(address.dsn, server_settings={"search_path": address.schema})
        try:
            return [tuple(row) for row in await connection.fetch(sql, *params)]
        finally:
            await connection.close()

    return call(run)


@pytest.fixture(scope="module")
def url() -> str:
    found = fresh_url()
    call(bring_up, parse_url(found), migrations())
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> apsw.Connection:
    path = tmp_path_factory.mktemp("schema") / "perdure.db"
    connection = open_writer(path)
    sqlite.migrate(connection, path, sqlite.migrations())
    return connection


def test_every_table_is_copied_or_has_its_reason(url: str, file: apsw.Connection) -> None:
    known = {table.name for table in TABLES} | NOT_COPIED.keys()
    assert {name for (name,) in ask(url, NAMES)} == known
    in_file = {name for (name,) in file.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert in_file - known == {"sqlite_sequence"}
    assert {table.name for table in TABLES} <= in_file
    assert {table.name for table in TABLES} > TRACES


def test_both_have_the_same_columns_of_types_that_mean_the_same(url: str, file: apsw.Connection) -> None:
    assert not ask(url, WORDS, [table.name for table in TABLES])
    for table in TABLES:
        columns = (
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped"
        )
        there = {name for (name,) in ask(url, columns, table.name)}
        assert {name for (name,) in file.execute("SELECT name FROM pragma_table_info(?)", (table.name,))} == there


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_order_of_rows_is_that_of_a_key(url: str, file: apsw.Connection, table: Table) -> None:
    assert (table.name, list(table.key)) in ask(url, KEYS)
    keys = [
        tuple(column for (column,) in file.execute("SELECT name FROM pragma_index_info(?) ORDER BY seqno", (name,)))
        for (name,) in file.execute('SELECT name FROM pragma_index_list(?) WHERE "unique"', (table.name,))
    ]
    primary = [
        name for (name,) in file.execute("SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk", (table.name,))
    ]
    assert table.key in [*keys, tuple(primary)]


def test_what_counts_goes_on_counting(url: str, file: apsw.Connection) -> None:
    counters = {(table.name, table.counter) for table in TABLES if table.counter}
    assert {*ask(url, NUMBERED)} == counters | {("writers", "number")}
    for name, sql in file.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'"):
        assert ("AUTOINCREMENT" in sql) == (name in {table for table, _ in counters}), name
