"""Running a coroutine of user code in the engine's loop, so that it can always be stopped.

The coroutine is driven by the attempt's own task, step by step: whoever refuses its cancellation is
simply not driven any further once the grace is over.
"""

from __future__ import annotations

import asyncio
import ctypes
import types
from collections.abc import Coroutine, Generator
from typing import Any

from perdure.model.failure import Failure
from perdure.nodes.interface import NodeFailed, NodeOrphaned
from perdure.nodes.local_attempt import LocalAttempt
from perdure.nodes.output import failure_of


@types.coroutine
def drive(coroutine: Coroutine[Any, Any, Any], attempt: LocalAttempt) -> Generator[Any, Any, Any]:
    """The coroutine's result.

    When the task is cancelled the coroutine gets the CancelledError and the grace to end;
    CancelledError is raised when it has ended, whatever it made of it. NodeOrphaned says that it
    did not end: it stays where it is for ever, what it holds is not given back. What the coroutine
    raises otherwise becomes NodeFailed.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    guard: _Guard | None = None
    thrown: BaseException | None = None
    sent: Any = None
    try:
        while True:
            try:
                waited_for = coroutine.send(sent) if thrown is None else coroutine.throw(thrown)
            except StopIteration as stop:
                if task.cancelling() > before:
                    raise asyncio.CancelledError from None
                return stop.value
            except BaseException as error:
                if task.cancelling() > before:
                    raise asyncio.CancelledError from error
                raise NodeFailed(failure_of(error)) from None
            # A timeout or task group of the coroutine itself cancels the task too, and takes it back.
            if task.cancelling() > before:
                if guard is None:
                    guard = _Guard(task)
                    attempt.stopping_since = asyncio.get_running_loop().time()
                guard.allow(attempt.grace_us)
            elif guard is not None:
                guard.dismiss()
                guard = None
            sent, thrown = None, None
            try:
                sent = yield waited_for
                if attempt.must_wait:
                    yield from attempt.ready().__await__()
            except BaseException as error:
                if guard is not None and guard.is_over:
                    task.uncancel()
                    _abandon(coroutine)
                    raise
                thrown = error
    finally:
        if guard is not None:
            guard.dismiss()


class _Guard:
    """Wakes the task when the grace is over."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.is_over = False
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def allow(self, grace_us: int) -> None:
        """At most this much from now on."""
        until = self._loop.time() + grace_us / 1_000_000
        if self._timer is None or until < self._timer.when():
            self.dismiss()
            self._timer = self._loop.call_at(until, self._end)

    def dismiss(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _end(self) -> None:
        self.is_over = True
        self._task.cancel()


def _abandon(coroutine: Coroutine[Any, Any, Any]) -> None:
    try:
        coroutine.close()
    except BaseException:
        # One that refuses to be closed would be run once more when it is freed, at the latest by the interpreter's end,
        # which it could keep from ending: nobody ever gives this reference back.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(coroutine))
        raise NodeOrphaned(
            Failure(
                code="orphaned",
                message="the async function refused to be cancelled and is not run any further; "
                "what it held (connections, locks, tasks) may still be open",
                error_types=("orphaned",),
            )
        ) from None
