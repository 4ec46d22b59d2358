"""What the store refuses ends its own execution, clearly, and nobody else's."""

from __future__ import annotations

import asyncio

from perdure.base.clock import SystemClock
from perdure.base.ids import id_text, new_id
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.commands import SendMessages
from perdure.store.records import Advance
from tests.engine.opened import Opener


async def test_a_row_that_the_database_refuses_fails_its_execution_alone(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put("id: plain\nnodes:\n  a: {transform: 1}\n  b: {transform: 2, needs: [a]}\n")
    healthy, poisoned = await bench.start("plain"), await bench.start("plain")
    owner = bench.engine.owners.get(poisoned)
    assert owner is not None
    drain, poison = owner.outbox.drain, [True]

    def drain_badly() -> Advance | None:
        advance = drain()
        for run in advance.node_runs if advance is not None and poison else ():
            run.type = None  # type: ignore[assignment]
            poison.clear()
        return advance

    owner.outbox.drain = drain_badly  # type: ignore[method-assign]
    record = await bench.ended(poisoned)
    error = (await bench.payload(poisoned)).error
    assert record.status is ExecutionStatus.FAILED
    assert error is not None
    assert error["code"] == "row_refused"
    run = await bench.engine.store.node_runs.get("default", poisoned, "a", 0)
    assert run is not None
    assert run.status is NodeStatus.FAILED
    assert (await bench.ended(healthy)).status is ExecutionStatus.COMPLETED
    assert bench.engine.recorder.stats.refused >= 1


async def test_a_message_that_cannot_be_read_fails_its_execution_while_it_is_at_work(open_bench: Opener) -> None:
    """A child's output may be a content that somebody has removed from the folder where contents lie."""
    bench = await open_bench(clock=SystemClock())
    await bench.put("id: busy\nnodes:\n  work: {shell: 'echo up; exec sleep 600'}\n")
    id = await bench.start("busy")
    lost = {"text": None, "blob": "ab" * 32, "size": 70_000}
    ended = {
        "child": id_text(new_id()), "node": "work", "ordinal": 0, "attempt": 1, "status": "completed", "reason": None,
        "output": lost, "error": None,
    }  # fmt: skip
    message = SendMessages(at=bench.clock.now(), messages=[(id, "child_ended", ended)])
    await bench.engine.recorder.execute(message)
    async with asyncio.timeout(20):
        assert (await bench.ended(id)).status is ExecutionStatus.FAILED
    error = (await bench.payload(id)).error
    assert error is not None
    assert error["code"] == "unreadable"
