"""A whole server within the bench's own process, and executions started and awaited in it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from perdure.base.clock import MINUTE
from perdure.bench.figures import BenchFailed
from perdure.bench.flows import MEDIA_TYPE
from perdure.bench.workbench import Place, Workbench
from perdure.engine.engine import Engine
from perdure.engine.requests import StartRequest
from perdure.model.states import ExecutionStatus
from perdure.server import Server
from perdure.settings import ServerSettings
from perdure.store.interface import ExecutionFilter
from perdure.store.records import Started

WORKSPACE = "default"
_PATIENCE = MINUTE


class Embedded:
    """The server's engine, as a program that has it in its own process would use it."""

    def __init__(self, server: Server) -> None:
        self.engine: Engine = server.engine
        self.url: str = server.url
        self._finished: dict[str, int] = {}

    async def put(self, document: bytes) -> None:
        await self.engine.catalog.put(WORKSPACE, document, media_type=MEDIA_TYPE)

    async def start(self, flow: str, input_: Any = None) -> Started:
        request = StartRequest(workspace=WORKSPACE, flow=flow, input={} if input_ is None else input_)
        [started] = await self.engine.start_executions([request])
        if not isinstance(started, Started):
            raise BenchFailed(f"a start was refused: {started}")
        return started

    async def finish(self, flow: str, input_: Any = None) -> bytes:
        """Start one execution and return its id when it has ended."""
        started = await self.start(flow, input_)
        is_fresh = started.status is ExecutionStatus.RUNNING
        if not await self.engine.wait_ended(WORKSPACE, started.id, _PATIENCE, is_fresh=is_fresh):
            raise BenchFailed(f"an execution of {flow} did not end within a minute")
        self._finished[flow] = self._finished.get(flow, 0) + 1
        return started.id

    async def check(self) -> None:
        """Raises BenchFailed unless the store holds exactly what was finished, all of it completed."""
        for flow, finished in self._finished.items():
            completed = ExecutionFilter(flow=flow, statuses=(ExecutionStatus.COMPLETED,))
            stored = await self.engine.store.executions.count(WORKSPACE, completed)
            if stored != finished:
                raise BenchFailed(f"{finished} executions of {flow} ended, {stored} completed")


@asynccontextmanager
async def embedded(bench: Workbench) -> AsyncIterator[Embedded]:
    """A server with the settings that `perdure serve` has when none are given, on a store of its own."""
    async with bench.place("embedded") as place, in_this_process(place) as house:
        yield house


@asynccontextmanager
async def in_this_process(place: Place) -> AsyncIterator[Embedded]:
    """The same on a store that others may have too."""
    async with Server(ServerSettings(home=place.home, port=0, store=place.store)) as server:
        yield Embedded(server)


class Finished(NamedTuple):
    finished: int
    elapsed_s: float
    """Until the last one was."""

    @property
    def per_second(self) -> float:
        return self.finished / self.elapsed_s


async def finished_per_second(house: Embedded, flow: str, *, in_flight: int, seconds: float) -> Finished:
    """Keep that many executions going for so long."""
    began = time.perf_counter()
    until = began + seconds
    finished = 0

    async def keep_going() -> None:
        nonlocal finished
        while time.perf_counter() < until:
            await house.finish(flow)
            finished += 1

    await asyncio.gather(*(keep_going() for _ in range(in_flight)))
    return Finished(finished, time.perf_counter() - began)
