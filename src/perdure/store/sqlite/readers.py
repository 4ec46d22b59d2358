"""A small pool of reading connections, one for each of its threads."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw

from perdure.errors import StoreUnavailable
from perdure.store.sqlite.connection import READER_CACHE_KIB, open_reader
from perdure.store.sqlite.failures import translated
from perdure.store.sqlite.runner import Runner
from perdure.store.statements import Library, Procedure, T

THREADS = 3
PATIENCE_S = 10.0
"""For a read from its first statement on, as for a statement on PostgreSQL; few hands are there for all."""
_STEPS = 1_000_000
"""Of SQLite's virtual machine, a few hundredths of a second, between two looks at the clock."""


class _Turn:
    """One read: until when it may take, and whether anybody still waits for it."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._ends_s = 0.0
        self._is_wanted = True

    def begin(self) -> None:
        self._ends_s = time.monotonic() + self._patience_s

    def give_up(self) -> None:
        self._is_wanted = False

    def is_over(self) -> bool:
        return not self._is_wanted or time.monotonic() > self._ends_s


class Readers:
    """Runs reading procedures away from the event loop; in WAL mode they never wait for the writer."""

    def __init__(
        self,
        path: Path,
        library: Library,
        *,
        threads: int = THREADS,
        cache_kib: int = READER_CACHE_KIB,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`cache_kib`: what each of their connections keeps of the file in memory, at most."""
        self._path = path
        self._patience_s = patience_s
        self._cache_kib = cache_kib
        self._library = library
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="store-reader")
        self._own = threading.local()
        self._opened: list[apsw.Connection] = []

    async def read(self, procedure: Procedure[T], *, consistent: bool = False) -> T:
        """Raises StoreBusy for what takes too long."""
        turn = _Turn(self._patience_s)
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, self._run, procedure, turn, consistent
            )
        except RuntimeError as error:
            raise StoreUnavailable(f"{self._path} is closed", path=str(self._path)) from error
        finally:
            turn.give_up()

    def _run(self, procedure: Procedure[T], turn: _Turn, consistent: bool) -> T:
        turn.begin()
        self._own.turn = turn
        try:
            runner = self._runner()
            if not consistent:
                return runner.run(procedure)
            connection = runner.connection
            connection.execute("BEGIN")
            try:
                return runner.run(procedure)
            finally:
                # What fails at a damaged page has ended the transaction too.
                if connection.in_transaction:
                    connection.execute("COMMIT")
        except apsw.Error as error:
            raise translated(error, self._path) or error from error

    def _runner(self) -> Runner:
        runner: Runner | None = getattr(self._own, "runner", None)
        if runner is None:
            connection = open_reader(self._path, cache_kib=self._cache_kib)
            connection.set_progress_handler(self._is_over, _STEPS)
            self._opened.append(connection)
            runner = self._own.runner = Runner(connection, self._library, self._path)
        return runner

    def _is_over(self) -> bool:
        """Asked by SQLite, on the thread of the read."""
        return bool(self._own.turn.is_over())

    def close(self) -> None:
        self._threads.shutdown()
        for connection in self._opened:
            connection.close()
