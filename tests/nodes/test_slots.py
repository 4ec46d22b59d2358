"""First come, first served, within a limit that may change."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.nodes.slots import Slots


async def test_no_more_than_the_limit_and_in_order() -> None:
    slots = Slots(2)
    begun: list[int] = []
    gates = [asyncio.Event() for _ in range(5)]

    async def use(number: int) -> None:
        async with slots:
            begun.append(number)
            await gates[number].wait()

    tasks = [asyncio.create_task(use(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert (begun, slots.used, slots.waiting) == ([0, 1], 2, 3)
    gates[1].set()
    await tasks[1]
    await asyncio.sleep(0)
    assert begun == [0, 1, 2]
    slots.resize(3)
    await asyncio.sleep(0)
    assert begun == [0, 1, 2, 3]
    tasks[4].cancel()
    for gate in gates:
        gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (slots.used, slots.waiting) == (0, 0)
    assert 4 not in begun


@given(st.integers(1, 3), st.lists(st.sampled_from(["enter", "leave", "cancel", "cancel late"]), max_size=30))
def test_no_slot_is_ever_lost(limit: int, steps: list[str]) -> None:
    async def scenario() -> None:
        slots = Slots(limit)
        inside: list[asyncio.Event] = []
        tasks: list[asyncio.Task[None]] = []

        async def use(gate: asyncio.Event) -> None:
            async with slots:
                inside.append(gate)
                assert len(inside) <= limit
                try:
                    await gate.wait()
                finally:
                    inside.remove(gate)

        for step in steps:
            if step == "enter":
                tasks.append(asyncio.create_task(use(asyncio.Event())))
            elif step == "leave" and inside:
                inside[0].set()
            elif step.startswith("cancel") and tasks:
                if step == "cancel late" and inside:
                    inside[0].set()
                    await asyncio.sleep(0)
                tasks[-1].cancel()
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (slots.used, slots.waiting) == (0, 0)

    asyncio.run(scenario())


async def test_a_slot_handed_to_a_cancelled_waiter_goes_on_to_the_next() -> None:
    slots = Slots(1)
    await slots.__aenter__()
    second = asyncio.create_task(slots.__aenter__())
    third = asyncio.create_task(slots.__aenter__())
    await asyncio.sleep(0)
    await slots.__aexit__()
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    await third
    assert slots.used == 1
