"""One-step executions per second, in process and over HTTP."""

from __future__ import annotations

from functools import partial

from perdure.bench import budgets, flows
from perdure.bench.api_calls import call, put_flow, start_request
from perdure.bench.embedded import embedded, finished_per_second
from perdure.bench.figures import Figure, RawLimit, Unit, spread
from perdure.bench.http_load import connect, make_load
from perdure.bench.raw import BATCHES
from perdure.bench.workbench import Workbench

WAIT_S = 30


async def in_process(bench: Workbench) -> list[Figure]:
    """Started and awaited on the engine's own loop."""
    sizes = bench.sizes
    async with embedded(bench) as house:
        await house.put(flows.one_step())
        await finished_per_second(house, flows.ONE_STEP, in_flight=sizes.in_flight, seconds=sizes.probe_s)
        rate = await finished_per_second(house, flows.ONE_STEP, in_flight=sizes.in_flight, seconds=sizes.load_s)
        await house.check()
    raw = {batch: bench.raw.executions_per_second(batch) for batch in BATCHES}
    return [
        Figure(
            name="one-step executions, in process",
            unit=Unit.PER_SECOND,
            value=rate,
            budget=budgets.ONE_STEP_IN_PROCESS,
            raw=RawLimit("inserts of the same rows, 100 executions a commit", raw[100]),
            note=f"{sizes.in_flight} in flight",
            details={"raw_batch_of_1000_per_s": raw[1000], "fsync_per_s": 1000 / bench.raw.commits().p50},
        )
    ]


async def over_http(bench: Workbench) -> list[Figure]:
    """`perdure serve` in a process of its own, asked with `Prefer: wait` from here."""
    sizes = bench.sizes
    request = start_request(flows.ONE_STEP, wait_s=WAIT_S)
    with bench.folder("http") as home:
        async with bench.serve(home) as server:
            await server.ready()
            connection = await connect(server.port)
            await put_flow(connection, flows.ONE_STEP, flows.one_step())
            await call(connection, request)
            connection.close()
            load = partial(make_load, server.port, request, expect=b'"status":"completed"', in_flight=sizes.in_flight)
            await load(seconds=sizes.probe_s)
            measured = await load(seconds=sizes.load_s)
    answers = spread(measured.latencies_us, scale=1e-3)
    return [
        Figure(
            name="one-step executions, over HTTP",
            unit=Unit.PER_SECOND,
            value=measured.per_second,
            budget=budgets.ONE_STEP_OVER_HTTP,
            raw=await bench.raw.request_limit(),
            note=f"{sizes.in_flight} in flight, Prefer: wait",
            details={"answer_p50_ms": answers.p50, "answer_p99_ms": answers.p99},
        )
    ]
