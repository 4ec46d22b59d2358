"""When and how long to wait before a call is tried again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

import msgspec

from perdure.base.clock import SECOND, Clock, SystemClock

RETRYABLE_STATUSES = frozenset({408, 429, 502, 503, 504})


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Times are seconds. `attempts` counts all tries of one call; 1 means never again.

    Where no connection came about nothing was sent, so `connect_attempts` holds for every call;
    all else is tried again for idempotent calls only. A `Retry-After` beyond `longest_s` is not
    waited for: the caller gets the error, with the time in it.
    """

    attempts: int = 4
    connect_attempts: int = 4
    backoff_s: float = 0.2
    longest_backoff_s: float = 5.0
    longest_s: float = 60.0
    reconnect_s: float = 60.0
    """How long a stream that broke is tried to be taken up again before it fails."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random
    clock: Clock = msgspec.field(default_factory=SystemClock)

    def delay(self, failures: int, retry_after_s: float | None = None) -> float | None:
        """Seconds to wait after the n-th failure in a row (from 1 on); None when it is not worth waiting.

        Without a `Retry-After`: between half of and the whole doubled backoff.
        """
        if retry_after_s is not None:
            return retry_after_s if retry_after_s <= self.longest_s else None
        backoff = min(self.backoff_s * 2.0 ** (failures - 1), self.longest_backoff_s)
        return backoff * (0.5 + self.jitter() / 2)


def retry_after(header: str | None, clock: Clock) -> float | None:
    """Seconds of a `Retry-After` header (RFC 9110 §10.2.3): a number or an HTTP date; None without a usable one."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(moment.timestamp() - clock.now() / SECOND, 0.0)
