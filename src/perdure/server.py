"""Puts everything together: store, engine and API in one process, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import os
import resource
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Self

import msgspec
import structlog
import uvloop

from perdure.api.app import Api
from perdure.api.feed import Feed
from perdure.api.frames import Frames
from perdure.api.listener import Listener
from perdure.api.metrics import Family, Metrics, Sample, histogram
from perdure.api.openapi import openapi_bytes
from perdure.api.routes import HEALTH_ROUTES, ROUTES
from perdure.api.services import About, Services
from perdure.api.streaming import Streams
from perdure.auth.authority import Authority
from perdure.base.clock import SECOND, Clock, SystemClock
from perdure.ending import ending_surely
from perdure.engine.engine import Engine
from perdure.engine.secrets import read_secrets
from perdure.errors import AddressUnavailable, InsecureAddress, InvalidSettings, StoreError
from perdure.nodes.attempt_threads import AttemptThreads
from perdure.process import Command, Handover, StopSignals, taken_over
from perdure.recycler import Recycler
from perdure.settings import DEFAULT_PORT, ServerSettings
from perdure.store.interface import BatchOutcome, Store
from perdure.store.postgres.examining import Examination, examine_database
from perdure.store.recorder import COMMIT_BUCKETS_S, Recorder, RecorderStats
from perdure.store.sqlite.connection import integrity_problems, refuse_unsafe_library, sqlite_version
from perdure.stores import OpenStore, opened_store

__all__ = [
    "Examination",
    "Server",
    "ServerSettings",
    "examine_database",
    "integrity_problems",
    "local_engine",
    "local_store",
    "refuse_unsafe_library",
    "serve",
    "sqlite_version",
]

STOP_S = 30.0
"""Seconds in which a server has to be gone, besides the drain time and the grace."""
HURRY_S = 10.0
"""Seconds in which a server that was told twice to stop has to be gone."""

_WORKER_ALONE = (
    "the store {store} belongs to one process, which is its server and its worker: a worker beside it needs a store "
    "that processes share; give --store postgresql://… to all of them"
)

_log = structlog.get_logger(__name__)


class Server:
    """A whole perdure in this process: `async with Server(settings) as server: server.url`."""

    def __init__(
        self,
        settings: ServerSettings,
        *,
        clock: Clock | None = None,
        handover: Handover | None = None,
        is_worker: bool = False,
    ) -> None:
        """`is_worker`: without the API; it tells of its own health alone, and that where a port is given."""
        self.settings = settings
        self.is_worker = is_worker
        self._handover = handover
        self.clock: Clock = clock or SystemClock()
        self.url = ""
        self.engine: Engine
        self.services: Services
        self._opened: OpenStore
        self._listener: Listener | None = None
        self._metrics = Metrics()
        self._undo = contextlib.AsyncExitStack()
        self._stopping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Ready to be called when it returns.

        Raises StoreLocked, StoreDamaged, StoreIncompatible; AddressUnavailable; InsecureAddress when it would
        listen beyond loopback without any token made.
        """
        try:
            await self._start()
        except BaseException:
            await self._undo.aclose()
            raise

    async def stop(self, *, drain: bool = True) -> None:
        """Take no more work, let running attempts end (with `drain`), hand the rest back, and close everything.

        Called again meanwhile, it waits for the same end; without `drain`, that one hurries.
        """
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop(drain=drain))
        elif not drain:
            await self._stop_engine(drain=False)
        await asyncio.shield(self._stopping)

    async def _stop(self, *, drain: bool) -> None:
        await self._stop_engine(drain=drain)
        await self._undo.aclose()

    def leave_to_successor(self) -> Handover:
        """Keep the address beyond `stop`, for what takes this process's place; callers wait meanwhile."""
        before = self._handover
        return Handover(
            pid=os.getpid(),
            times=1 if before is None else before.times + 1,
            at=self.clock.monotonic(),
            host=self.settings.host,
            port=self._port,
            listening=None if self._listener is None else self._listener.duplicate(),
        )

    async def _stop_engine(self, *, drain: bool) -> None:
        try:
            await self.engine.stop(drain=drain)
        except StoreError:
            # Its last words could not be written: the next start finds its executions by its silence.
            _log.warning("the store did not take the goodbye", exc_info=True)

    async def _start(self) -> None:
        settings = self.settings
        loopback = _is_loopback(settings.host)
        if self.is_worker and settings.shared_store() is None:
            raise InvalidSettings(_WORKER_ALONE.format(store=settings.store_shown()))
        opening = opened_store(settings, waits=None if self._handover is None else self.clock)
        self._opened = await self._undo.enter_async_context(opening)
        authority = Authority(self._opened.store.tokens, self.clock)
        listens = not self.is_worker or settings.port is not None
        if listens and not loopback and await authority.is_open():
            raise InsecureAddress(
                f"{settings.host} can be reached from other machines and no token was made yet: make one with "
                "`perdure token create`, or listen on 127.0.0.1"
            )
        if listens:
            self._listener = self._bound()
            self._undo.push_async_callback(self._listener.close)
        self.engine = self._engine()
        self.services = self._services(authority, About(
            url=self.url, loopback=loopback, started_at=self.clock.now(),
            recycles=0 if self._handover is None else self._handover.times,
        ))  # fmt: skip
        self._undo.push_async_callback(self.services.streams.close)
        try:
            await self.engine.start()
        except BaseException:
            await self.engine.stop(drain=False)
            raise
        if self._listener is not None:
            await self._listener.start(Api(HEALTH_ROUTES if self.is_worker else ROUTES, self.services))
            self._opened.set_url(self.url)
            self._undo.callback(self._opened.set_url, None)

    @property
    def _port(self) -> int:
        return DEFAULT_PORT if self.settings.port is None else self.settings.port

    def _bound(self) -> Listener:
        """The address is taken before anything is recovered, so that a busy port costs nothing."""
        settings = self.settings
        listener = Listener(host=settings.host, port=self._port)
        adopted = None if self._handover is None else self._handover.adopt(settings.host, self._port)
        try:
            listener.bind(adopted)
        except OSError as error:
            where = f"{settings.host}:{self._port}"
            raise AddressUnavailable(f"cannot listen on {where}: {error.strerror or error}") from None
        self.url = _url(settings.host, listener.port)
        return listener

    def _engine(self) -> Engine:
        def listen(outcome: BatchOutcome) -> None:
            self._metrics.committed(outcome.chunks)
            engine.on_batch(outcome)

        settings = self.settings.engine_settings()
        if self.is_worker:
            settings = msgspec.structs.replace(settings, works=True, puts_flows=False)
        engine = Engine(
            store=self._opened.store,
            recorder=Recorder(self._opened.store, listener=listen),
            clock=self.clock,
            settings=settings,
            secrets=read_secrets(os.environ),
            artifacts=self._opened.artifacts,
        )
        return engine

    def _services(self, authority: Authority, about: About) -> Services:
        metrics = self._metrics
        metrics.sources.append(lambda: _commit_families(self.engine.recorder.stats))
        return Services(
            engine=self.engine,
            files=self.engine.artifacts,
            authority=authority,
            streams=Streams(
                authority=authority, clock=self.clock, metrics=metrics, limits=self.settings.stream_limits()
            ),
            feed=Feed(self._opened.store, self.engine.hub),
            frames=Frames(),
            metrics=metrics,
            clock=self.clock,
            about=about,
            openapi=cache(lambda: openapi_bytes(ROUTES)),
        )


@contextlib.asynccontextmanager
async def local_store(settings: ServerSettings) -> AsyncIterator[tuple[Store, Recorder]]:
    """The store without an engine (`perdure token`). Raises StoreLocked and the like."""
    async with opened_store(settings) as opened:
        recorder = Recorder(opened.store)
        try:
            yield opened.store, recorder
        finally:
            await recorder.close()


@contextlib.asynccontextmanager
async def local_engine(settings: ServerSettings, *, module_folders: Sequence[Path] = ()) -> AsyncIterator[Engine]:
    """The engine on the local store without an API (`perdure run`): it claims only what it is told to.

    `module_folders` are where Python nodes find their modules beside the flow folders. Raises StoreLocked and the like.
    """

    def listen(outcome: BatchOutcome) -> None:
        engine.on_batch(outcome)

    async with opened_store(settings) as opened:
        chosen = msgspec.structs.replace(settings.engine_settings(), claim=False, works=True)
        engine = Engine(
            store=opened.store,
            recorder=Recorder(opened.store, listener=listen),
            clock=SystemClock(),
            settings=chosen,
            secrets=read_secrets(os.environ),
            artifacts=opened.artifacts,
        )
        await engine.start()
        try:
            engine.runtime.set_flow_folders([*map(str, module_folders), *engine.runtime.flow_folders])
            yield engine
        finally:
            await engine.stop()


def _commit_families(stats: RecorderStats) -> list[Family]:
    """What the recorder counts; here, since the API does not know the recorder."""
    counters = (
        ("commits", "Committed batches.", stats.batches),
        ("advances", "Advances of executions that were committed.", stats.advances),
        ("commands", "Commands that were committed.", stats.commands),
        ("advances_lost", "Advances dropped because their lease was lost.", stats.lost),
        ("entries_refused", "Entries that the database refused.", stats.refused),
        ("commit_failures", "Batches that could not be committed.", stats.failures),
    )
    commit_seconds = histogram({}, COMMIT_BUCKETS_S, stats.commit_counts, stats.commit_s_sum)
    return [
        *(Family(f"perdure_{name}", "counter", help, [Sample("_total", {}, count)]) for name, help, count in counters),
        Family("perdure_commit_seconds", "histogram", "Time of a batch from its begin to its fsync.", commit_seconds),
    ]


def serve(settings: ServerSettings, *, is_worker: bool = False) -> int:
    """Run a server, or a worker without an API, until SIGTERM or SIGINT; the exit code. A second signal hurries, a third one ends at once.

    When work that cannot be stopped stays, the process drains and runs its command anew (`Recycler`).
    """
    began = time.monotonic()
    handover = taken_over(os.environ)
    command = Command.of_this_process()
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
    _spare_the_collector()
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


def _spare_the_collector() -> None:
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
    if not _logs_are_for_people(server.settings):
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
    if not _logs_are_for_people(settings):
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


# Without the frames' variables: these hold tokens and inputs, and take seconds to print where they are large.
_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
)


def configure_logging(settings: ServerSettings) -> None:
    """Logs on stderr: for people on a terminal, one JSON object a line elsewhere."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    is_console = _logs_are_for_people(settings)
    stamps = structlog.processors.TimeStamper(fmt="iso", utc=True)
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty() and "NO_COLOR" not in os.environ,
            exception_formatter=structlog.dev.plain_traceback,
        )
        if is_console
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            stamps,
            *([] if is_console else [_TRACEBACKS]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    if not is_console:
        # What libraries log is one JSON object a line too.
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, stamps],
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _TRACEBACKS, renderer],
            )
        )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING))
    # What http nodes fetch is told by their events.
    for chatty in ("httpx2", "watchfiles"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _logs_are_for_people(settings: ServerSettings) -> bool:
    return settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())


def _allow_many_connections() -> None:
    """Raise the soft limit of open files to the hard one: every event stream is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _is_loopback(host: str) -> bool:
    """Whether every address of the name is this machine's own interface."""
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise AddressUnavailable(f"{host!r} is no address: {error.strerror or error}") from None
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in addresses)


def _url(host: str, port: int) -> str:
    """An address at which this machine reaches the server."""
    if host in {"", "0.0.0.0"}:
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
