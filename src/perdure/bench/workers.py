"""The same backlog worked off by one process and by two: what the second one costs where it cannot help."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

from perdure.base.clock import from_rfc3339
from perdure.bench import flows
from perdure.bench.api_calls import call, get, put_flow, start_batch
from perdure.bench.figures import BenchFailed, Figure, Unit, percentile, spread
from perdure.bench.http_load import Connection, connect
from perdure.bench.workbench import Workbench

_AT_ONCE = 1_000
"""Executions of one request."""
_LOOK_EVERY_S = 0.25
_WITHIN_S = 120.0
_SLOTS = 100
"""Of a worker: executions that it begins together end together, and many small waves are measured better than few."""
_FROM, _TO = 0.1, 0.9
"""What ends in between counts: before, a process may still be starting, and in the end there is not enough for all."""


async def second_process(bench: Workbench) -> list[Figure]:
    """Ten-step chains that wait when the workers start; the server that took them does no work itself."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(bench.sizes.worker_rounds):
        for count, found in rates.items():
            bench.say(f"{bench.sizes.backlog:,} executions, {count} worker{'s' if count > 1 else ''}")
            found.append(flows.CHAIN_STEPS * await _executions_per_second(bench, workers=count))
    one, two = (spread(found).max for found in rates.values())
    return [
        Figure(
            name="two workers, of one worker's total",
            unit=Unit.TIMES,
            value=two / one,
            budget=bench.budgets.second_worker,
            note=f"a backlog of {bench.sizes.backlog:,} ten-step chains; {one:,.0f} steps/s by one, {two:,.0f} by two; "
            f"the best of {bench.sizes.worker_rounds}",
            details={"one_worker_per_s": rates[1], "two_workers_per_s": rates[2]},
        )
    ]


async def _executions_per_second(bench: Workbench, *, workers: int) -> float:
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(bench.place("workers"))
        server = await stack.enter_async_context(bench.serve(place, options=("--no-worker",)))
        await server.ready()
        connection = await connect(server.port)
        stack.callback(connection.close)
        await put_flow(connection, flows.CHAIN, flows.chain())
        for first in range(0, bench.sizes.backlog, _AT_ONCE):
            await start_batch(connection, flows.CHAIN, [{}] * min(_AT_ONCE, bench.sizes.backlog - first))
        options = ("--slots", str(_SLOTS))
        running = [await stack.enter_async_context(bench.worker(place, options=options)) for _ in range(workers)]
        until = time.monotonic() + _WITHIN_S
        while await _unfinished(connection):
            for worker in running:
                worker.check()
            if time.monotonic() > until:
                raise BenchFailed(f"{workers} workers did not end {bench.sizes.backlog} executions in {_WITHIN_S:g} s")
            await asyncio.sleep(_LOOK_EVERY_S)
        ended = sorted(await _ends(connection))
    if len(ended) != bench.sizes.backlog:
        raise BenchFailed(f"{len(ended)} of {bench.sizes.backlog} executions completed")
    between_us = max(percentile(ended, _TO) - percentile(ended, _FROM), 1)
    return (_TO - _FROM) * len(ended) * 1e6 / between_us


async def _unfinished(connection: Connection) -> bool:
    found = await call(connection, get("/executions", limit=1, status="queued,running"))
    return bool(found["data"])


async def _ends(connection: Connection) -> list[int]:
    """When each execution completed, in microseconds."""
    ends = []
    cursor = None
    while True:
        page = await call(connection, get("/executions", limit=_AT_ONCE, status="completed", cursor=cursor))
        ends += [from_rfc3339(one["finished_at"]) for one in page["data"]]
        cursor = page["next"]
        if cursor is None:
            return ends
