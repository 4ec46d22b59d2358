"""The one lifecycle of all background loops: wait for a time or a wake-up, work, wait again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from perdure.errors import StoreError

log = structlog.get_logger(__name__)

_AFTER_ERROR_S = 1.0
_FINISH_S = 5.0


class Loop:
    """Calls `work` at once, when woken, and at the latest when the time is over that `work` answered with.

    `work` returns seconds until the next call, in real time: what is due by the injected clock wakes its loop by an
    alarm of that clock. A store that cannot answer is tried again; any other error is
    logged and does not end the loop.
    """

    def __init__(self, name: str, work: Callable[[], Awaitable[float]]) -> None:
        self.name = name
        self._work = work
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._finishing = asyncio.Event()
        self._awaited: list[asyncio.Future[None]] = []
        self.last_error: str | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"perdure-{self.name}")

    def wake(self) -> None:
        self._woken.set()

    async def turn(self) -> None:
        """Wake it, and wait until it has done its work once."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awaited.append(done)
        self.wake()
        await done

    async def finish(self) -> None:
        """Stop behind the work that is being done, if it ends within a bounded time."""
        self._finishing.set()
        self._woken.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_FINISH_S)
        await self.stop()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while not self._finishing.is_set():
            self._woken.clear()
            awaited, self._awaited = self._awaited, []
            try:
                delay = await self._work()
                self.last_error = None
            except StoreError as error:
                delay, self.last_error = _after_error_s(), error.message
            except Exception as error:
                delay, self.last_error = _after_error_s(), str(error)
                log.exception("loop failed", loop=self.name)
            for done in awaited:
                if not done.done():
                    done.set_result(None)
            if self._finishing.is_set():
                return
            alarm = asyncio.get_running_loop().call_later(delay, self._woken.set)
            await self._woken.wait()
            alarm.cancel()


def _after_error_s() -> float:
    """All processes on a store fail in the same instant; they are not to come back in the same instant too."""
    return _AFTER_ERROR_S * random.uniform(0.5, 1.0)
