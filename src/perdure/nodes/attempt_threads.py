"""Threads that the code of inline nodes asks the loop for: `asyncio.to_thread`, `run_in_executor(None, …)`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from perdure.nodes.authoring import CURRENT
from perdure.nodes.local_attempt import LocalAttempt

LIMIT = 64
"""Of them at a time; more wait."""


class AttemptThreads(ThreadPoolExecutor):
    """The default executor of an engine's loop.

    What code of nodes hands to it runs in threads apart, so that it cannot hold up the engine's own work, and is known
    to its attempt, which has not ended while they run.
    """

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="perdure-engine")
        self._apart = ThreadPoolExecutor(LIMIT, thread_name_prefix="perdure-node")

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        attempt = CURRENT.get()
        if not isinstance(attempt, LocalAttempt):
            return super().submit(fn, *args, **kwargs)
        future = self._apart.submit(fn, *args, **kwargs)
        attempt.waits_for(future)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Waits for the engine's own threads alone."""
        self._apart.shutdown(wait=False, cancel_futures=True)
        super().shutdown(wait, cancel_futures=cancel_futures)
