"""What `perdure serve` costs before anybody asks anything of it: its start, its memory, its processor time."""

from __future__ import annotations

import asyncio
import time

from perdure.bench.figures import Figure, RawLimit, Unit, spread
from perdure.bench.workbench import Workbench

_SETTLE_S = 1.0
"""For what the server still does behind its first answer, warm pools above all."""


async def starting(bench: Workbench) -> list[Figure]:
    """From the start of the process to the first 200 on /health/ready, the first one, which compiles and makes the store, apart."""
    times = []
    async with bench.place("start") as place:
        for _ in range(bench.sizes.starts + 1):
            began = time.perf_counter()
            async with bench.serve(place) as server:
                await server.ready()
                times.append(time.perf_counter() - began)
    again = spread(times[1:])
    bare_s, _ = await bench.raw.bare_start()
    return [
        Figure(
            name="serve: ready",
            unit=Unit.SECONDS,
            value=again.p50,
            budget=bench.budgets.ready_s,
            raw=RawLimit("uvicorn and Starlette alone", bare_s),
            note=f"process start to 200 on /health/ready; median of {again.count}",
            details={"first_start_s": times[0], "slowest_s": again.max},
        )
    ]


async def idling(bench: Workbench) -> list[Figure]:
    """With all its processes."""
    async with bench.place("idle") as place, bench.serve(place) as server:
        await server.ready()
        await asyncio.sleep(min(_SETTLE_S, bench.sizes.idle_s))
        tree = server.tree()
        used_s, began = tree.cpu_s(), time.perf_counter()
        await asyncio.sleep(bench.sizes.idle_s)
        cpu_percent = 100 * (tree.cpu_s() - used_s) / (time.perf_counter() - began)
        memory = tree.memory()
    _, bare_mb = await bench.raw.bare_start()
    counted = memory.rss_mb if memory.pss_mb is None else memory.pss_mb
    return [
        Figure(
            name="serve: idle memory",
            unit=Unit.MEGABYTES,
            value=counted,
            budget=bench.budgets.idle_memory_mb,
            raw=RawLimit("uvicorn and Starlette alone (RSS)", bare_mb),
            note=f"{'RSS' if memory.pss_mb is None else 'PSS'} of {memory.processes} processes",
            details={"rss_mb": memory.rss_mb, "pss_mb": memory.pss_mb, "processes": memory.processes},
        ),
        Figure(
            name="serve: idle CPU",
            unit=Unit.PERCENT,
            value=cpu_percent,
            budget=bench.budgets.idle_cpu_percent,
            note=f"of one core, all its processes, over {bench.sizes.idle_s:g} s",
        ),
    ]
