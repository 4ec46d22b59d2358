"""Asking a store that is away or full until it answers: no execution fails because its database was restarted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from perdure.errors import StoreError, StoreFull, StoreUnavailable

T = TypeVar("T")

log = structlog.get_logger(__name__)

PASSING = (StoreUnavailable, StoreFull)
"""Troubles of a store that pass without anybody doing the work anew: it is back, or somebody made room."""
_FIRST_S = 0.1
_MOST_S = 2.0


class NotNeeded(Exception):
    """The answer is wanted no more."""


def _always() -> bool:
    return True


async def insist(
    ask: Callable[[], Awaitable[T]],
    *,
    needed: Callable[[], bool] = _always,
    passing: tuple[type[StoreError], ...] = PASSING,
) -> T:
    """What `ask` answers, however often it has to be asked; each time it begins anew.

    Raises `NotNeeded` once the store failed and `needed` says no, and every error but those of `passing`.
    """
    delay_s = _FIRST_S
    while True:
        try:
            return await ask()
        except passing as error:
            if not needed():
                raise NotNeeded from error
            if delay_s == _FIRST_S:
                log.warning("the store does not answer; it is asked until it does", detail=error.message)
        # Many executions fail in the same instant; they are not to come back in the same instant too.
        await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))
        delay_s = min(delay_s * 2, _MOST_S)
