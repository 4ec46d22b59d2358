"""Fires due timers: delayed starts, wake-ups, deadlines."""

from __future__ import annotations

from collections.abc import Callable

from perdure.base.clock import Alarm, Clock
from perdure.store.commands import FireTimers
from perdure.store.recorder import Recorder


class Timekeeper:
    """Args:
    pause_s: after what time to look for timers that others set.
    heeds_all: whether to be there when the next timer is due, whoever set it. Where processes are many, that would
        bring all of them for each timer; their looks come so close together then that one of them is soon there.
    """

    def __init__(
        self, *, recorder: Recorder, clock: Clock, pause_s: Callable[[], float], heeds_all: Callable[[], bool]
    ) -> None:
        self._recorder = recorder
        self._clock = clock
        self._pause_s = pause_s
        self._heeds_all = heeds_all
        self.due: Callable[[], object] = lambda: None
        """Called when the earliest known timer is due: then `work` has to be."""
        self._alarm: Alarm | None = None
        self._alarm_at: int | None = None

    async def work(self) -> float:
        at = self._clock.now()
        next_due = await self._recorder.execute(FireTimers(at=at))
        # In the past: there are more than are fired at once.
        if next_due is not None and (next_due <= at or self._heeds_all()):
            self.expect(next_due)
        return self._pause_s()

    def expect(self, due_at: int) -> None:
        """A timer is due then."""
        if self._alarm_at is None or due_at < self._alarm_at:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm_at = due_at
            self._alarm = self._clock.call_at(due_at, self._ring)

    def _ring(self) -> None:
        self._alarm = self._alarm_at = None
        self.due()
