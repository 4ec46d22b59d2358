"""The work that the benches' nodes do: as little as can be, and what shows in a ledger outside of the system."""

from __future__ import annotations

import asyncio
import os
import time


async def noop() -> None:
    """Nothing."""


async def tick(every_ms: int, phase_ms: float) -> None:
    """Wait for the next of the machine's monotonic clock's moments that lie so far apart, so that none drifts."""
    every_s = every_ms / 1000
    # A timer may fire a little before its time: that moment is over, too.
    since_s = time.monotonic() - phase_ms / 1000 + every_s / 10
    await asyncio.sleep(every_s - since_s % every_s + every_s / 10)


async def leave_mark(ledger: str, execution: str, step: int, ms: int) -> int:
    """Append who began what and when to a file that survives the process, then take `ms` milliseconds.

    A line is `pid execution step nanoseconds` on the machine's monotonic clock, which all its processes share.
    """
    line = f"{os.getpid()} {execution} {step} {time.monotonic_ns()}\n"
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)
    await asyncio.sleep(ms / 1000)
    return step
