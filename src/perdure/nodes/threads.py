"""Running user code in a thread of the engine, which nobody can kill."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from perdure.errors import ControlFlow
from perdure.model.failure import Failure
from perdure.nodes.interface import Call, NodeOrphaned
from perdure.nodes.local_attempt import LocalAttempt


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
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(ThreadStopped))
    since = asyncio.get_running_loop().time()
    # However late it ends, nobody asks any more what became of it.
    done.add_done_callback(lambda ended: ended.exception())
    if not await _ends_in_grace(done, lambda: call.grace_us, since=since):
        raise _orphaned("the thread", lives=thread.is_alive)


async def end_threads(attempt: LocalAttempt) -> None:
    """Returns when nothing runs any more in threads that a stopped inline attempt had the loop run.

    What has not begun never begins. Raises NodeOrphaned when some do not end within what is left of the grace.
    """
    running = [future for future in attempt.threads.copy() if not future.cancel()]
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def look() -> None:
        if not done.done() and all(future.done() for future in running):
            done.set_result(None)

    def one_ended(future: Future[Any]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(look)

    for future in running:
        future.add_done_callback(one_ended)
    look()
    since = loop.time() if attempt.stopping_since is None else attempt.stopping_since
    if not await _ends_in_grace(done, lambda: attempt.grace_us, since=since):
        lives = lambda: not all(future.done() for future in running)  # noqa: E731
        raise _orphaned("a thread of the async function (asyncio.to_thread)", lives=lives)


async def _ends_in_grace(done: asyncio.Future[Any], grace_us: Callable[[], int], *, since: float) -> bool:
    loop = asyncio.get_running_loop()
    deadline = since + grace_us() / 1_000_000
    while not done.done() and (left := deadline - loop.time()) > 0:
        try:
            await asyncio.wait({done}, timeout=left)
        except asyncio.CancelledError:
            # Cancelled again: it may be given less grace, but must not be called dead before it is.
            deadline = min(deadline, loop.time() + grace_us() / 1_000_000)
    return done.done()


def _orphaned(what: str, *, lives: Callable[[], bool]) -> NodeOrphaned:
    return NodeOrphaned(
        Failure(
            code="orphaned",
            message=f"{what} did not end within its grace and may still be running; "
            "use isolation: process for code that must be stoppable",
            error_types=("orphaned",),
        ),
        lives=lives,
    )
