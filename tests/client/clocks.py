"""Clocks that stand still, or go on only when somebody waits."""

from perdure.base.clock import SystemClock

NOON = 1_795_348_800_000_000
"""2026-11-22T12:00:00Z"""


class FixedClock(SystemClock):
    """It is always the same moment."""

    def __init__(self, now: int = NOON) -> None:
        self._now = now

    def now(self) -> int:
        return self._now

    def monotonic(self) -> int:
        return 0


class WaitedClock(SystemClock):
    """Time passes when the client waits, and not else."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> int:
        return int(self.seconds * 1_000_000)

    def monotonic(self) -> int:
        return self.now()

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
