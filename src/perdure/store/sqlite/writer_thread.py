"""The thread on which a SQLite store writes, so that an fsync never stops the event loop."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from queue import SimpleQueue

from perdure.store.interface import Batch, BatchOutcome
from perdure.store.sqlite.writer import Writer

Answer = asyncio.Future[BatchOutcome]


class WriterThread:
    """Called from one event loop."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._work: SimpleQueue[tuple[Batch, Answer] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    async def write(self, batch: Batch) -> BatchOutcome:
        """As `Writer.write`."""
        answer: Answer = asyncio.get_running_loop().create_future()
        self._work.put((batch, answer))
        return await answer

    async def close(self) -> None:
        """After the batch that is being written."""
        self._work.put(None)
        await asyncio.to_thread(self._thread.join)
        self._writer.close()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            batch, answer = work
            outcome: BatchOutcome | Exception
            try:
                outcome = self._writer.write(batch)
            except Exception as error:
                outcome = error
            # A loop that is closed waits for nothing any more.
            with suppress(RuntimeError):
                answer.get_loop().call_soon_threadsafe(_give, answer, outcome)


def _give(answer: Answer, outcome: BatchOutcome | Exception) -> None:
    if answer.done():
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
