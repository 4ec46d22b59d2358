"""Changes that need not be written at once: the start of an attempt mostly travels with its result."""

from __future__ import annotations

import asyncio
from typing import Protocol

DELAY_S = 0.005


class Marker(Protocol):
    def mark(self) -> None: ...


class Later:
    """Marks owners a few milliseconds later, all with one timer; whoever was written meanwhile costs nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[Marker, None] = {}
        self._scheduled = False

    def mark(self, owner: Marker) -> None:
        self._waiting[owner] = None
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_later(DELAY_S, self._mark_all)

    def forget(self, owner: Marker) -> None:
        """It was written."""
        self._waiting.pop(owner, None)

    def _mark_all(self) -> None:
        self._scheduled = False
        waiting, self._waiting = self._waiting, {}
        for owner in waiting:
            owner.mark()
