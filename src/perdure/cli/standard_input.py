"""Questions to whoever sits at the terminal, which a running event loop can call off.

`input` in the loop's own thread would not: asyncio takes the first Ctrl-C for its task, which cannot be told while the
thread waits for a line.
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class CalledOff(Exception):
    """Nobody waits for the answer any more."""


class Lines:
    """Lines of a terminal, as long as `off` does not become readable: Python's own reading cannot be called off."""

    def __init__(self, terminal: int, off: int) -> None:
        self._terminal = terminal
        self._off = off

    def readline(self, size: int = -1) -> str:
        """The next line, empty at the end of the input (Ctrl-D). Raises CalledOff."""
        ready, _, _ = select.select([self._terminal, self._off], [], [])
        if self._off in ready:
            raise CalledOff
        # A terminal gives a whole line at a time, and never more than one.
        return os.read(self._terminal, 65_536).decode(errors="replace")


async def at_terminal(question: Callable[[], T]) -> T:
    """The answer to a question that reads standard input; the loop goes on, and a cancellation calls it off."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[T] = loop.create_future()
    off, call_off = os.pipe()
    own = sys.stdin

    def ask() -> None:
        try:
            loop.call_soon_threadsafe(_settle, answered, question(), None)
        except Exception as error:
            loop.call_soon_threadsafe(_settle, answered, None, error)

    thread = threading.Thread(target=ask, name="perdure-asking")
    sys.stdin = Lines(own.fileno(), off)
    thread.start()
    try:
        return await answered
    finally:
        os.close(call_off)
        thread.join()
        os.close(off)
        sys.stdin = own


def _settle(future: asyncio.Future[Any], value: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
