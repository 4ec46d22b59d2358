"""When a node's timeout begins and what ends an attempt that waits for its place."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from perdure.base.clock import HOUR, MINUTE, SECOND, SystemClock
from perdure.model.states import ExecutionStatus, NodeStatus
from tests.engine.opened import WORKSPACE, Bench, Opener, opened

_MODULE = """
def read(path):
    with open(path) as pipe:
        return pipe.read()
"""
_FLOW = """
id: {name}
input: {{path: {{type: string}}}}
nodes:
  read: {{python: "places:read", with: {{path: "${{input.path}}"}}, timeout: 5s}}
"""


class SetClock(SystemClock):
    """A wall clock that somebody sets while it runs."""

    ahead = 0

    def now(self) -> int:
        return super().now() + self.ahead


class Held:
    """An execution whose node reads from a pipe that only the test writes to."""

    def __init__(self, bench: Bench, id: bytes, pipe: Path) -> None:
        self.id = id
        self._bench = bench
        self._pipe = pipe

    async def begun(self) -> None:
        """Its node has opened the pipe, so it has its place."""
        self._writer = await asyncio.to_thread(os.open, self._pipe, os.O_WRONLY)

    def release(self) -> None:
        os.close(self._writer)

    async def node_status(self) -> NodeStatus:
        run = await self._bench.engine.store.node_runs.get(WORKSPACE, self.id, "read", 0)
        assert run is not None
        return run.status


async def two(bench: Bench, folder: Path, **second: Any) -> tuple[Held, Held]:
    """Two executions; the first has the only place, the second waits for it."""
    (folder / "places.py").write_text(_MODULE)
    await bench.put(_FLOW.format(name="first").replace(", timeout: 5s", ""))
    await bench.put(_FLOW.format(name="second"))
    held = []
    for name, more in (("first", {}), ("second", second)):
        os.mkfifo(folder / name)
        id = await bench.start(name, {"path": str(folder / name)}, **more)
        held.append(Held(bench, id, folder / name))
        if name == "first":
            await held[0].begun()
    await waiting(bench)
    return held[0], held[1]


async def waiting(bench: Bench) -> None:
    """Somebody waits for a place in the pool."""
    for _ in range(100_000):
        if bench.engine.runtime.pool.describe()["waiting"]:
            return
        await asyncio.sleep(0)
    raise AssertionError("nobody waits for a place")


@pytest.mark.parametrize("takes_too_long", [False, True])
async def test_a_timeout_begins_when_the_attempt_has_its_place(
    open_bench: Opener, tmp_path: Path, takes_too_long: bool
) -> None:
    bench = await open_bench(pool_size=1, flow_folders=[tmp_path])
    first, second = await two(bench, tmp_path)
    bench.clock.advance(MINUTE)  # type: ignore[attr-defined]
    first.release()
    await second.begun()
    if takes_too_long:
        bench.clock.advance(6 * SECOND)  # type: ignore[attr-defined]
        assert (await bench.ended(second.id)).status is ExecutionStatus.FAILED
        assert await second.node_status() is NodeStatus.TIMED_OUT
    second.release()
    if not takes_too_long:
        assert (await bench.ended(second.id)).status is ExecutionStatus.COMPLETED
    assert (await bench.ended(first.id)).status is ExecutionStatus.COMPLETED


async def test_the_execution_s_own_timeout_ends_an_attempt_that_waits(open_bench: Opener, tmp_path: Path) -> None:
    bench = await open_bench(pool_size=1, flow_folders=[tmp_path])
    first, second = await two(bench, tmp_path, timeout=30 * SECOND)
    bench.clock.advance(MINUTE)  # type: ignore[attr-defined]
    assert (await bench.ended(second.id)).status is ExecutionStatus.TIMED_OUT
    assert bench.engine.runtime.pool.describe()["waiting"] == 0
    first.release()
    assert (await bench.ended(first.id)).status is ExecutionStatus.COMPLETED


@pytest.mark.parametrize("ahead", [3 * HOUR, -3 * HOUR])
async def test_a_wall_clock_that_is_set_does_not_end_an_attempt(tmp_path: Path, ahead: int) -> None:
    clock = SetClock()
    (tmp_path / "places.py").write_text(_MODULE)
    os.mkfifo(tmp_path / "pipe")
    async with opened(tmp_path, clock, pool_size=1, flow_folders=[tmp_path]) as bench:
        await bench.put(_FLOW.format(name="first").replace("timeout: 5s", "timeout: 5m"))
        held = Held(bench, await bench.start("first", {"path": str(tmp_path / "pipe")}), tmp_path / "pipe")
        await held.begun()
        clock.ahead = ahead
        held.release()
        assert (await bench.ended(held.id)).status is ExecutionStatus.COMPLETED
