"""Puts everything together: store, engine and API in one process, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import os
import resource
import signal
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
from perdure.api.routes import ROUTES
from perdure.api.services import About, Services
from perdure.api.streaming import Streams
from perdure.auth.authority import Authority
from perdure.base.clock import Clock, SystemClock
from perdure.engine.engine import Engine
from perdure.engine.secrets import read_secrets
from perdure.errors import AddressUnavailable, InsecureAddress, StoreError
from perdure.settings import ServerSettings
from perdure.store.interface import BatchOutcome, Store
from perdure.store.recorder import COMMIT_BUCKETS_S, Recorder, RecorderStats
from perdure.store.sqlite.connection import integrity_problems, refuse_unsafe_library, sqlite_version
from perdure.store.sqlite.store import SqliteStore

__all__ = [
    "Server",
    "ServerSettings",
    "integrity_problems",
    "local_engine",
    "local_store",
    "refuse_unsafe_library",
    "serve",
    "sqlite_version",
]

HURRY_S = 10.0
"""Seconds in which a server that was told twice to stop has to be gone."""

_log = structlog.get_logger(__name__)


class Server:
    """A whole perdure in this process: `async with Server(settings) as server: server.url`."""

    def __init__(self, settings: ServerSettings, *, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.url = ""
        self.engine: Engine
        self.services: Services
        self._store: SqliteStore
        self._listener: Listener
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

    async def _stop_engine(self, *, drain: bool) -> None:
        try:
            await self.engine.stop(drain=drain)
        except StoreError:
            # Its last words could not be written: the next start finds its executions by its silence.
            _log.warning("the store did not take the goodbye", exc_info=True)

    async def _start(self) -> None:
        settings = self.settings
        loopback = _is_loopback(settings.host)
        self._store = await asyncio.to_thread(SqliteStore, settings.store_path())
        self._undo.push_async_callback(self._store.close)
        authority = Authority(self._store.tokens, self.clock)
        if not loopback and await authority.is_open():
            raise InsecureAddress(
                f"{settings.host} can be reached from other machines and no token was made yet: make one with "
                "`perdure token create`, or listen on 127.0.0.1"
            )
        self._listener = self._bound()
        self._undo.push_async_callback(self._listener.close)
        self.engine = self._engine()
        self.services = self._services(authority, About(
            url=self.url, loopback=loopback, started_at=self.clock.now(),
        ))  # fmt: skip
        self._undo.push_async_callback(self.services.streams.close)
        try:
            await self.engine.start()
        except BaseException:
            await self.engine.stop(drain=False)
            raise
        await self._listener.start(Api(ROUTES, self.services))
        self._store.set_url(self.url)
        self._undo.callback(self._store.set_url, None)

    def _bound(self) -> Listener:
        """The address is taken before anything is recovered, so that a busy port costs nothing."""
        settings = self.settings
        listener = Listener(host=settings.host, port=settings.port)
        try:
            listener.bind()
        except OSError as error:
            where = f"{settings.host}:{settings.port}"
            raise AddressUnavailable(f"cannot listen on {where}: {error.strerror or error}") from None
        self.url = _url(settings.host, listener.port)
        return listener

    def _engine(self) -> Engine:
        def listen(outcome: BatchOutcome) -> None:
            self._metrics.committed(outcome.chunks)
            engine.on_batch(outcome)

        settings = self.settings.engine_settings()
        engine = Engine(
            store=self._store,
            recorder=Recorder(self._store, listener=listen),
            clock=self.clock,
            settings=settings,
            secrets=read_secrets(os.environ),
        )
        return engine

    def _services(self, authority: Authority, about: About) -> Services:
        metrics = self._metrics
        metrics.sources.append(lambda: _commit_families(self.engine.recorder.stats))
        return Services(
            engine=self.engine,
            files=self.engine.runtime.storage,
            authority=authority,
            streams=Streams(
                authority=authority, clock=self.clock, metrics=metrics, limits=self.settings.stream_limits()
            ),
            feed=Feed(self._store, self.engine.hub),
            frames=Frames(),
            metrics=metrics,
            clock=self.clock,
            about=about,
            openapi=cache(lambda: openapi_bytes(ROUTES)),
        )


@contextlib.asynccontextmanager
async def local_store(settings: ServerSettings) -> AsyncIterator[tuple[Store, Recorder]]:
    """The store on this machine without an engine (`perdure token`). Raises StoreLocked and the like."""
    store = await asyncio.to_thread(SqliteStore, settings.store_path())
    try:
        recorder = Recorder(store)
        try:
            yield store, recorder
        finally:
            await recorder.close()
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def local_engine(settings: ServerSettings, *, module_folders: Sequence[Path] = ()) -> AsyncIterator[Engine]:
    """The engine on the local store without an API (`perdure run`): it claims only what it is told to.

    `module_folders` are where Python nodes find their modules beside the flow folders. Raises StoreLocked and the like.
    """

    def listen(outcome: BatchOutcome) -> None:
        engine.on_batch(outcome)

    store = await asyncio.to_thread(SqliteStore, settings.store_path())
    try:
        chosen = msgspec.structs.replace(settings.engine_settings(), claim=False)
        engine = Engine(
            store=store,
            recorder=Recorder(store, listener=listen),
            clock=SystemClock(),
            settings=chosen,
            secrets=read_secrets(os.environ),
        )
        await engine.start()
        try:
            engine.runtime.set_flow_folders([*map(str, module_folders), *engine.runtime.flow_folders])
            yield engine
        finally:
            await engine.stop()
    finally:
        await store.close()


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


def serve(settings: ServerSettings) -> int:
    """Run a server until SIGTERM or SIGINT; the exit code. A second signal hurries, a third one ends at once."""
    began = time.monotonic()
    configure_logging(settings)
    _allow_many_connections()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, began))


async def _serve(settings: ServerSettings, began: float) -> int:
    signals = _Signals()
    server = Server(settings)
    starting = asyncio.ensure_future(server.start())
    await signals.wait_beside(starting)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return 0
    await starting
    _spare_the_collector()
    await _tell_ready(server, time.monotonic() - began)
    await signals.wait()
    _log.info("draining", drain_s=settings.drain / 1e6)
    stopping = asyncio.ensure_future(server.stop())
    await signals.wait_beside(stopping)
    if stopping.done():
        await stopping
        return 0
    _log.warning("told again to stop: not waiting for running attempts")
    try:
        async with asyncio.timeout(HURRY_S):
            await server.stop(drain=False)
    except TimeoutError:
        _log.error("attempts would not stop in time; what they belong to is recovered at the next start")
        return 1
    return 0


def _spare_the_collector() -> None:
    """What was loaded at start stays; and executions' objects are mostly freed without the collector's help."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


class _Signals:
    """SIGTERM and SIGINT, one after the other."""

    def __init__(self) -> None:
        self._came = asyncio.Event()
        self._count = 0
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._take)

    async def wait(self) -> None:
        """Until the next one."""
        await self._came.wait()
        self._came.clear()

    async def wait_beside(self, work: asyncio.Future[None]) -> None:
        """Until the next one or the end of the work, whichever is first."""
        waiting = asyncio.ensure_future(self.wait())
        await asyncio.wait({waiting, work}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    def _take(self) -> None:
        self._count += 1
        if self._count > 2:
            os._exit(130)
        self._came.set()


async def _tell_ready(server: Server, seconds: float) -> None:
    flows = await server.engine.store.flows.list("default", limit=1_000)
    is_open = await server.services.authority.is_open()
    access = "open to this machine: no token was made yet" if is_open else "tokens needed"
    sys.stderr.write(
        f"perdure {version('perdure')} ready at {server.url} after {seconds:.2f} s\n"
        f"  store  {server.settings.store_path()}\n"
        f"  flows  {len(flows)}{'+' if len(flows) == 1_000 else ''}\n"
        f"  access {access}\n"
        f"  docs   {server.url}/docs\n"
    )
    sys.stderr.flush()


def configure_logging(settings: ServerSettings) -> None:
    """Logs on stderr: for people on a terminal, one JSON object a line elsewhere."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    is_console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if is_console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if is_console else [structlog.processors.dict_tracebacks]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(stream=sys.stderr, level=max(level, logging.WARNING))
    # What http nodes fetch is told by their events.
    for chatty in ("httpx2", "watchfiles"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


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
