"""The file beside a SQLite store in which its text index is kept. It may be deleted while nobody has it open."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from importlib.resources import files
from pathlib import Path

import apsw

from perdure.store.sqlite.connection import open_index
from perdure.store.sqlite.failures import translated
from perdure.store.sqlite.readers import Readers
from perdure.store.sqlite.runner import Runner
from perdure.store.statements import Library, Procedure, T
from perdure.store.text_index import FORMAT

SUFFIX = ".search"


class IndexFile:
    """`<database>.search`; what is damaged or of another version is thrown away and made anew."""

    def __init__(self, database: Path, library: Library) -> None:
        """Nothing is opened before somebody reads or writes."""
        self.path = database.with_name(database.name + SUFFIX)
        self._library = library
        self._lock = threading.Lock()
        self._connection: apsw.Connection | None = None
        self._runner: Runner | None = None
        self._readers = Readers(self.path, library, threads=2)

    async def read(self, procedure: Procedure[T], *, consistent: bool = False) -> T:
        """As `perdure.store.reads.reader.Reader`."""
        if self._connection is None:
            await asyncio.to_thread(self._open)
        return await self._readers.read(procedure, consistent=consistent)

    async def write(self, procedure: Procedure[T]) -> T:
        """As `perdure.store.text_index.IndexWriter`."""
        return await asyncio.to_thread(self._transaction, procedure)

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
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = open_index(self.path)
        schema = files("perdure.store.search").joinpath("schema.sql").read_text(encoding="utf-8")
        with connection:
            connection.execute(schema)
            connection.pragma("user_version", int(FORMAT))
        return connection

    def _transaction(self, procedure: Procedure[T]) -> T:
        runner = self._open()
        connection = runner.connection
        with self._lock:
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
        self._readers.close()
        with self._lock:
            if self._connection is not None:
                self._connection.close()
