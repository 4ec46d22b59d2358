"""The file beside a SQLite store in which its text index is kept. It may be deleted while nobody has it open."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from importlib.resources import files
from pathlib import Path

import apsw
import structlog

from perdure.errors import StoreDamaged, StoreUnavailable
from perdure.store.sqlite.connection import INDEX_CACHE_KIB, open_index
from perdure.store.sqlite.failures import translated
from perdure.store.sqlite.readers import Readers
from perdure.store.sqlite.runner import Runner
from perdure.store.statements import Library, Procedure, T
from perdure.store.text_index import FORMAT

SUFFIX = ".search"
_log = structlog.get_logger(__name__)


class IndexFile:
    """`<database>.search`; what is damaged or of another version is thrown away and made anew."""

    def __init__(self, database: Path, library: Library) -> None:
        """Nothing is opened before somebody reads or writes."""
        self.path = database.with_name(database.name + SUFFIX)
        self._library = library
        self._lock = threading.RLock()
        self._connection: apsw.Connection | None = None
        self._runner: Runner | None = None
        self._readers: Readers | None = self._new_readers()
        """None while the index is being emptied."""

    def _new_readers(self) -> Readers:
        return Readers(self.path, self._library, threads=2, cache_kib=INDEX_CACHE_KIB)

    async def read(self, procedure: Procedure[T], *, consistent: bool = False) -> T:
        """As `perdure.store.reads.reader.Reader`."""
        if self._connection is None:
            await asyncio.to_thread(self._open)
        readers = self._readers
        if readers is None:
            raise self._begins_anew()
        try:
            return await readers.read(procedure, consistent=consistent)
        except StoreDamaged as error:
            raise await asyncio.to_thread(self._discard, readers, error) from error
        except StoreUnavailable as error:
            if readers is self._readers:
                raise
            raise self._begins_anew() from error

    async def write(self, procedure: Procedure[T]) -> T:
        """As `perdure.store.text_index.IndexWriter`."""
        readers = self._readers
        try:
            return await asyncio.to_thread(self._transaction, procedure)
        except StoreDamaged as error:
            raise await asyncio.to_thread(self._discard, readers, error) from error

    def _discard(self, readers: Readers | None, error: StoreDamaged) -> StoreUnavailable:
        """Empty what the damage was found in, once: the next one to ask finds an index without anything."""
        with self._lock:
            if readers is not None and readers is self._readers:
                _log.warning("the index of texts is damaged, and is made anew", error=error.message)
                self._readers = None
                readers.close()
                try:
                    if self._connection is not None:
                        self._emptied(self._connection)
                finally:
                    self._readers = self._new_readers()
        return self._begins_anew()

    def _begins_anew(self) -> StoreUnavailable:
        return StoreUnavailable("the index of texts was damaged and begins anew; search again", path=str(self.path))

    def _emptied(self, connection: apsw.Connection) -> None:
        """In place: of a file that is deleted, a connection that is closed later would delete the next one's log, by name."""
        try:
            connection.config(apsw.SQLITE_DBCONFIG_RESET_DATABASE, 1)
            connection.execute("VACUUM")
            connection.config(apsw.SQLITE_DBCONFIG_RESET_DATABASE, 0)
            _make_tables(connection)
        except apsw.Error as error:
            raise translated(error, self.path) or error from error

    def _open(self) -> Runner:
        with self._lock:
            if self._runner is None:
                try:
                    self._connection = self._opened()
                except apsw.Error as error:
                    raise translated(error, self.path) or error from error
                self._runner = Runner(self._connection, self._library, self.path)
            return self._runner

    def _opened(self) -> apsw.Connection:
        with contextlib.suppress(apsw.Error):
            # For its owner alone, as the database: it holds what executions hold.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = open_index(self.path)
            if connection.pragma("user_version") == int(FORMAT):
                return connection
            connection.close()
        self._unlink()
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = open_index(self.path)
        _make_tables(connection)
        return connection

    def _unlink(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def _transaction(self, procedure: Procedure[T]) -> T:
        with self._lock:
            runner = self._open()
            connection = runner.connection
            try:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    answer = runner.run(procedure)
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
                return answer
            except apsw.Error as error:
                raise translated(error, self.path) or error from error

    def size_bytes(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def close(self) -> None:
        with self._lock:
            if self._readers is not None:
                self._readers.close()
            if self._connection is not None:
                self._connection.close()


def _make_tables(connection: apsw.Connection) -> None:
    schema = files("perdure.store.search").joinpath("schema.sql").read_text(encoding="utf-8")
    with connection:
        connection.execute(schema)
        connection.pragma("user_version", int(FORMAT))
