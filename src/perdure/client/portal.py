"""The bridge from ordinary code to the async client: one event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
CLOSING_S = 1.0
"""What closing connections may take when a portal closes."""


class Portal:
    """Runs what is awaitable on its loop and hands the outcome back to the thread that asked."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._open: set[AsyncIterator[Any]] = set()
        # A program that forgets to close its client must still be able to end.
        self._thread = threading.Thread(target=self._loop.run_forever, name="perdure-client", daemon=True)
        self._thread.start()

    def call(self, work: Awaitable[T]) -> T:
        """The outcome of `work`. An interrupt of the calling thread cancels the work. RuntimeError once it is closed."""
        if self._loop.is_closed():
            if isinstance(work, Coroutine):
                work.close()
            raise RuntimeError("the client is closed")
        future = asyncio.run_coroutine_threadsafe(_awaited(work), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        """The items of `source`, each fetched when it is asked for; it is closed when the caller stops."""
        end: object = object()
        self._open.add(source)
        try:
            while (item := self.call(anext(source, end))) is not end:
                yield item  # type: ignore[misc]
        finally:
            self._end(source)

    def close(self) -> None:
        """End what is still iterated, then stop the loop and its thread."""
        if self._loop.is_closed():
            return
        for source in [*self._open]:
            # One that another thread reads at this moment cannot be closed from here.
            with contextlib.suppress(RuntimeError):
                self._end(source)
        self.call(_wound_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _end(self, source: AsyncIterator[Any]) -> None:
        """Close what is iterated, once: by whoever stops first, its reader or the portal."""
        if source in self._open:
            self._open.discard(source)
            close = getattr(source, "aclose", None)
            if close is not None:
                self.call(close())


async def _wound_up() -> None:
    """Wait for what closing set in motion, generators that end one inside the other; then cancel what is left."""
    me = asyncio.current_task()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSING_S):
            await asyncio.sleep(0)
            while others := asyncio.all_tasks() - {me}:
                await asyncio.wait(others)
                await asyncio.sleep(0)
    left = asyncio.all_tasks() - {me}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def _awaited(work: Awaitable[T]) -> T:
    return await work
