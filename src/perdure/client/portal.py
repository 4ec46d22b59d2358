"""The bridge from ordinary code to the async client: one event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Portal:
    """Runs what is awaitable on its loop and hands the outcome back to the thread that asked."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # A program that forgets to close its client must still be able to end.
        self._thread = threading.Thread(target=self._loop.run_forever, name="perdure-client", daemon=True)
        self._thread.start()

    def call(self, work: Awaitable[T]) -> T:
        """The outcome of `work`. An interrupt of the calling thread cancels the work."""
        future = asyncio.run_coroutine_threadsafe(_awaited(work), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        """The items of `source`, each fetched when it is asked for; it is closed when the caller stops."""
        end: object = object()
        try:
            while (item := self.call(anext(source, end))) is not end:
                yield item  # type: ignore[misc]
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                self.call(close())

    def close(self) -> None:
        """Stop the loop and its thread."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _awaited(work: Awaitable[T]) -> T:
    return await work
