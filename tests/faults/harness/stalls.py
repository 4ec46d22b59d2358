"""What this machine suffered: the time for which it stood still, and how many wanted to run at once.

Both may cost a worker its lease without anybody's fault.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from tests.faults.harness.waiting import now_us

TICK_S = 0.05
STALL_US = 100_000
"""A tick that comes so much too late counts as a stall; scheduling on a busy machine takes less."""


class Stalls:
    """A thread that wants to be woken at even intervals: it notes how much too late it was, and who else wants to run."""

    def __init__(self) -> None:
        self._stalls: list[tuple[int, int]] = []
        self._crowds: list[tuple[int, float]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stalls", daemon=True)

    def start(self) -> Stalls:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def note(self, since: int, until: int, *, runnable: float = 0) -> None:
        """It slept from then till then (microseconds), and wanted `TICK_S`; so many threads for each core want to run."""
        due = since + round(TICK_S * 1e6)
        if until - due >= STALL_US:
            self._stalls.append((due, until))
        self._crowds.append((until, runnable))

    def stalled(self, since: int, until: int) -> int:
        """Microseconds of that time for which the machine stood still."""
        return sum(max(min(end, until) - max(begin, since), 0) for begin, end in self._stalls)

    def runnable(self, since: int, until: int) -> float:
        """How many threads wanted to run for each core in that time, on average."""
        seen = [runnable for at, runnable in self._crowds if since <= at <= until]
        return sum(seen) / len(seen) if seen else 0.0

    def _run(self) -> None:
        cores = os.cpu_count() or 1
        at = now_us()
        while not self._stopping.wait(TICK_S):
            before, at = at, now_us()
            # proc_loadavg(5): "0.20 0.18 0.12 1/80 11206", of which the fourth is runnable / existing.
            running = Path("/proc/loadavg").read_text().split()[3].partition("/")[0]
            self.note(before, at, runnable=int(running) / cores)
