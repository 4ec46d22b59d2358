"""Proves that this worker is alive, where one process has the store to itself; learns when it no longer counts as such."""

from __future__ import annotations

from collections.abc import Callable

from perdure.base.clock import Clock
from perdure.store.commands import Heartbeat
from perdure.store.recorder import Recorder

BEAT_S = 5.0


class HeartbeatSender:
    """Beats once every `BEAT_S`; `fenced` is called when the store says that this worker was given up.

    `worker` answers with its id, None while it is not registered.
    """

    def __init__(
        self, *, recorder: Recorder, clock: Clock, worker: Callable[[], str | None], fenced: Callable[[], None]
    ) -> None:
        self._recorder = recorder
        self._clock = clock
        self._worker = worker
        self._fenced = fenced

    async def work(self) -> float:
        worker = self._worker()
        if worker is not None and not await self._recorder.execute(Heartbeat(at=self._clock.now(), worker=worker)):
            self._fenced()
        return BEAT_S
