"""The end of this process, which nothing that runs in it can hold up."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator

_END_S = 5.0


@contextlib.contextmanager
def ending_surely() -> Iterator[Callable[[int], None]]:
    """Leave the context within seconds of the call of what it gives, or end the process with that exit code.

    asyncio cancels what is left and waits for it: a task or a thread of a node that refuses would wait for ever.
    """
    timers: list[threading.Timer] = []

    def ending(code: int) -> None:
        timers.append(end_soon(code))

    try:
        yield ending
    finally:
        for timer in timers:
            timer.cancel()


def end_soon(code: int) -> threading.Timer:
    """Have the process end with that exit code within seconds, whatever still runs in it; cancel it to take it back."""
    timer = threading.Timer(_END_S, _end, (code,))
    timer.daemon = True
    timer.start()
    return timer


def _end(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
