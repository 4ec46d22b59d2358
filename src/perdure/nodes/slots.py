"""A bound on how many may do something at a time, first come, first served; it can be changed while in use."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

from perdure.nodes.interface import Sink


class Slots:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def resize(self, limit: int) -> None:
        """Takes effect at once when it grows, as slots are given back when it shrinks."""
        self.limit = limit
        self._hand_on()

    @contextlib.asynccontextmanager
    async def place(self, sink: Sink) -> AsyncIterator[None]:
        """A slot for an attempt, whose timeout begins once it has it."""
        sink.waiting()
        async with self:
            sink.placed()
            yield

    async def __aenter__(self) -> None:
        if self.used < self.limit and not self._waiting:
            self.used += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back()
            else:
                self._waiting.remove(turn)
            raise

    async def __aexit__(self, *exc: object) -> None:
        self._give_back()

    def _give_back(self) -> None:
        self.used -= 1
        self._hand_on()

    def _hand_on(self) -> None:
        while self._waiting and self.used < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self.used += 1
                turn.set_result(None)
