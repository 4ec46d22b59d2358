"""Asking a store that is away or full until it answers: no execution fails because its database was restarted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from perdure.base.backoff import Backoff
from perdure.errors import StoreError, StoreFull, StoreUnavailable

T = TypeVar("T")

log = structlog.get_logger(__name__)

PASSING = (StoreUnavailable, StoreFull)
"""Troubles of a store that pass without anybody doing the work anew: it is back, or somebody made room."""


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
    backoff = Backoff()
    while True:
        try:
            return await ask()
        except passing as error:
            if not needed():
                raise NotNeeded from error
            if backoff.is_fresh:
                log.warning("the store does not answer; it is asked until it does", detail=error.message)
        await asyncio.sleep(backoff.pause_s())
