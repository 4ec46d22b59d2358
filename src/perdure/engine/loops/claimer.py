"""Takes claimable executions while there are free slots."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from perdure.base.clock import Clock
from perdure.engine.settings import EngineSettings
from perdure.model.queue_line import is_served
from perdure.store.commands import ClaimExecutions
from perdure.store.recorder import Recorder
from perdure.store.records import Claimed


class Claimer:
    """
    Args:
        worker: its id, None while it may not claim.
        free: how many more executions may be owned.
        batch: the most that are claimed at once: others want some too.
        take: owns what was claimed.
        pause_s: behind every wake-up stands a slow scan, after that time.
        pass_on: told of lines that may hold more than there were slots for.
    """

    def __init__(
        self,
        *,
        recorder: Recorder,
        clock: Clock,
        settings: EngineSettings,
        worker: Callable[[], str | None],
        free: Callable[[], int],
        batch: int,
        take: Callable[[Sequence[Claimed]], Awaitable[None]],
        pause_s: Callable[[], float],
        pass_on: Callable[[Sequence[str]], object],
    ) -> None:
        self._recorder = recorder
        self._clock = clock
        self._settings = settings
        self._worker = worker
        self._free = free
        self._batch = batch
        self._take = take
        self._pause_s = pause_s
        self._pass_on = pass_on
        self._noted: dict[str, None] = {}
        self.root: bytes | None = None
        """The one execution to claim, with those below it, where not everything is."""

    def serves(self, line: str) -> bool:
        """Whether this worker takes from that line of the queue."""
        settings = self._settings
        return settings.works and (not settings.claim or is_served(line, queues=settings.queues, tags=settings.tags))

    def note(self, lines: Iterable[str]) -> None:
        """There is work in these lines, which this worker serves."""
        self._noted |= dict.fromkeys(lines)

    async def work(self) -> float:
        settings = self._settings
        while (settings.claim or self.root is not None) and (worker := self._worker()) is not None:
            limit = min(self._free(), self._batch)
            if limit <= 0:
                noted, self._noted = self._noted, {}
                self._pass_on([*noted])
                break
            command = ClaimExecutions(
                at=self._clock.now(), worker=worker, queues=settings.queues, tags=settings.tags, limit=limit,
                root=self.root,
            )  # fmt: skip
            noted, self._noted = self._noted, {}
            claimed = await self._recorder.execute(command)
            if claimed is None:
                # Declared dead: the heartbeat hears of it too, and lets go of everything.
                break
            if claimed:
                await self._take(claimed)
            if len(claimed) < limit:
                break
            self._noted |= noted
        return self._pause_s()
