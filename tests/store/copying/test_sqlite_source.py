"""A file that is copied page by page while its owner writes is whole, however its pages left the caches."""

from pathlib import Path

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
