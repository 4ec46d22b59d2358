"""Running user code in a thread of the engine, which nobody can kill."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import threading
from collections.abc import Callable
from typing import Any

from perdure.errors import ControlFlow
from perdure.model.failure import Failure
from perdure.nodes.interface import Call, NodeOrphaned


class ThreadStopped(ControlFlow):
    """Thrown into a thread whose attempt is cancelled; it is seen at the next Python instruction."""


async def run_in_thread(work: Callable[[], Any], call: Call) -> Any:
    """The work's result.

    When cancelled, it asks the thread to end and waits for the grace; NodeOrphaned says that the
    thread is still running then (it waits in C code, or swallowed the request).
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def body() -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = context.run(work)
        except StopIteration as stop:
            error = RuntimeError(f"the function raised StopIteration: {stop.value!r}")
        except BaseException as raised:
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    # A daemon, so that an orphan does not keep the engine's process from ending.
    thread = threading.Thread(target=body, name="perdure-node", daemon=True)
    thread.start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        if done.done():
            raise
    await _end(thread, done, call)
    raise asyncio.CancelledError


async def _end(thread: threading.Thread, done: asyncio.Future[Any], call: Call) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + call.grace_us / 1_000_000
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(ThreadStopped))
    while not done.done() and (left := deadline - loop.time()) > 0:
        try:
            await asyncio.wait({done}, timeout=left)
        except asyncio.CancelledError:
            # Cancelled again: it may be given less grace, but must not be called dead before it is.
            deadline = min(deadline, loop.time() + call.grace_us / 1_000_000)
    if not done.done():
        raise NodeOrphaned(
            Failure(
                code="orphaned",
                message="the thread did not end within its grace and may still be running; "
                "use isolation: process for code that must be stoppable",
                error_types=("orphaned",),
            )
        )
    done.exception()
