"""The ends of a copy in PostgreSQL: a source that stands still, a target that names what it cannot hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from perdure.errors import RowRefused, StoreUnavailable
from perdure.store.copying.interface import Row
from perdure.store.copying.postgres_source import PostgresSource
from perdure.store.copying.postgres_target import PostgresTarget
from perdure.store.copying.tables import TABLES
from perdure.store.postgres.migrate import bring_up, migrations
from perdure.store.postgres.url import Address, parse_url
from tests.store.databases import fresh_url
from tests.store.portal import call

TAGS = next(table for table in TABLES if table.name == "tags")
COLUMNS = ("execution_id", "key", "value", "workspace")
MARK = "SET lock_timeout = 20; INSERT INTO writers (session, commits, n, at) VALUES (1, 0, 0, 1)"


@pytest.fixture
def address() -> Address:
    found = parse_url(fresh_url())
    call(bring_up, found, migrations())
    return found


async def mark(address: Address) -> None:
    connection = await asyncpg.connect(address.dsn, server_settings={"search_path": address.schema})
    try:
        await connection.execute(MARK)
    finally:
        await connection.close()


def test_nobody_commits_to_a_store_that_is_being_copied(address: Address) -> None:
    source = call(PostgresSource.open, address)
    with pytest.raises(asyncpg.LockNotAvailableError):
        call(mark, address)
    call(source.close)
    call(mark, address)


async def one_block(row: Row) -> AsyncIterator[list[Row]]:
    yield [row]


async def put(address: Address, row: Row) -> Any:
    target = await PostgresTarget.open(address, chunk_bytes=1024)
    try:
        await target.prepare(oldest=None)
        await target.put(TAGS, COLUMNS, one_block(row))
    finally:
        await target.close()


def test_a_text_that_postgresql_cannot_keep_is_named(address: Address) -> None:
    row = (bytes(16), "k", "a\0b", "default")
    with pytest.raises(
        RowRefused, match=r"value in the row of tags with workspace default, key k, value .* holds U\+0000"
    ):
        call(put, address, row)


def test_what_the_database_says_of_a_row_is_told_with_its_table(address: Address) -> None:
    with pytest.raises(RowRefused, match="tags could not be copied"):
        call(put, address, (bytes(16), "k", None, "default"))


def test_a_lost_connection_is_told_without_credentials(address: Address) -> None:
    async def lose() -> None:
        target = await PostgresTarget.open(address, chunk_bytes=1024)
        try:
            await target.prepare(oldest=None)
            killer = await asyncpg.connect(address.dsn)
            await killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'perdure copy'"
            )
            await killer.close()
            await target.put(TAGS, COLUMNS, one_block((bytes(16), "k", "v", "default")))
        finally:
            await target.close()

    with pytest.raises(StoreUnavailable, match="cannot be used now"):
        call(lose)
