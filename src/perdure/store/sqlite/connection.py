"""Opening a database file: what is refused, the checks, the settings.

Every page carries a checksum (SQLite's cksumvfs, which comes with apsw): a flipped bit is found when
its page is read, wherever it is. Whoever writes to the file without it leaves pages that look damaged.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import apsw
import apsw.sqlite_extra

from perdure.errors import StoreDamaged, StoreIncompatible, StoreUnavailable
from perdure.store.sqlite.failures import damaged, translated

APPLICATION_ID = 0x70647265
"""`pdre` in the file's header, so that `file` and we know our own."""
BUSY_WAIT_MS = 5_000
"""How long a write waits for another process's lock."""
WRITER_CACHE_KIB = 32 * 1024
READER_CACHE_KIB = 8 * 1024
INDEX_CACHE_KIB = 1024
"""Of each connection to the text index: a segment is written once, and a search reads a few small rows of each."""
HEADS_CACHE_KIB = 1024
"""Of each connection that reads texts for the index: it goes through the history, and comes back to nothing."""
CHECKPOINT_PAGES = 4_000
CHECK_AT_OPEN_LIMIT = 32 * 1024 * 1024
"""Bytes up to which a file is checked through at every start; larger ones are left to `doctor`."""
STATEMENTS_KEPT = 500

CHECKSUM_BYTES = 8
"""Kept free at the end of every page for its checksum (https://sqlite.org/cksumvfs.html)."""

_MAGIC = b"SQLite format 3\x00"
_UNSAFE_FROM, _UNSAFE_TO = (3, 7, 0), (3, 51, 2)


def sqlite_version() -> str:
    """Of the SQLite that apsw carries."""
    return str(apsw.sqlite_lib_version())


def refuse_unsafe_library(version: str = apsw.sqlite_lib_version()) -> None:
    """Raises `StoreIncompatible` for the versions whose WAL reset can lose a commit (fixed in 3.51.3)."""
    numbers = tuple(int(part) for part in version.split(".")[:3])
    if _UNSAFE_FROM <= numbers <= _UNSAFE_TO:
        raise StoreIncompatible(
            f"SQLite {version} can lose commits (the WAL-reset bug of 3.7.0 to 3.51.2); install an apsw with 3.51.3 "
            "or newer",
            version=version,
        )


def refuse_foreign_file(path: Path) -> None:
    """Raises `StoreDamaged` for a file that is no database, `StoreUnavailable` for one that cannot be read."""
    try:
        with path.open("rb") as file:
            header = file.read(len(_MAGIC))
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
    if header and header != _MAGIC:
        raise damaged(path, "its header is not that of a SQLite database")


def open_writer(path: Path) -> apsw.Connection:
    """Raises `StoreDamaged`, `StoreIncompatible`, `StoreUnavailable`, `StoreBusy`."""
    try:
        connection = _open(path, cache_kib=WRITER_CACHE_KIB)
        found = connection.pragma("application_id")
        if found not in (0, APPLICATION_ID) or (found == 0 and connection.pragma("schema_version")):
            raise StoreIncompatible(f"{path} is a database of another program; name another file", path=str(path))
        check_small(connection, path)
        _reserve_checksums(connection)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
    except apsw.Error as error:
        raise translated(error, path) or error from error
    return connection


def open_reader(path: Path, *, cache_kib: int = READER_CACHE_KIB) -> apsw.Connection:
    connection = _open(path, cache_kib=cache_kib)
    connection.pragma("query_only", 1)
    return connection


def open_index(path: Path) -> apsw.Connection:
    """The text index, which can be made anew: no fsync waits for it but those of checkpoints."""
    connection = _open(path, cache_kib=INDEX_CACHE_KIB)
    _reserve_checksums(connection)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "normal")
    return connection


def open_backup(path: Path) -> apsw.Connection:
    """A copy that stands for itself: one file, without a log beside it."""
    connection = _open(path, cache_kib=READER_CACHE_KIB)
    connection.pragma("journal_mode", "delete")
    # Nobody needs it before it is whole, and it is flushed then.
    connection.pragma("synchronous", "off")
    if _reserve_checksums(connection):
        # The file layer learns from the first page on the disk that there are checksums. Pages that are copied out of a log have
        # none yet, and those that leave the cache before the first page does would stay without.
        connection.pragma("application_id", APPLICATION_ID)
    return connection


@cache
def checksumming_vfs() -> str | None:
    """The name of the file layer that checks every page; None where this apsw comes without it."""
    loader = apsw.Connection(":memory:")
    try:
        apsw.sqlite_extra.load(loader, "cksumvfs")
    except (apsw.Error, apsw.sqlite_extra.NotAvailable, LookupError):
        return None
    finally:
        loader.close()
    return "cksmvfs"


def _reserve_checksums(connection: apsw.Connection) -> bool:
    """Keep room for them in a file that is new; whether it is."""
    is_new = checksumming_vfs() is not None and not connection.pragma("schema_version")
    if is_new:
        connection.reserve_bytes("main", CHECKSUM_BYTES)
    return is_new


def _open(path: Path, *, cache_kib: int) -> apsw.Connection:
    connection = apsw.Connection(str(path), vfs=checksumming_vfs(), statementcachesize=STATEMENTS_KEPT)
    connection.set_busy_timeout(BUSY_WAIT_MS)
    connection.pragma("cache_size", -cache_kib)
    connection.pragma("foreign_keys", 0)
    connection.pragma("temp_store", 2)
    return connection


def check_small(connection: apsw.Connection, path: Path) -> None:
    """Look through a small file at every start: it costs less than a wrong answer later."""
    size = path.stat().st_size if path.exists() else 0
    if 0 < size <= CHECK_AT_OPEN_LIMIT:
        problems = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
        if problems != ["ok"]:
            raise damaged(path, "; ".join(problems))


def integrity_problems(path: Path) -> list[str]:
    """The full check, for `perdure doctor`: every page, every index. Empty when all is well."""
    try:
        refuse_foreign_file(path)
        connection = open_reader(path)
        try:
            problems = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(100)")]
        finally:
            connection.close()
    except StoreDamaged as error:
        return [error.message]
    except apsw.Error as error:
        return [str(translated(error, path) or error)]
    return [] if problems == ["ok"] else problems
