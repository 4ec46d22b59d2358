"""What a stopping engine does with the executions it owns, and what the next one makes of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from perdure.base.clock import SystemClock
from perdure.model.states import ExecutionStatus
from tests.engine.opened import Bench, opened


async def _said(bench: Bench, id: bytes, message: str) -> None:
    """Wait until a log line says so."""
    with bench.engine.hub.subscribe(id) as subscription:
        while True:
            chunks = await bench.engine.store.events.page("default", id, 0, 1000)
            if any(event.data and event.data.get("message") == message for chunk in chunks for event in chunk.events):
                return
            await subscription.wait()
            subscription.take()


async def test_an_attempt_that_ends_within_the_drain_time_keeps_its_result(tmp_path: Path) -> None:
    go = tmp_path / "go"
    flow = (
        f"id: two\nnodes:\n  first: {{shell: 'echo up; while [ ! -e {go} ]; do sleep 0.02; done; echo first'}}\n"
        "  second: {transform: '${nodes.first.output.stdout}', needs: [first]}\noutput: '${nodes.second.output}'\n"
    )
    async with opened(tmp_path, SystemClock()) as bench:
        await bench.put(flow)
        id = await bench.start("two")
        await _said(bench, id, "up")
        stopping = asyncio.create_task(bench.engine.owners.wind_up(20))
        bench.engine.draining = True
        await asyncio.to_thread(go.touch)
        await stopping
        assert (await bench.record(id)).status is ExecutionStatus.INTERRUPTED
    async with opened(tmp_path, SystemClock()) as bench:
        record = await bench.ended(id)
        assert record.status is ExecutionStatus.COMPLETED
        assert await bench.output(id) == "up\nfirst\n"
        events = await bench.events(id)
        assert events.count(("node.started", "first")) == 1
        assert ("execution.interrupted", None) in events
        assert ("execution.recovered", None) in events
        assert record.crashes == 0


async def test_an_attempt_that_does_not_end_is_stopped_and_begins_anew_elsewhere(tmp_path: Path) -> None:
    once = tmp_path / "once"
    flow = f"id: long\nnodes:\n  work: {{shell: 'echo up; [ -e {once} ] || {{ touch {once}; exec sleep 600; }}; echo done'}}\n"
    async with opened(tmp_path, SystemClock(), drain=200_000) as bench:
        await bench.put(flow)
        id = await bench.start("long")
        await _said(bench, id, "up")
        begun = await bench.engine.store.node_runs.get("default", id, "work", 0)
        await bench.engine.stop()
        assert (await bench.record(id)).worker is None
    async with opened(tmp_path, SystemClock()) as bench:
        record = await bench.ended(id)
        assert record.status is ExecutionStatus.COMPLETED
        run = await bench.engine.store.node_runs.get("default", id, "work", 0)
        assert run is not None
        assert (run.attempt, run.interruptions) == (1, 1)
        assert begun is not None
        assert begun.started_at is not None
        assert run.started_at is not None
        assert run.started_at > begun.started_at, "what it took counts from the attempt that came to the end"


async def test_an_interrupted_attempt_fails_where_the_node_says_so(tmp_path: Path) -> None:
    flow = "id: fragile\nnodes:\n  work: {shell: 'echo up; sleep 600', on_interrupt: fail}\n"
    async with opened(tmp_path, SystemClock(), drain=0) as bench:
        await bench.put(flow)
        id = await bench.start("fragile")
        await _said(bench, id, "up")
        await bench.engine.stop()
    async with opened(tmp_path, SystemClock()) as bench:
        record = await bench.ended(id)
        error = (await bench.payload(id)).error
        assert record.status is ExecutionStatus.FAILED
        assert error is not None
        assert error["code"] == "interrupted"
