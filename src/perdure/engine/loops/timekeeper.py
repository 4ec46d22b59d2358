"""Fires due timers: delayed starts, wake-ups, deadlines."""

from __future__ import annotations

from collections.abc import Callable

from perdure.base.clock import Alarm, Clock
from perdure.store.commands import FireTimers
from perdure.store.recorder import Recorder


class Timekeeper:
    def __init__(self, *, recorder: Recorder, clock: Clock, pause_s: Callable[[], float]) -> None:
        """`pause_s`: after what time to look for timers that others set."""
        self._recorder = recorder
        self._clock = clock
        self._pause_s = pause_s
        self.due: Callable[[], object] = lambda: None
        """Called when the earliest known timer is due: then `work` has to be."""
        self._alarm: Alarm | None = None
        self._alarm_at: int | None = None

    async def work(self) -> float:
        self._forget()
        next_due = await self._recorder.execute(FireTimers(at=self._clock.now()))
        if next_due is not None:
            self.expect(next_due)
        return self._pause_s()

    def expect(self, due_at: int) -> None:
        """A timer is due then."""
        if self._alarm_at is None or due_at < self._alarm_at:
            self._forget()
            self._alarm_at = due_at
            self._alarm = self._clock.call_at(due_at, self.due)

    def _forget(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._alarm_at = None
