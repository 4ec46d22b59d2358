"""Flows are read once for all who ask, and no read brings back what was changed meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from perdure.base.clock import SECOND
from perdure.base.manual_clock import ManualClock
from perdure.engine.catalog import Catalog
from perdure.errors import FlowNotFound
from perdure.nodes.transform import TransformNode
from perdure.store.recorder import Recorder
from perdure.store.sqlite.store import SqliteStore
from tests.store import databases

WORKSPACE = "default"
FLOW = "default/one"
TYPES = {"transform": TransformNode()}


class CountedFlows:
    """A store's reads of flows, counted by name; while `gate` is closed their answers are kept back."""

    def __init__(self, flows: Any) -> None:
        self._flows = flows
        self.counted: Counter[str] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._flows, name)

        async def counted(*args: Any, **keywords: Any) -> Any:
            self.counted[name] += 1
            answer = await found(*args, **keywords)
            self.asked.set()
            await self.gate.wait()
            return answer

        return counted


class Desk:
    """Catalogs of several processes on one store."""

    def __init__(self, store: Any) -> None:
        self.clock = ManualClock()
        self.flows = CountedFlows(store.flows)
        store.flows = self.flows
        self._store = store
        self.recorder = Recorder(store)

    def catalog(self) -> Catalog:
        return Catalog(store=self._store, recorder=self.recorder, clock=self.clock, node_types=TYPES)


@asynccontextmanager
async def desk_on(store: Any) -> AsyncIterator[Desk]:
    desk = Desk(store)
    try:
        yield desk
    finally:
        await desk.recorder.close()


@pytest.fixture
async def shared() -> AsyncIterator[Desk]:
    async with databases.opened(databases.fresh_url()) as store, desk_on(store) as desk:
        yield desk


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Desk]:
    store = SqliteStore(tmp_path / "perdure.db")
    try:
        async with desk_on(store) as desk:
            yield desk
    finally:
        await store.close()


async def put(catalog: Catalog, value: int) -> int:
    text = f"id: one\nnodes: {{a: {{transform: {value}}}}}\n".encode()
    _, number, _ = await catalog.put(WORKSPACE, text, media_type="application/yaml")
    return number


async def test_many_starts_at_once_read_a_flow_once(shared: Desk) -> None:
    await put(shared.catalog(), 1)
    catalog = shared.catalog()
    found = await asyncio.gather(*[catalog.program(WORKSPACE, FLOW) for _ in range(50)])
    assert {number for number, _ in found} == {1}
    assert shared.flows.counted == {"get": 1, "version": 1}


async def test_many_claims_at_once_read_a_version_once(shared: Desk) -> None:
    await put(shared.catalog(), 1)
    catalog = shared.catalog()
    found = await asyncio.gather(*[catalog.program(WORKSPACE, FLOW, 1) for _ in range(50)])
    assert len({id(program) for _, program in found}) == 1
    assert shared.flows.counted == {"version": 1}


async def test_what_is_known_is_asked_for_again_once_a_second_and_never_read_twice(shared: Desk) -> None:
    await put(shared.catalog(), 1)
    catalog = shared.catalog()
    for _ in range(3):
        for _ in range(20):
            await asyncio.gather(*[catalog.program(WORKSPACE, FLOW) for _ in range(20)])
        shared.clock.advance(2 * SECOND)
    assert shared.flows.counted == {"get": 3, "version": 1}


async def test_what_another_process_puts_is_seen_within_a_second(shared: Desk) -> None:
    other, catalog = shared.catalog(), shared.catalog()
    await put(other, 1)
    assert (await catalog.program(WORKSPACE, FLOW))[0] == 1
    await put(other, 2)
    shared.clock.advance(SECOND + 1)
    assert (await catalog.program(WORKSPACE, FLOW))[0] == 2
    await other.delete(WORKSPACE, FLOW)
    shared.clock.advance(SECOND + 1)
    with pytest.raises(FlowNotFound):
        await catalog.program(WORKSPACE, FLOW)


async def test_one_who_gives_up_does_not_take_the_read_from_others(shared: Desk) -> None:
    await put(shared.catalog(), 1)
    catalog = shared.catalog()
    shared.flows.gate.clear()
    hurried = asyncio.ensure_future(catalog.program(WORKSPACE, FLOW))
    patient = asyncio.ensure_future(catalog.program(WORKSPACE, FLOW))
    await shared.flows.asked.wait()
    hurried.cancel()
    shared.flows.gate.set()
    assert (await patient)[0] == 1


@pytest.mark.parametrize("change", ["put", "delete"])
async def test_a_read_that_was_under_way_does_not_bring_back_what_was_changed(embedded: Desk, change: str) -> None:
    """A catalog alone on its store trusts what it knows for ever."""
    await put(embedded.catalog(), 1)
    catalog = embedded.catalog()
    embedded.flows.gate.clear()
    reading = asyncio.ensure_future(catalog.program(WORKSPACE, FLOW))
    await embedded.flows.asked.wait()
    if change == "put":
        await put(catalog, 2)
        embedded.flows.gate.set()
        await reading
        assert (await catalog.program(WORKSPACE, FLOW))[0] == 2
    else:
        await catalog.delete(WORKSPACE, FLOW)
        asking = asyncio.ensure_future(catalog.program(WORKSPACE, FLOW))
        embedded.flows.gate.set()
        await reading
        with pytest.raises(FlowNotFound):
            await asking
        with pytest.raises(FlowNotFound):
            await catalog.program(WORKSPACE, FLOW)


async def test_a_large_flow_that_is_read_holds_nobody_up(embedded: Desk) -> None:
    nodes = "".join(f"  n{at}: {{transform: '${{nodes.n{at - 1}.output + 1}}'}}\n" for at in range(1, 500))
    text = f"id: one\nnodes:\n  n0: {{transform: 1}}\n{nodes}".encode()
    await embedded.catalog().put(WORKSPACE, text, media_type="application/yaml")
    loop = asyncio.get_running_loop()
    began = loop.time()
    turns = [began]
    reading = asyncio.create_task(embedded.catalog().program(WORKSPACE, FLOW))
    while not reading.done():
        await asyncio.sleep(0)
        turns.append(loop.time())
    longest = max(after - before for before, after in pairwise(turns))
    assert longest < (turns[-1] - began) / 2
