"""A server or a worker as this process: from its command to its exit code, through signals and replacements."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import sys
import time
from importlib.metadata import version

import structlog
import uvloop

from perdure.base.clock import SECOND
from perdure.ending import ending_surely
from perdure.log import configure_logging, is_for_people, steady_streams
from perdure.nodes.attempt_threads import AttemptThreads
from perdure.process import Command, Handover, StopSignals, taken_over
from perdure.recycler import Recycler
from perdure.server import Server
from perdure.settings import ServerSettings

STOP_S = 30.0
"""Seconds in which a server has to be gone, besides the drain time and the grace."""
HURRY_S = 10.0
"""Seconds in which a server that was told twice to stop has to be gone."""

_log = structlog.get_logger(__name__)


def serve(settings: ServerSettings, *, is_worker: bool = False) -> int:
    """Run a server, or a worker without an API, until SIGTERM, SIGINT or SIGHUP; the exit code.

    A second signal hurries, a third one ends at once. SIGHUP comes when the terminal is closed, and counts once.
    When work that cannot be stopped stays, the process drains and runs its command anew (`Recycler`).
    """
    began = time.monotonic()
    handover = taken_over(os.environ)
    command = Command.of_this_process()
    steady_streams()
    configure_logging(settings)
    _allow_many_connections()
    with ending_surely() as ending, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_serve(settings, began, command, handover, is_worker=is_worker))
        ending(code)
        return code


async def _serve(
    settings: ServerSettings, began: float, command: Command, handover: Handover | None, *, is_worker: bool
) -> int:
    asyncio.get_running_loop().set_default_executor(AttemptThreads())
    signals = StopSignals()
    server = Server(settings, handover=handover, is_worker=is_worker)
    starting = asyncio.ensure_future(server.start())
    await signals.wait_beside(starting)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return 0
    await starting
    spare_the_collector()
    await _tell_ready(server, time.monotonic() - began)
    successor = await _due_or_told(server, signals, None if handover is None else handover.at)
    _log.info("draining", drain_s=settings.drain / 1e6)
    stopping = asyncio.ensure_future(server.stop())
    within_s = (settings.drain + settings.grace) / SECOND + STOP_S
    await signals.wait_beside(stopping, within_s=within_s)
    if successor is not None:
        if not signals.count and await signals.released():
            _tell_how_it_stopped(stopping)
            command.replace_process(successor)
        signals.take()
        if successor.listening is not None:
            os.close(successor.listening)
        await signals.wait_beside(stopping, within_s=within_s)
    if stopping.done():
        await stopping
        return 0
    _log.warning("not waiting for running attempts: told again to stop, or they take too long")
    try:
        async with asyncio.timeout(HURRY_S):
            await server.stop(drain=False)
    except TimeoutError:
        _log.error("attempts would not stop in time; what they belong to is recovered at the next start")
        return 1
    return 0


def _tell_how_it_stopped(stopping: asyncio.Future[None]) -> None:
    """A stop that hangs or fails does not keep the process from being replaced: to the next it looks like a crash."""
    if not stopping.done():
        _log.error("the server would not stop in time; what it still ran is recovered at the next start")
    elif (error := stopping.exception()) is not None:
        _log.error("the server did not stop well; what it still ran is recovered at the next start", exc_info=error)


async def _due_or_told(server: Server, signals: StopSignals, last_at: int | None) -> Handover | None:
    """Until a signal comes (None), or the process is to be replaced (with what the next one is left)."""
    settings = server.settings
    recycler = Recycler(
        server.engine.orphans, server.clock, after=settings.recycle_after, pause=settings.recycle_pause, last_at=last_at
    )
    due = asyncio.ensure_future(recycler.due())
    await signals.wait_beside(due)
    if not due.done():
        due.cancel()
        return None
    living = due.result()
    _log.warning(
        "this process replaces itself: work that could not be stopped lives on in it",
        living=len(living), execution=living[0].execution, node=living[0].node,
    )  # fmt: skip
    return server.leave_to_successor()


def spare_the_collector() -> None:
    """What was loaded at start stays; and executions' objects are mostly freed without the collector's help."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _tell_ready(server: Server, seconds: float) -> None:
    if server.is_worker:
        _tell_ready_to_work(server, seconds)
        return
    flows = await server.engine.store.flows.list("default", limit=1_000)
    is_open = await server.services.authority.is_open()
    access = "open to this machine: no token was made yet" if is_open else "tokens needed"
    if not is_for_people(server.settings):
        _log.info(
            "ready", version=version("perdure"), url=server.url, after_s=round(seconds, 3),
            store=server.settings.store_shown(), flows=len(flows), access=access,
        )  # fmt: skip
        return
    sys.stderr.write(
        f"perdure {version('perdure')} ready at {server.url} after {seconds:.2f} s\n"
        f"  store  {server.settings.store_shown()}\n"
        f"  flows  {len(flows)}{'+' if len(flows) == 1_000 else ''}\n"
        f"  access {access}\n"
        f"  docs   {server.url}/docs\n"
    )
    sys.stderr.flush()


def _tell_ready_to_work(server: Server, seconds: float) -> None:
    settings, worker = server.settings, server.engine.worker
    queues = "all" if worker.queues is None else ", ".join(worker.queues)
    if not is_for_people(settings):
        _log.info(
            "ready", version=version("perdure"), url=server.url or None, worker=worker.id, name=worker.name,
            after_s=round(seconds, 3),
            store=settings.store_shown(), queues=queues, slots=worker.slots, tags=list(worker.tags),
        )  # fmt: skip
        return
    sys.stderr.write(
        f"perdure {version('perdure')} ready to work after {seconds:.2f} s\n"
        f"  store  {settings.store_shown()}\n"
        f"  worker {worker.name}\n"
        f"  queues {queues}\n"
        f"  slots  {worker.slots}\n" + (f"  health {server.url}/health/ready\n" if server.url else "")
    )
    sys.stderr.flush()


def _allow_many_connections() -> None:
    """Raise the soft limit of open files to the hard one: every event stream is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
