"""A thousand node runs at once, and the step that joins them."""

from __future__ import annotations

import time

from perdure.bench import flows
from perdure.bench.batches import metered
from perdure.bench.embedded import WORKSPACE, Embedded, embedded
from perdure.bench.figures import BenchFailed, Figure, RawLimit, Unit, spread
from perdure.bench.workbench import Workbench


async def in_process(bench: Workbench) -> list[Figure]:
    """From the start to the end of the execution; the median of several."""
    sizes = bench.sizes
    items = {"items": list(range(sizes.fan_out))}
    times: list[float] = []
    ids: list[bytes] = []
    async with embedded(bench) as house:
        await house.put(flows.fan_out(sizes.fan_out))
        await house.finish(flows.FAN_OUT, items)
        async with metered(bench.probes, house) as cost:
            for _ in range(sizes.fan_out_rounds):
                began = time.perf_counter()
                ids.append(await house.finish(flows.FAN_OUT, items))
                times.append(time.perf_counter() - began)
        for id_ in ids:
            await _check_runs(house, id_, sizes.fan_out)
        await house.check()
    written_s = sizes.fan_out / await bench.raw.steps_per_second(1_000)
    tasks_s = sizes.fan_out / await bench.raw.tasks_per_second()
    taken = spread(times)
    return [
        Figure(
            name="fan-out and join",
            unit=Unit.SECONDS,
            value=taken.p50,
            budget=bench.budgets.fan_out_s,
            raw=RawLimit("inserts of the same rows in one commit, and as many bare tasks", written_s + tasks_s),
            note=f"{sizes.fan_out:,} async no-op node runs; median of {sizes.fan_out_rounds}; "
            f"{cost.words('execution', sizes.fan_out_rounds)}",
            details={
                "slowest_s": taken.max,
                "raw_inserts_s": written_s,
                "raw_tasks_s": tasks_s,
                **cost.details("execution", sizes.fan_out_rounds),
            },
        )
    ]


async def _check_runs(house: Embedded, id_: bytes, width: int) -> None:
    summary = await house.engine.store.node_runs.summary(WORKSPACE, id_)
    runs = {row["node"]: row["runs"] for row in summary}
    if runs != {"each": width, "join": 1}:
        raise BenchFailed(f"the fan-out recorded {runs}")
