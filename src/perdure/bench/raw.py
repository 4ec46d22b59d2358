"""The raw limits of the machine, each measured once, when the first bench asks for it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from perdure.bench.figures import RawLimit, Spread, spread
from perdure.bench.http_load import Load, connect, make_load, request_bytes
from perdure.bench.processes import bare_server
from perdure.bench.sizes import Sizes
from perdure.store.probes import Probes

BATCHES = (100, 1_000)
_TASKS = 1_000
_REQUEST = request_bytes("POST", "/", body=b'{"flow": "bench/one-step", "input": {}}')


class RawLimits:
    """Figures without us: the database and its disk, the loop, the HTTP server."""

    def __init__(self, sizes: Sizes, *, probes: Probes, bytecode: Path) -> None:
        self._sizes = sizes
        self._probes = probes
        self._bytecode = bytecode
        self._commits: Spread | None = None
        self._executions: dict[int, float] = {}
        self._steps: dict[int, float] = {}
        self._tasks: float | None = None
        self._http: tuple[Load, Load] | None = None
        self._bare_start: tuple[float, float] | None = None

    async def commits(self) -> Spread:
        """Milliseconds of durable one-row transactions, one at a time."""
        if self._commits is None:
            latencies = await self._probes.commit_latencies(seconds=self._sizes.probe_s)
            self._commits = spread(latencies, scale=1e-3)
        return self._commits

    async def executions_per_second(self, batch: int) -> float:
        """Rows of one-step executions, `batch` executions in a transaction."""
        if batch not in self._executions:
            rate = await self._probes.executions_per_second(batch=batch, seconds=self._sizes.probe_s)
            self._executions[batch] = rate
        return self._executions[batch]

    async def steps_per_second(self, batch: int) -> float:
        """Rows of single steps, `batch` steps in a transaction."""
        if batch not in self._steps:
            self._steps[batch] = await self._probes.steps_per_second(batch=batch, seconds=self._sizes.probe_s)
        return self._steps[batch]

    async def tasks_per_second(self) -> float:
        """Asyncio tasks that do nothing, begun a thousand at a time and awaited."""
        if self._tasks is None:
            done, began = 0, time.perf_counter()
            elapsed = 0.0
            while elapsed < self._sizes.probe_s:
                await asyncio.gather(*(asyncio.create_task(_nothing()) for _ in range(_TASKS)))
                done += _TASKS
                elapsed = time.perf_counter() - began
            self._tasks = done / elapsed
        return self._tasks

    async def http(self) -> tuple[Load, Load]:
        """A fixed answer from uvicorn and Starlette in another process: with many requests in flight, and with one."""
        if self._http is None:
            async with bare_server(bytecode=self._bytecode) as server:
                many = await _load(server.port, in_flight=self._sizes.in_flight, seconds=self._sizes.probe_s)
                one = await _load(server.port, in_flight=1, seconds=self._sizes.probe_s)
            self._http = (many, one)
        return self._http

    async def bare_start(self) -> tuple[float, float]:
        """Of a process with uvicorn and Starlette alone: seconds until it answers, and its memory in MB."""
        if self._bare_start is None:
            starts = []
            memory_mb = 0.0
            for _ in range(self._sizes.starts + 1):
                began = time.perf_counter()
                async with bare_server(bytecode=self._bytecode) as server:
                    starts.append(time.perf_counter() - began)
                    memory_mb = server.tree().memory().rss_mb
            self._bare_start = (spread(starts[1:]).p50, memory_mb)
        return self._bare_start

    async def request_limit(self) -> RawLimit:
        many, _ = await self.http()
        return RawLimit("bare HTTP requests", many.per_second)


async def _nothing() -> None:
    return None


async def _load(port: int, *, in_flight: int, seconds: float) -> Load:
    connection = await connect(port)
    await connection.request(_REQUEST)
    connection.close()
    return await make_load(port, _REQUEST, expect=b"completed", in_flight=in_flight, seconds=seconds)
