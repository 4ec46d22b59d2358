"""Tells when something blocks the event loop, and where: then nothing else can go on, no timer and no cancel."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable

_BEAT_S = 0.25


class Watchdog:
    """A thread beside the loop. `blocked` is called in it, once for each stretch, with the place that blocks."""

    def __init__(self, *, blocked: Callable[[str], None], limit_s: float = 1.0) -> None:
        self.stretches = 0
        """How often the loop was blocked longer than the limit."""
        self._blocked = blocked
        self._limit_s = limit_s
        self._beaten_at = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="loop-watchdog", daemon=True)
        self._watched: int | None = None

    def start(self) -> None:
        """On the loop that is to be watched."""
        self._watched = threading.get_ident()
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        self._beaten_at = time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(_BEAT_S, self._beat)

    def _watch(self) -> None:
        told_of = 0.0
        while not self._stop.wait(self._limit_s / 2):
            beaten_at = self._beaten_at
            if time.monotonic() - beaten_at > self._limit_s + _BEAT_S and beaten_at != told_of:
                told_of = beaten_at
                self.stretches += 1
                self._blocked(self._place())

    def _place(self) -> str:
        """`file:line in function` of the innermost frame on the loop's thread."""
        frame = sys._current_frames().get(self._watched or 0)
        if frame is None:
            return "unknown"
        innermost = traceback.extract_stack(frame)[-1]
        return f"{innermost.filename}:{innermost.lineno} in {innermost.name}"
