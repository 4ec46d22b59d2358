"""What ends while it is not sure that its execution is still this worker's own."""

from __future__ import annotations

import asyncio
from pathlib import Path

from perdure.base.clock import SystemClock
from perdure.model.states import ExecutionStatus, NodeStatus
from tests.engine.opened import Bench, Opener

FLOW = """
id: killed
nodes:
  a: {shell: "while [ ! -e '%s' ]; do sleep 0.01; done; kill -9 $$"}
"""


class Doubt:
    """The lease of a bench's worker: in doubt until `is_sure` is set. `asked` tells that an end waits for that."""

    def __init__(self, bench: Bench, execution: bytes) -> None:
        self.is_sure = False
        self.asked = asyncio.Event()
        owner = bench.engine.owners.get(execution)
        assert owner is not None
        owner.shop.may_begin = self._may_begin

    def _may_begin(self) -> bool:
        self.asked.set()
        return self.is_sure


async def killed(open_bench: Opener, gate: Path) -> tuple[Bench, bytes, Doubt]:
    """An execution whose only node was killed, and its lease is in doubt."""
    bench = await open_bench(clock=SystemClock())
    await bench.put(FLOW % gate)
    id = await bench.start("killed")
    doubt = Doubt(bench, id)
    await asyncio.to_thread(gate.touch)
    async with asyncio.timeout(20):
        await doubt.asked.wait()
    return bench, id, doubt


async def test_a_failure_is_recorded_once_the_lease_is_sure(open_bench: Opener, tmp_path: Path) -> None:
    bench, id, doubt = await killed(open_bench, tmp_path / "gate")
    assert (await bench.record(id)).status is ExecutionStatus.RUNNING
    doubt.is_sure = True
    assert (await bench.ended(id)).status is ExecutionStatus.FAILED


async def test_what_was_killed_with_its_lease_has_not_failed(open_bench: Opener, tmp_path: Path) -> None:
    bench, id, doubt = await killed(open_bench, tmp_path / "gate")
    await bench.engine.owners.leave_all()
    assert bench.engine.owners.get(id) is None
    run = await bench.engine.store.node_runs.get("default", id, "a", 0)
    assert run is None or run.status is NodeStatus.RUNNING
    assert (await bench.record(id)).status is ExecutionStatus.RUNNING
    assert "node.failed" not in {type for type, _ in await bench.events(id)}
    doubt.is_sure = True
