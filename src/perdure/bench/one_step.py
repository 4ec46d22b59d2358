"""One-step executions per second, in process and over HTTP."""

from __future__ import annotations

from functools import partial

from perdure.bench import flows
from perdure.bench.api_calls import call, put_flow, start_request
from perdure.bench.batches import metered
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
        async with metered(bench.probes, house) as cost:
            load = await finished_per_second(house, flows.ONE_STEP, in_flight=sizes.in_flight, seconds=sizes.load_s)
        await house.check()
    raw = {batch: await bench.raw.executions_per_second(batch) for batch in BATCHES}
    commits = await bench.raw.commits()
    return [
        Figure(
            name="one-step executions, in process",
            unit=Unit.PER_SECOND,
            value=load.per_second,
            budget=bench.budgets.one_step_in_process,
            raw=RawLimit("inserts of the same rows, 100 executions a commit", raw[100]),
            note=f"{sizes.in_flight} in flight; {cost.words('execution', load.finished)}",
            details={
                "raw_batch_of_1000_per_s": raw[1000],
                "raw_commits_per_s": 1000 / commits.p50,
                **cost.details("execution", load.finished),
            },
        )
    ]


async def over_http(bench: Workbench) -> list[Figure]:
    """`perdure serve` in a process of its own, asked with `Prefer: wait` from here."""
    sizes = bench.sizes
    request = start_request(flows.ONE_STEP, wait_s=WAIT_S)
    async with bench.place("http") as place, bench.serve(place) as server:
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
            budget=bench.budgets.one_step_over_http,
            raw=await bench.raw.request_limit(),
            note=f"{sizes.in_flight} in flight, Prefer: wait",
            details={"answer_p50_ms": answers.p50, "answer_p99_ms": answers.p99},
        )
    ]
