"""When a failed attempt is tried again."""

from __future__ import annotations

from perdure.model.definition import Retry
from perdure.model.failure import Failure


def may_retry(retry: Retry, failure: Failure, *, attempt: int) -> bool:
    """Whether attempt number `attempt` (from 1), which failed so, may be followed by another."""
    if attempt >= retry.attempts or not failure.retryable:
        return False
    if not retry.on:
        return True
    names = {failure.code, *failure.error_types}
    return any(name in names for name in retry.on)


def backoff(retry: Retry, *, attempt: int, jitter: float) -> int:
    """Microseconds to wait after attempt number `attempt`.

    It doubles from `backoff_min` up to `backoff_max`; `jitter` in [0, 1) takes the actual wait from
    the upper half of that, so that many failing together spread out.
    """
    ceiling = min(retry.backoff_min << min(attempt - 1, 40), retry.backoff_max)
    return round(ceiling * (0.5 + jitter / 2))
