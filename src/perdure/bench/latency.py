"""From a start to its result, one execution at a time."""

from __future__ import annotations

import time

from perdure.bench import flows
from perdure.bench.api_calls import call, put_flow, start_request
from perdure.bench.embedded import WORKSPACE, embedded
from perdure.bench.figures import BenchFailed, Figure, RawLimit, Unit, spread
from perdure.bench.http_load import connect
from perdure.bench.one_step import WAIT_S
from perdure.bench.workbench import Workbench

_WARM = 20


async def in_process(bench: Workbench) -> list[Figure]:
    """Start, wait for the end, read the output."""
    times = []
    async with embedded(bench) as house:
        await house.put(flows.one_step())
        for _ in range(bench.sizes.latencies + _WARM):
            began = time.perf_counter()
            id_ = await house.finish(flows.ONE_STEP)
            payload = await house.engine.store.executions.payload(WORKSPACE, id_)
            output = None if payload is None else await house.engine.payload_text(payload.output)
            times.append(time.perf_counter() - began)
            if output != "{}":
                raise BenchFailed(f"the output is {output!r}, not the input")
        await house.check()
    taken = spread(times[_WARM:], scale=1e3)
    commits = await bench.raw.commits()
    return [
        Figure(
            name="submit → result, in process, p50",
            unit=Unit.MILLISECONDS,
            value=taken.p50,
            budget=bench.budgets.latency_in_process_ms,
            raw=RawLimit("one durable one-row commit, p50", commits.p50),
            note=f"one step, one at a time, {taken.count} times",
            details={"p99_ms": taken.p99, "max_ms": taken.max, "raw_commit_p99_ms": commits.p99},
        )
    ]


async def over_http(bench: Workbench) -> list[Figure]:
    """One request with `Prefer: wait`, on a kept connection, to a server in another process."""
    request = start_request(flows.ONE_STEP, wait_s=WAIT_S)
    times = []
    async with bench.place("http") as place, bench.serve(place) as server:
        await server.ready()
        connection = await connect(server.port)
        await put_flow(connection, flows.ONE_STEP, flows.one_step())
        for _ in range(bench.sizes.latencies + _WARM):
            began = time.perf_counter()
            answer = await call(connection, request, expect=(200,))
            times.append(time.perf_counter() - began)
            if answer["status"] != "completed" or answer["output"] != {}:
                raise BenchFailed(f"an execution ended as {answer['status']} with {answer['output']!r}")
        connection.close()
    taken = spread(times[_WARM:], scale=1e3)
    _, alone = await bench.raw.http()
    bare = spread(alone.latencies_us, scale=1e-3)
    commits = await bench.raw.commits()
    return [
        Figure(
            name="submit → result, over HTTP, p50",
            unit=Unit.MILLISECONDS,
            value=taken.p50,
            budget=bench.budgets.latency_over_http_ms,
            raw=RawLimit("one bare HTTP request and one durable commit, p50", bare.p50 + commits.p50),
            note=f"one step, one at a time, {taken.count} times",
            details={"p99_ms": taken.p99, "max_ms": taken.max, "raw_http_p50_ms": bare.p50},
        )
    ]
