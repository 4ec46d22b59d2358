"""Simulated time: what is to happen, in the order of its moment. Nothing here knows a real clock."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any


class Timeline:
    """Seconds from 0. Of two things at the same moment the one that was planned first goes first."""

    def __init__(self) -> None:
        self.now = 0.0
        self._plan: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = count()

    def after(self, delay: float, call: Callable[..., object], *args: Any) -> None:
        heappush(self._plan, (self.now + delay, next(self._order), call, args))

    def run(self, until: float) -> None:
        """Let everything happen that is due before that moment."""
        plan = self._plan
        while plan and plan[0][0] < until:
            self.now, _, call, args = heappop(plan)
            call(*args)
        self.now = until
