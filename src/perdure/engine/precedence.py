"""Who does what one process does for all who share a store."""

from __future__ import annotations

from collections.abc import Callable

from perdure.base.clock import Clock
from perdure.store.interface import Store


class Precedence:
    """Of the workers that claim, the one that is alive the longest goes first. For a moment two may think so: what they
    do must bear that."""

    def __init__(self, *, store: Store, clock: Clock, lease: int, worker: Callable[[], str]) -> None:
        """`lease`: microseconds without a sign of life after which a worker is no more; `worker`: as what this process is
        registered now."""
        self._store = store
        self._clock = clock
        self._lease = lease
        self._worker = worker

    async def is_first(self) -> bool:
        """Always, in a store of one process. Raises `StoreError`."""
        if self._store.sharing is None:
            return True
        alive_since = self._clock.now() - self._lease
        alive = [
            worker for worker in await self._store.workers.list()
            if worker.stopped_at is None and worker.heartbeat_at >= alive_since and worker.queues != ()
        ]  # fmt: skip
        return bool(alive) and min(alive, key=lambda worker: worker.number).id == self._worker()
