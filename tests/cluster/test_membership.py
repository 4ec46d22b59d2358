"""A worker that others took for dead lets go, comes back as somebody else, and nothing is recorded twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from perdure.base.clock import SECOND
from perdure.engine.streams import execution_events
from perdure.model.states import ExecutionStatus
from perdure.store.commands import InterruptWorkers
from tests.cluster.engines import shared_engine
from tests.engine.opened import Bench
from tests.store.databases import fresh_url

PATIENCE_S = 30
HOLDS = "id: holds\nnodes:\n  one: {shell: 'echo up; [ -e %s ] || exec sleep 600; echo done'}\n"


def _engine(url: str, home: Path, **settings: Any) -> AbstractAsyncContextManager[Bench]:
    return shared_engine(url, home, lease=3 * SECOND, **settings)


async def _told(bench: Bench, id: bytes, wanted: Callable[[Any], bool]) -> None:
    """Until an event of the execution is the wanted one."""
    async with asyncio.timeout(PATIENCE_S):
        async for batch in execution_events(
            bench.engine.store, bench.engine.hub, workspace="default", execution_id=id
        ):  # fmt: skip
            if any(wanted(item.event) for item in batch):
                return


async def test_a_worker_declared_dead_lets_go_and_comes_back_under_another_id(tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with _engine(fresh_url(), tmp_path) as bench:
        engine = bench.engine
        await bench.put(HOLDS % go)
        id = await bench.start("holds")
        await _told(bench, id, lambda event: event.data is not None and event.data.get("message") == "up")
        before = engine.worker.id
        go.touch()
        # As another process's rescuer would, had this one been silent for its lease.
        await engine.recorder.execute(InterruptWorkers(at=engine.clock.now(), workers=(before,)))
        record = await bench.ended(id)
        assert record.status is ExecutionStatus.COMPLETED
        assert engine.worker.id != before
        events = [name for name, _ in await bench.events(id)]
        assert events.count("execution.interrupted") == 1
        assert events.count("node.completed") == 1
        stopped = {worker.id: worker.stopped_at is not None for worker in await engine.store.workers.list()}
        assert stopped == {before: True, engine.worker.id: False}


async def test_events_of_one_execution_come_in_order_wherever_its_owner_is(tmp_path: Path) -> None:
    go = tmp_path / "go"
    url = fresh_url()
    async with _engine(url, tmp_path / "reader", works=False) as reader, _engine(url, tmp_path / "one") as one:
        await one.put(HOLDS % go)
        id = await one.start("holds")
        seen: list[int] = []

        async def read() -> None:
            engine = reader.engine
            async for batch in execution_events(engine.store, engine.hub, workspace="default", execution_id=id):
                seen.extend(item.seq for item in batch)

        reading = asyncio.create_task(read())
        await _told(reader, id, lambda event: event.data is not None and event.data.get("message") == "up")
        async with _engine(url, tmp_path / "two"):
            go.touch()
            await one.engine.stop(drain=False)
            assert await reader.engine.wait_ended("default", id, PATIENCE_S * SECOND)
            async with asyncio.timeout(PATIENCE_S):
                await reading
        record = await reader.record(id)
        assert record.status is ExecutionStatus.COMPLETED
        assert seen == list(range(1, record.last_seq + 1))
