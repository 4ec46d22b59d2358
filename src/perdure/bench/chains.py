"""Steps per second of ten-step chains, with many executions in flight."""

from __future__ import annotations

from perdure.bench import flows
from perdure.bench.batches import metered
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
        async with metered(bench.probes, house) as cost:
            load = await finished_per_second(house, flows.CHAIN, in_flight=sizes.chains_in_flight, seconds=sizes.load_s)
        await house.check()
    raw = {batch: await bench.raw.steps_per_second(batch) for batch in BATCHES}
    steps = load.finished * flows.CHAIN_STEPS
    return [
        Figure(
            name="steps of ten-step chains, in process",
            unit=Unit.PER_SECOND,
            value=load.per_second * flows.CHAIN_STEPS,
            budget=bench.budgets.chain_steps,
            raw=RawLimit("inserts of the same rows, 100 steps a commit", raw[100]),
            note=f"{sizes.chains_in_flight} executions in flight; {cost.words('step', steps)}",
            details={
                "executions_per_s": load.per_second,
                "raw_batch_of_1000_per_s": raw[1000],
                **cost.details("step", steps),
            },
        )
    ]
