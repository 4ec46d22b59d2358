"""Time, injected wherever it is needed. All times are UTC integers in microseconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BOOT_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_time() -> float:
    """Seconds on a clock that never goes back and counts the machine's sleep too, where the system has one."""
    return time.clock_gettime(_BOOT_CLOCK)


class Alarm(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    def now(self) -> int:
        """Wall clock, microseconds since 1970 in UTC."""
        ...

    def monotonic(self) -> int:
        """A clock that never goes back, microseconds from an arbitrary start."""
        ...

    def call_at(self, at: int, callback: Callable[..., object], *args: Any) -> Alarm:
        """Have `callback` called on the running loop once the wall clock shows `at`."""
        ...


class SystemClock:
    def now(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> int:
        return time.monotonic_ns() // 1000

    def call_at(self, at: int, callback: Callable[..., object], *args: Any) -> Alarm:
        delay = max(at - self.now(), 0) / SECOND
        return asyncio.get_running_loop().call_later(delay, callback, *args)


def to_rfc3339(at: int) -> str:
    """`2026-11-22T13:45:00.000000Z`: RFC 3339 in UTC, always with six digits of fraction."""
    seconds, micros = divmod(at, SECOND)
    moment = time.gmtime(seconds)
    return (
        f"{moment.tm_year:04d}-{moment.tm_mon:02d}-{moment.tm_mday:02d}"
        f"T{moment.tm_hour:02d}:{moment.tm_min:02d}:{moment.tm_sec:02d}.{micros:06d}Z"
    )


def optional_rfc3339(at: int | None) -> str | None:
    """`to_rfc3339` of what may be absent."""
    return None if at is None else to_rfc3339(at)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 of a time with an offset, exactly."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds


def from_rfc3339(text: str) -> int:
    """Microseconds of an RFC 3339 time with an offset.

    Raises ValueError when it is none or has no offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no UTC offset; write 2026-11-22T13:45:00Z")
    return to_micros(moment)
