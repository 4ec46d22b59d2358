"""This process as a worker: registered under an id of its own, alive while it proves it, registered anew when it failed.

An id is never used twice. Whoever was declared dead, or had to let go by itself, comes back as somebody else.
"""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Any

import structlog

from perdure.base.backoff import Backoff
from perdure.base.clock import SECOND, Clock, boot_time
from perdure.base.ids import id_text, new_id
from perdure.engine.lease import Lease
from perdure.engine.settings import EngineSettings
from perdure.errors import StoreError, StoreIncompatible
from perdure.store.commands import InterruptWorkers, RegisterWorker, StopWorker
from perdure.store.interface import Store
from perdure.store.recorder import Recorder
from perdure.store.records import WorkerRecord

FORBIDDEN = "this program may not work on the store any more; start a newer one"

log = structlog.get_logger(__name__)


class Membership:
    """Used on the loop only.

    Args:
        holds: whether something is owned; asked in another thread too.
        let_go: drops all that is owned, at once; whether nothing of it can have an effect any more.
        joined: called after every registration, with the record.
        let_run_until: see `Lease`.
    """

    def __init__(
        self,
        *,
        store: Store,
        recorder: Recorder,
        clock: Clock,
        settings: EngineSettings,
        holds: Callable[[], bool],
        let_go: Callable[[], Coroutine[Any, Any, bool]],
        joined: Callable[[WorkerRecord], object],
        let_run_until: Callable[[float], object],
    ) -> None:
        self._recorder = recorder
        self._clock = clock
        self._settings = settings
        self._let_go = let_go
        self._joined = joined
        self._is_shared = store.sharing is not None
        self._lease: Lease | None = None
        if store.sharing is not None:
            length_s = settings.lease / SECOND
            self._lease = Lease(
                store.sharing.pulse(), length_s=length_s, holds=holds, lost=self._lost, let_run_until=let_run_until
            )
        self._leaving = False
        """For good: it does not register anew."""
        self._rejoining: asyncio.Task[None] | None = None
        self.is_member = False
        """Whether it may claim."""
        self.worker = self._fresh()

    def allows(self) -> bool:
        """Whether an attempt may begin now: what the worker owns is surely its own."""
        return self._lease is None or self._lease.allows()

    async def join(self) -> None:
        """Register. Raises `StoreError`."""
        if self._leaving:
            return
        sent_at = boot_time()
        worker = self._fresh()
        lease = self._settings.lease if self._is_shared else 0
        worker.number = await self._recorder.execute(RegisterWorker(at=self._clock.now(), worker=worker, lease=lease))
        if not self._is_shared:
            # The store's lock is ours: whoever else is registered is dead.
            recovered = await self._recorder.execute(InterruptWorkers(at=self._clock.now(), all_but=worker.id))
            if recovered:
                log.info("recovering executions of a process that died", executions=len(recovered))
        self.worker = worker
        self.is_member = True
        if self._lease is not None:
            self._lease.begin(worker.id, sent_at=sent_at)
        self._joined(worker)

    async def give_up(self) -> None:
        """This program must not work on the store any more: let go, and be silent, so that others take over."""
        if self._leaving:
            return
        self._leaving, self.is_member = True, False
        await self._let_go()
        if self._lease is not None:
            await self._lease.stop()

    async def leave(self) -> None:
        """Say goodbye, when nothing is owned any more. Raises `StoreError`."""
        self._leaving = True
        was_member, self.is_member = self.is_member, False
        if self._rejoining is not None:
            self._rejoining.cancel()
            await asyncio.wait({self._rejoining})
        if self._lease is not None:
            self._lease.retire()
        try:
            if was_member:
                await self._recorder.execute(StopWorker(at=self._clock.now(), worker=self.worker.id))
        finally:
            if self._lease is not None:
                await self._lease.stop()

    def _fresh(self) -> WorkerRecord:
        settings, now = self._settings, self._clock.now()
        return WorkerRecord(
            id=id_text(new_id(now)), number=0, name=settings.worker_name, host=platform.node(), pid=os.getpid(),
            started_at=now, heartbeat_at=now, queues=settings.queues if settings.claim else (), slots=settings.slots,
            tags=tuple(sorted(settings.tags)), version=version("perdure"),
        )  # fmt: skip

    async def _lost(self) -> bool:
        self.is_member = False
        lost = self.worker.id
        is_over = await self._let_go()
        if not self._leaving:
            self._rejoining = asyncio.get_running_loop().create_task(self._come_back(lost))
        return is_over

    async def _come_back(self, lost: str) -> None:
        """As soon as the store answers: give back what it still has under the old id, and register anew."""
        backoff = Backoff()
        while not self._leaving:
            try:
                await self._recorder.execute(InterruptWorkers(at=self._clock.now(), workers=(lost,)))
                await self.join()
            except StoreIncompatible as error:
                log.error(FORBIDDEN, why=error.message)
                self._leaving = True
                if self._lease is not None:
                    await self._lease.stop()
                return
            except StoreError as error:
                log.warning("the store does not take this worker back yet", code=error.code)
                await asyncio.sleep(backoff.pause_s())
                continue
            log.info("registered anew", worker=self.worker.id, before=lost)
            return
