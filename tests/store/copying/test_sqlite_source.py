"""A file that is copied page by page while its owner writes is whole, however its pages left the caches; who stops it waits
for nothing."""

import asyncio
from pathlib import Path

import pytest

from perdure.artifacts.local import LocalStorage
from perdure.store.copying.sqlite_source import SqliteSource
from perdure.store.sqlite.connection import READER_CACHE_KIB, open_backup, open_writer
from perdure.store.sqlite.migrate import migrate, migrations

ROWS = 2_000
ROW_BYTES = 9_000
"""More in all than a copy has in its cache: pages leave it before the first one, which it holds to the end."""

_FILL = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO filling SELECT i, randomblob(?) FROM n"
_CHANGE = "UPDATE filling SET bytes = randomblob(?) WHERE i % 3 = 0"


async def test_pages_that_stand_in_the_log_get_their_checksums_in_the_copy(tmp_path: Path) -> None:
    assert ROWS * ROW_BYTES > 2 * READER_CACHE_KIB * 1024
    store = tmp_path / "perdure.db"
    writer = open_writer(store)
    migrate(writer, store, migrations())
    writer.execute("CREATE TABLE filling (i INTEGER PRIMARY KEY, bytes BLOB)")
    writer.execute(_FILL, (ROWS, ROW_BYTES))
    writer.pragma("wal_checkpoint(truncate)")
    writer.pragma("wal_autocheckpoint", 0)
    writer.execute(_CHANGE, (ROW_BYTES,))
    source = await SqliteSource.open(store, LocalStorage(tmp_path / "artifacts"), at_rest=False)
    try:
        await source.pages(tmp_path / "copy.db", lambda done, total: None)
    finally:
        await source.close()
        writer.close()
    copy = open_backup(tmp_path / "copy.db")
    assert copy.execute("PRAGMA quick_check(3)").get == "ok"
    copy.close()


_ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


async def test_a_long_question_is_over_when_who_asked_is_stopped(tmp_path: Path) -> None:
    source = await opened(tmp_path, rows=1)
    asking = asyncio.create_task(source.all(_ENDLESS))
    # It may run already, or not yet.
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await source.all("SELECT 7") == [(7,)]
    await source.close()


async def test_a_copy_that_is_stopped_between_pages_lets_go_of_both_files(tmp_path: Path) -> None:
    source = await opened(tmp_path, rows=ROWS)

    def stop(done: int, total: int) -> None:
        copying.cancel()

    copying = asyncio.create_task(source.pages(tmp_path / "copy.db", stop))
    with pytest.raises(asyncio.CancelledError):
        await copying
    await source.close()


async def opened(folder: Path, *, rows: int) -> SqliteSource:
    store = folder / "perdure.db"
    writer = open_writer(store)
    migrate(writer, store, migrations())
    writer.execute("CREATE TABLE filling (i INTEGER PRIMARY KEY, bytes BLOB)")
    writer.execute(_FILL, (rows, ROW_BYTES))
    writer.close()
    return await SqliteSource.open(store, LocalStorage(folder / "artifacts"), at_rest=False)
