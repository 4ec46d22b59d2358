"""Waiting for what happens in other processes: a condition and a deadline, never a mere pause."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.05


class TooLate(AssertionError):
    """What was waited for did not come in time."""


def until(condition: Callable[[], T | None], *, within_s: float, what: str) -> T:
    """The first true answer of the condition.

    Raises `TooLate`, naming `what`, after `within_s` seconds without one.
    """
    deadline = time.monotonic() + within_s
    pause_s = _FIRST_PAUSE_S
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise TooLate(f"{what}: not within {within_s:g} s")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)


def now_us() -> int:
    """The wall clock in microseconds, as nodes, clients and the store write it."""
    return time.time_ns() // 1000
