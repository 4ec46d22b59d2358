"""The SQLite store put together."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Any

import apsw

from perdure.errors import StoreUnavailable
from perdure.store.interface import Batch, BatchOutcome
from perdure.store.reads.aggregates import Aggregates
from perdure.store.reads.heads import StoredHeads
from perdure.store.sqlite.connection import HEADS_CACHE_KIB, open_writer, refuse_foreign_file, refuse_unsafe_library
from perdure.store.sqlite.failures import translated
from perdure.store.sqlite.lock import OwnerLock
from perdure.store.sqlite.migrate import migrate, migrations
from perdure.store.sqlite.moved import refuse_moved
from perdure.store.sqlite.readers import Readers
from perdure.store.sqlite.text_index import IndexFile
from perdure.store.sqlite.writer import Writer
from perdure.store.sqlite.writer_thread import WriterThread
from perdure.store.statements import library
from perdure.store.text_index import TextIndex


class SqliteStore(Aggregates):
    """`perdure.store.interface.Store` on one file, owned by this process until `close`."""

    sharing = None

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            StoreLocked: another process owns it.
            StoreMoved: it was copied to another place, and retired here.
            StoreDamaged: it is no database, or fails its check.
            StoreIncompatible: another program's, a newer perdure's, or an unsafe SQLite.
            StoreUnavailable, StoreBusy, StoreFull: it cannot be opened now.
        """
        refuse_unsafe_library()
        self._path = path
        make_folder(path)
        refuse_moved(path)
        self._lock = OwnerLock(path)
        self._readers: Readers | None = None
        try:
            refuse_foreign_file(path)
            keep_private(path)
            known = library("sqlite")
            connection = open_writer(path)
            try:
                migrate(connection, path, migrations())
                self._writer = WriterThread(Writer(connection, known, path))
            except BaseException:
                connection.close()
                raise
        except apsw.Error as error:
            self._lock.release()
            raise translated(error, path) or error from error
        except BaseException:
            self._lock.release()
            raise
        self._readers = Readers(path, known)
        super().__init__(self._readers.read, known)
        self._head_readers = Readers(path, known, threads=2, cache_kib=HEADS_CACHE_KIB)
        self.heads = StoredHeads(self._head_readers.read)
        self._index = IndexFile(path, known)
        self.texts = TextIndex(self._index.read, self._index.write, holder="owner")

    def set_url(self, url: str | None) -> None:
        """Where this process answers, for others that want the same store."""
        self._lock.set_url(url)

    async def write(self, batch: Batch) -> BatchOutcome:
        return await self._writer.write(batch)

    async def info(self) -> dict[str, Any]:
        """`{kind, version, schema_version, size_bytes, wal_bytes, search_bytes, path}`."""
        wal = self._path.with_name(self._path.name + "-wal")
        return {
            "kind": "sqlite",
            "version": apsw.sqlite_lib_version(),
            "schema_version": migrations()[-1].number,
            "size_bytes": self._path.stat().st_size,
            "wal_bytes": wal.stat().st_size if wal.exists() else 0,
            "search_bytes": self._index.size_bytes(),
            "path": str(self._path),
        }

    async def close(self) -> None:
        """The recorder must be closed before."""
        if self._readers is not None:
            self._readers.close()
            self._head_readers.close()
            self._index.close()
        await self._writer.close()
        self._lock.release()


def make_folder(path: Path) -> None:
    try:
        # What executions hold is nobody else's business on this machine.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"{path.parent} cannot be made: {error.strerror}", path=str(path)) from error


def keep_private(path: Path) -> None:
    """Make the database for its owner alone; take from others what an older one gave them.

    The group's part of an older one is the administrator's choice, and so is the folder, which may hold more than
    ours. SQLite makes the files beside the database with the database's mode.
    """
    # Whatever hinders this hinders SQLite too, or not at all; it says what.
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        file = path.with_name(name)
        with contextlib.suppress(OSError):
            seen = file.stat()
            if seen.st_uid == os.geteuid() and seen.st_mode & stat.S_IRWXO:
                file.chmod(stat.S_IMODE(seen.st_mode) & ~stat.S_IRWXO)
