"""A clock that moves only when told, so that a test lives through a year of waiting at once."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any


class ManualAlarm:
    __slots__ = ("args", "at", "callback", "cancelled")

    def __init__(self, at: int, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.at = at
        self.callback = callback
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualClock:
    """Starts at `now` (microseconds since 1970) and stands still between two calls of `advance`."""

    def __init__(self, now: int = 1_800_000_000_000_000) -> None:
        self._now = now
        self._alarms: list[tuple[int, int, ManualAlarm]] = []
        self._order = count()

    def now(self) -> int:
        return self._now

    def monotonic(self) -> int:
        return self._now

    def call_at(self, at: int, callback: Callable[..., object], *args: Any) -> ManualAlarm:
        alarm = ManualAlarm(at, callback, args)
        heapq.heappush(self._alarms, (at, next(self._order), alarm))
        return alarm

    @property
    def next_alarm(self) -> int | None:
        """When the earliest alarm is due."""
        while self._alarms and self._alarms[0][2].cancelled:
            heapq.heappop(self._alarms)
        return self._alarms[0][0] if self._alarms else None

    def advance(self, micros: int) -> None:
        """Move on, calling what becomes due on the way, each at its own time."""
        self.advance_to(self._now + micros)

    def advance_to(self, at: int) -> None:
        while (due := self.next_alarm) is not None and due <= at:
            _, _, alarm = heapq.heappop(self._alarms)
            self._now = max(self._now, due)
            alarm.callback(*alarm.args)
        self._now = max(self._now, at)
