"""Takes claimable executions while there are free slots."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from perdure.base.clock import Clock
from perdure.store.commands import ClaimExecutions
from perdure.store.recorder import Recorder
from perdure.store.records import Claimed

_BATCH = 100
_SCAN_S = 5.0
"""Behind every wake-up stands a slow scan."""


class Claimer:
    def __init__(
        self,
        *,
        recorder: Recorder,
        clock: Clock,
        worker: str,
        queues: tuple[str, ...] | None,
        everything: bool,
        free: Callable[[], int],
        take: Callable[[list[Claimed]], Awaitable[None]],
    ) -> None:
        self._recorder = recorder
        self._clock = clock
        self._worker = worker
        self._queues = queues
        self._everything = everything
        self._free = free
        self._take = take
        self.root: bytes | None = None
        """The one execution to claim, with those below it, where not everything is."""

    async def work(self) -> float:
        while self._everything or self.root is not None:
            limit = min(self._free(), _BATCH)
            if limit <= 0:
                return _SCAN_S
            command = ClaimExecutions(
                at=self._clock.now(), worker=self._worker, queues=self._queues, limit=limit, root=self.root
            )
            claimed = await self._recorder.execute(command)
            if claimed is None:
                # Declared dead: the heartbeat hears of it too, and lets go of everything.
                return _SCAN_S
            if claimed:
                await self._take(claimed)
            if len(claimed) < limit:
                break
        return _SCAN_S
