"""The one writing connection: a batch is one durable transaction."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import apsw

from perdure.errors import StoreError
from perdure.store.faults import reach
from perdure.store.interface import Batch, BatchOutcome
from perdure.store.procedures.batch import apply_batch, is_hindrance
from perdure.store.sqlite.failures import translated
from perdure.store.sqlite.runner import Runner
from perdure.store.statements import All, Library, Procedure

WRITER = 1
"""The feed's writer: one process owns the file, so all of its commits are one line."""


class Writer:
    """Used by one thread at a time."""

    def __init__(self, connection: apsw.Connection, library: Library, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._runner = Runner(connection, library, path)
        self._feed_n = self._runner.run(_feed_end())

    def write(self, batch: Batch) -> BatchOutcome:
        """Raises `StoreFull`, `StoreBusy`, `StoreUnavailable`, `StoreDamaged`; then nothing was written."""
        try:
            return self._transaction(batch, careful=False)
        except Exception as error:
            if is_hindrance(error):
                raise
        return self._transaction(batch, careful=True)

    def _transaction(self, batch: Batch, *, careful: bool) -> BatchOutcome:
        connection = self._connection
        self._undo()
        try:
            connection.execute("BEGIN IMMEDIATE")
            outcome = self._runner.run(apply_batch(batch, (WRITER, self._feed_n + 1), careful=careful))
            reach("before_commit")
            connection.execute("COMMIT")
        except BaseException as error:
            self._undo()
            known = translated(error, self._path) if isinstance(error, apsw.Error | StoreError) else None
            if known is None or known is error:
                raise
            raise known from error
        reach("after_commit")
        if outcome.feed is not None:
            self._feed_n = outcome.feed[1]
        return outcome

    def _undo(self) -> None:
        """Some failures have rolled back by themselves already; where this one fails, the next batch tries again."""
        if self._connection.in_transaction:
            with suppress(apsw.Error):
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()


def _feed_end() -> Procedure[int]:
    rows = yield All("feed_end")
    return max((n for writer, n in rows if writer == WRITER), default=0)
