"""Steps per second of ten-step chains, with many executions in flight."""

from __future__ import annotations

from perdure.bench import budgets, flows
from perdure.bench.embedded import embedded, finished_per_second
from perdure.bench.figures import Figure, RawLimit, Unit
from perdure.bench.raw import BATCHES
from perdure.bench.workbench import Workbench


async def in_process(bench: Workbench) -> list[Figure]:
    """Each step's result is durable before the next one begins."""
    sizes = bench.sizes
    async with embedded(bench) as house:
        await house.put(flows.chain())
        await finished_per_second(house, flows.CHAIN, in_flight=sizes.chains_in_flight, seconds=sizes.probe_s)
        rate = await finished_per_second(house, flows.CHAIN, in_flight=sizes.chains_in_flight, seconds=sizes.load_s)
        await house.check()
    raw = {batch: bench.raw.steps_per_second(batch) for batch in BATCHES}
    return [
        Figure(
            name="steps of ten-step chains, in process",
            unit=Unit.PER_SECOND,
            value=rate * flows.CHAIN_STEPS,
            budget=budgets.CHAIN_STEPS,
            raw=RawLimit("inserts of the same rows, 100 steps a commit", raw[100]),
            note=f"{sizes.chains_in_flight} executions in flight",
            details={"executions_per_s": rate, "raw_batch_of_1000_per_s": raw[1000]},
        )
    ]
