"""Removes contents that nothing refers to, from where all keep them and from the folder on this machine."""

from __future__ import annotations

import asyncio

import structlog

from perdure.artifacts.interface import ArtifactStorage
from perdure.base.clock import DAY, SECOND, Clock
from perdure.engine.pace import Pace
from perdure.engine.precedence import Precedence
from perdure.errors import StoreBusy
from perdure.store.interface import Store

SWEEP_S = 3_600.0
GRACE_S = DAY / SECOND
"""For so long a content stays after it was put, by whomever: soon it is recorded what refers to it."""
BATCH = 200
PAUSE = 4
"""Times as long as a batch took, others have the disk for themselves."""
_log = structlog.get_logger(__name__)


class Sweeper:
    """The work of a `Loop`. Of the processes on a shared store, one removes contents that are kept for all.

    Whatever refers to a content has put it, or has taken it over from what refers to it in the same transaction. So a
    content that was not put for long, and that nothing refers to, is never referred to again: it can be removed after
    a look, unless somebody puts it first.
    """

    def __init__(
        self, *, store: Store, artifacts: ArtifactStorage, clock: Clock, precedence: Precedence, pace: Pace
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._clock = clock
        self._precedence = precedence
        self._pace = pace
        self._was_refused = False

    async def work(self) -> float:
        await self._artifacts.tidy()
        if await self._precedence.is_first() and await self._is_ours():
            try:
                await self._sweep()
            except StoreBusy as error:
                _log.info("contents are not swept now", reason=error.message)
        return self._pace.pause(SWEEP_S)

    async def _is_ours(self) -> bool:
        """Another store's contents are no garbage because this one does not know them."""
        others = await self._artifacts.claim(await self._store.contents.store_id())
        if others and not self._was_refused:
            _log.warning("contents are not swept: another store has used the same folder", marks=others)
        self._was_refused = bool(others)
        return not others

    async def _sweep(self) -> None:
        removed, after = 0, b""
        while old := await self._artifacts.old(after, age_s=GRACE_S):
            for first in range(0, len(old), BATCH):
                batch = old[first : first + BATCH]
                began = self._clock.monotonic()
                used = await self._store.contents.used(batch)
                if unused := [sha256 for sha256 in batch if sha256 not in used]:
                    removed += await self._artifacts.remove(unused, age_s=GRACE_S)
                await asyncio.sleep(PAUSE * (self._clock.monotonic() - began) / SECOND)
            after = old[-1]
        if removed:
            _log.info("contents that nothing refers to are removed", removed=removed)
