"""The clock of a store that several processes share: all their times are by it, whatever their machines' clocks say.

A time that one process writes is compared by others: due times, deadlines, the age of a key, the next moment of a
rate. So no process goes by its own wall clock. Each asks for the store's now and then, and counts on from there by a
clock that never jumps (Cristian, "Probabilistic clock synchronization", 1989).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from perdure.base.clock import SECOND, Alarm, SystemClock, boot_time

DRIFT = 200e-6
"""How fast two clocks drift apart at most; of a quartz, with what disciplines it."""


class StoreClock:
    """`perdure.base.clock.Clock`; this machine's wall clock until the store's was heard for the first time.

    `elapsed`: seconds on a clock that never goes back and counts the machine's sleep too.
    """

    def __init__(self, elapsed: Callable[[], float] = boot_time) -> None:
        self._elapsed = elapsed
        self._system = SystemClock()
        self._ahead: float | None = None
        """Of the store's clock before `elapsed`, in seconds …"""
        self._error = 0.0
        """… give or take so many, when it was learnt, …"""
        self._learnt_at = 0.0
        """… which was then."""

    def now(self) -> int:
        if self._ahead is None:
            return self._system.now()
        return round((self._elapsed() + self._ahead) * SECOND)

    def monotonic(self) -> int:
        return self._system.monotonic()

    def call_at(self, at: int, callback: Callable[..., object], *args: Any) -> Alarm:
        delay = max(at - self.now(), 0) / SECOND
        return asyncio.get_running_loop().call_later(delay, callback, *args)

    def heard(self, at: int, *, asked_at: float, answered_at: float) -> None:
        """The store's clock was at `at` (microseconds) at some moment between asking and the answer (`elapsed`).

        A slow answer does not displace a better one, unless that one must be wrong by now: the store's clock
        was set, or another server took over.
        """
        error = (answered_at - asked_at) / 2
        ahead = at / SECOND - (asked_at + error)
        if self._ahead is not None:
            known = self._error + DRIFT * (answered_at - self._learnt_at)
            if error > known and abs(ahead - self._ahead) <= error + known:
                return
        self._ahead, self._error, self._learnt_at = ahead, error, answered_at
