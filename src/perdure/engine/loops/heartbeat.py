"""Proves that this worker is alive; learns when it no longer counts as such."""

from __future__ import annotations

from collections.abc import Callable

from perdure.base.clock import Clock
from perdure.store.commands import Heartbeat
from perdure.store.recorder import Recorder

BEAT_S = 5.0


class HeartbeatSender:
    """Beats once every `BEAT_S`; `fenced` is called when the store says that this worker was given up."""

    def __init__(self, *, recorder: Recorder, clock: Clock, worker: str, fenced: Callable[[], None]) -> None:
        self._recorder = recorder
        self._clock = clock
        self._worker = worker
        self._fenced = fenced

    async def work(self) -> float:
        if not await self._recorder.execute(Heartbeat(at=self._clock.now(), worker=self._worker)):
            self._fenced()
        return BEAT_S
