"""Puts everything together: store, engine and API in one process, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from functools import cache
from typing import Self

import msgspec
import structlog

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
from perdure.base.clock import Clock, SystemClock
from perdure.engine.engine import Engine
from perdure.engine.secrets import read_secrets
from perdure.errors import AddressUnavailable, InsecureAddress, InvalidSettings, StoreError
from perdure.process import Handover
from perdure.settings import DEFAULT_PORT, ServerSettings
from perdure.store.interface import BatchOutcome
from perdure.store.recorder import COMMIT_BUCKETS_S, Recorder, RecorderStats
from perdure.stores import OpenStore, opened_store

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
        self._has_own_clock = clock is not None
        self.clock: Clock = clock or SystemClock()
        """The given one; else this machine's, or that of a store that is shared once it is open."""
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
        if not self._has_own_clock:
            self.clock = self._opened.clock
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
            feed=Feed(self._opened.store, self.engine.hub, self.clock),
            frames=Frames(),
            metrics=metrics,
            clock=self.clock,
            about=about,
            openapi=cache(lambda: openapi_bytes(ROUTES)),
        )


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
