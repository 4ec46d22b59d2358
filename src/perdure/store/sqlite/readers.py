"""A small pool of reading connections, one for each of its threads."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw

from perdure.errors import StoreUnavailable
from perdure.store.sqlite.connection import READER_CACHE_KIB, open_reader
from perdure.store.sqlite.failures import translated
from perdure.store.sqlite.runner import Runner
from perdure.store.statements import Library, Procedure, T

THREADS = 3


class Readers:
    """Runs reading procedures away from the event loop; in WAL mode they never wait for the writer."""

    def __init__(
        self, path: Path, library: Library, *, threads: int = THREADS, cache_kib: int = READER_CACHE_KIB
    ) -> None:
        """`cache_kib`: what each of their connections keeps of the file in memory, at most."""
        self._path = path
        self._cache_kib = cache_kib
        self._library = library
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="store-reader")
        self._own = threading.local()
        self._opened: list[apsw.Connection] = []

    async def read(self, procedure: Procedure[T], *, consistent: bool = False) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, procedure, consistent)
        except RuntimeError as error:
            raise StoreUnavailable(f"{self._path} is closed", path=str(self._path)) from error

    def _run(self, procedure: Procedure[T], consistent: bool) -> T:
        try:
            runner = self._runner()
            if not consistent:
                return runner.run(procedure)
            runner.connection.execute("BEGIN")
            try:
                return runner.run(procedure)
            finally:
                runner.connection.execute("COMMIT")
        except apsw.Error as error:
            raise translated(error, self._path) or error from error

    def _runner(self) -> Runner:
        runner: Runner | None = getattr(self._own, "runner", None)
        if runner is None:
            connection = open_reader(self._path, cache_kib=self._cache_kib)
            self._opened.append(connection)
            runner = self._own.runner = Runner(connection, self._library, self._path)
        return runner

    def close(self) -> None:
        self._threads.shutdown()
        for connection in self._opened:
            connection.close()
