"""A worker's lease on what it owns: renewed by heartbeats from a thread, and given up in time when these fail.

The thread has a connection of its own, so that neither busy code on the event loop nor a slow batch costs the lease.
It counts from the *sending* of the last good heartbeat, on a clock that goes on while the machine sleeps: whatever
the store makes of it, others take the executions no earlier than a whole lease after that. At two thirds the worker
lets go of everything by itself. What has not let go shortly before the end dies with the process: nothing may have
an effect under a lease that others hold by now (Kleppmann, "How to do distributed locking", 2016).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from perdure.base.clock import boot_time
from perdure.errors import StoreError
from perdure.store.sharing import Pulse

EXIT_CODE = 75
"""Of a process that ended itself because it could not let go in time (EX_TEMPFAIL of sysexits.h: start it again)."""

_BEATS = 5
"""Heartbeats in a lease."""
_FENCE = 2 / 3
"""Part of the lease after which a worker without a good heartbeat lets go."""
_END = 0.9
"""Part of the lease after which what did not let go is ended."""
_LAST_S = 1.0
"""What letting go may take when it begins late."""

log = structlog.get_logger(__name__)


class Lease:
    """One at a time, from `begin` until it is lost or `stop`; to be made and begun on the event loop.

    Args:
        length_s: after so long without a heartbeat others take over.
        holds: whether anything would be lost with the process; asked in the thread.
        lost: lets go of everything, on the loop; whether nothing of it can have an effect any more.
        end: ends the process at once.
        let_run_until: told the moment (`boot_time`) at which everything is to be dead if the process stands still by
            then; whoever is told lives beside it.
    """

    def __init__(
        self,
        pulse: Pulse,
        *,
        length_s: float,
        holds: Callable[[], bool],
        lost: Callable[[], Coroutine[Any, Any, bool]],
        end: Callable[[int], object] = os._exit,
        let_run_until: Callable[[float], object] = lambda moment: None,
        now: Callable[[], float] = boot_time,
    ) -> None:
        self._pulse = pulse
        self._length_s = length_s
        self._holds = holds
        self._lost = lost
        self._end = end
        self._let_run_until = let_run_until
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._worker = ""
        self._good_at = 0.0
        self._is_on = False
        self._stopping = False
        self._turn = threading.Event()
        """Something changed for the thread: a lease began, or all is over."""
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, worker: str, *, sent_at: float) -> None:
        """The worker was registered by what was sent then (`boot_time`): that counts as its first heartbeat."""
        self._worker, self._is_on = worker, True
        self._renew(sent_at)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
            self._thread.start()
        self._turn.set()

    def allows(self) -> bool:
        """Whether something that has effects may begin now."""
        return self._is_on and self._now() < self._fences_at

    def retire(self) -> None:
        """The worker says goodbye, and owns nothing: who hears that it is dead is not to be alarmed."""
        self._is_on = False

    async def stop(self) -> None:
        """No heartbeat more; what it protected must be over."""
        self._stopping, self._is_on = True, False
        self._turn.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        self._let_run_until(math.inf)

    @property
    def _fences_at(self) -> float:
        return self._good_at + _FENCE * self._length_s

    @property
    def _ends_at(self) -> float:
        """What has an effect beyond the process is killed then, whether the process itself goes on or stands still."""
        return self._good_at + _END * self._length_s

    def _renew(self, sent_at: float) -> None:
        self._good_at = sent_at
        self._let_run_until(self._ends_at)

    # The thread

    def _run(self) -> None:
        while not self._stopping:
            self._turn.wait(self._until_next())
            self._turn.clear()
            if self._is_on:
                self._beat()
        self._pulse.close()

    def _until_next(self) -> float | None:
        if not self._is_on:
            return None
        return max(min(self._length_s / _BEATS, self._fences_at - self._now()), 0)

    def _beat(self) -> None:
        sent_at = self._now()
        if sent_at < self._fences_at:
            alive = self._ask(min(self._length_s / _BEATS, self._fences_at - sent_at))
            if alive is False:
                self._give_up("it was declared dead", by=self._now())
            elif alive and self._now() < self._ends_at:
                self._renew(sent_at)
            elif alive:
                self._give_up("it stood still", by=self._now())
            return
        if self._is_on:
            self._give_up("its heartbeats did not get through", by=self._ends_at)

    def _ask(self, within_s: float) -> bool | None:
        """None when it could not be told."""
        try:
            return self._pulse.beat(self._worker, within_s=within_s)
        except StoreError as error:
            log.warning("no heartbeat", worker=self._worker, code=error.code, detail=error.message)
        except Exception:
            # Whatever it was: the thread goes on, since only it can let go in time.
            log.exception("no heartbeat", worker=self._worker)
        return None

    def _give_up(self, why: str, *, by: float) -> None:
        """Have the loop let go until then; it gets a moment even where that is past."""
        if self._stopping or not self._is_on:
            return
        self._is_on = False
        held = self._holds()
        log.error("this worker lets go of all it owns", worker=self._worker, why=why)
        if held and self._now() > self._good_at + self._length_s:
            # The process stood still for longer than its lease: what runs in it is somebody else's by now.
            self._end_process()
            return
        gone = threading.Event()
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._let_go, gone)
        if not gone.wait(max(by - self._now(), _LAST_S)) and held:
            self._end_process()

    def _end_process(self) -> None:
        log.error("this process ends: it could not let go of what it owns in time", worker=self._worker)
        self._end(EXIT_CODE)

    def _let_go(self, gone: threading.Event) -> None:
        async def let_go() -> None:
            if await self._lost():
                gone.set()

        task = self._loop.create_task(let_go())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
