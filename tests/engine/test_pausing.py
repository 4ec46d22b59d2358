"""Pausing through the engine: what has begun ends, nothing else begins, nobody holds it, and it goes on when told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from perdure.base.clock import HOUR
from perdure.errors import ExecutionEnded, ExecutionStopping, NotPaused
from perdure.model.states import ExecutionStatus
from perdure.store.records import ExecutionRecord
from tests.engine.opened import WORKSPACE, Bench, Opener


def is_(status: ExecutionStatus) -> Callable[[ExecutionRecord], bool]:
    return lambda record: record.status is status


async def pause(bench: Bench, id: bytes) -> None:
    await bench.engine.answers.pause(WORKSPACE, id, by="ada", reason="dinner")


async def resume(bench: Bench, id: bytes) -> None:
    await bench.engine.answers.resume(WORKSPACE, id, by="bob")


async def paused(bench: Bench, flow: str) -> bytes:
    """An execution of the flow that came to wait for something, and was paused then."""
    await bench.put(flow)
    id = await bench.start(flow.split()[1])
    await bench.until(id, is_(ExecutionStatus.SUSPENDED))
    await pause(bench, id)
    return id


async def nodes_of(bench: Bench, id: bytes) -> dict[str, str]:
    runs = await bench.engine.store.node_runs.list(WORKSPACE, id)
    return {run.node: str(run.status) for run in runs}


async def test_a_running_attempt_ends_and_nothing_follows_until_it_is_resumed(open_bench: Opener) -> None:
    bench = await open_bench()
    id = await paused(
        bench,
        "id: chain\nnodes:\n  a: {signal: go}\n  b: {transform: 2, needs: [a]}\n  c: {transform: 3, needs: [b]}\n",
    )
    record = await bench.record(id)
    assert (record.status, record.reason, record.worker) == (ExecutionStatus.SUSPENDED, "paused", None)
    await bench.engine.answers.signal(WORKSPACE, id, name="go", payload=None, sender="ada")
    with bench.engine.hub.subscribe(id) as subscription:
        while (await nodes_of(bench, id))["a"] != "completed" or (await bench.record(id)).worker is not None:
            await subscription.wait()
            subscription.take()
    assert await nodes_of(bench, id) == {"a": "completed"}
    record = await bench.record(id)
    assert (record.status, record.reason) == (ExecutionStatus.SUSPENDED, "paused")
    why = await bench.engine.why(WORKSPACE, id)
    assert why["waiting_for"][0]["kind"] == "pause"
    assert "paused by ada" in why["summary"]
    await resume(bench, id)
    assert (await bench.ended(id)).status is ExecutionStatus.COMPLETED
    assert (await bench.record(id)).reason is None
    types = [type for type, _ in await bench.events(id)]
    assert types.count("execution.paused") == types.count("execution.unpaused") == 1


async def test_an_owned_execution_lets_its_attempt_end_and_goes_to_sleep(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put("id: busy\nnodes:\n  a: {shell: 'sleep 0.3'}\n  b: {transform: 2, needs: [a]}\n")
    id = await bench.start("busy")
    await pause(bench, id)
    await bench.until(id, is_(ExecutionStatus.SUSPENDED))
    assert await nodes_of(bench, id) == {"a": "completed"}
    assert len(bench.engine.owners) == 0
    await resume(bench, id)
    assert (await bench.ended(id)).status is ExecutionStatus.COMPLETED


async def test_what_waits_to_start_begins_nothing_either(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put("id: later\nnodes:\n  a: {transform: 1}\n")
    id = await bench.start("later", start_at=bench.clock.now() + HOUR)
    await pause(bench, id)
    summary = (await bench.engine.why(WORKSPACE, id))["summary"]
    assert summary.startswith("It starts at ")
    assert summary.endswith(". It was paused by ada; it goes on when somebody resumes it.")
    while (await bench.record(id)).status is not ExecutionStatus.SUSPENDED:
        await bench.engine.wait_ended(WORKSPACE, id, 20_000)
        bench.skip()
    assert await nodes_of(bench, id) == {}
    await resume(bench, id)
    assert (await bench.ended(id)).status is ExecutionStatus.COMPLETED


async def test_a_deadline_counts_while_it_is_paused(open_bench: Opener) -> None:
    bench = await open_bench()
    id = await paused(bench, "id: bounded\ntimeout: 1h\nnodes:\n  a: {approval: Go}\n")
    assert (await bench.ended(id)).status is ExecutionStatus.TIMED_OUT


async def test_a_paused_execution_is_cancelled_and_cleans_up(open_bench: Opener) -> None:
    bench = await open_bench()
    id = await paused(
        bench,
        "id: tidy\nnodes:\n  a: {signal: go}\n  b: {transform: 1, needs: [a]}\n"
        "  z: {transform: 9, needs: [b], run_if: always}\n",
    )
    await bench.engine.cancel_executions(WORKSPACE, [id], reason="closed")
    assert (await bench.ended(id)).status is ExecutionStatus.CANCELLED
    assert await nodes_of(bench, id) == {"a": "cancelled", "z": "completed"}
    assert (await bench.engine.why(WORKSPACE, id))["summary"] == "It has ended: cancelled (closed)."


async def test_a_due_retry_waits_while_it_is_paused(open_bench: Opener) -> None:
    bench = await open_bench()
    id = await paused(bench, "id: stubborn\nnodes:\n  a: {shell: 'exit 3', retry: {attempts: 2, backoff: 1h}}\n")
    bench.clock.advance_to(bench.clock.now() + 3 * HOUR)  # type: ignore[attr-defined]
    with bench.engine.hub.subscribe(id):
        assert not await bench.engine.wait_ended(WORKSPACE, id, 200_000)
    record = await bench.record(id)
    assert (record.status, record.worker) == (ExecutionStatus.SUSPENDED, None)
    assert await nodes_of(bench, id) == {"a": "retrying"}
    await resume(bench, id)
    assert (await bench.ended(id)).status is ExecutionStatus.FAILED


async def test_half_a_foreach_waits(open_bench: Opener) -> None:
    bench = await open_bench()
    id = await paused(bench, "id: many\nnodes:\n  each: {signal: 'go-${item}', foreach: [a, b, c], parallel: 1}\n")
    for name in ("go-a", "go-b", "go-c"):
        await bench.engine.answers.signal(WORKSPACE, id, name=name, payload=name, sender="ada")
    while (await bench.record(id)).worker is not None or (await nodes_of(bench, id))["each"] != "completed":
        await bench.engine.wait_ended(WORKSPACE, id, 10_000)
    runs = await bench.engine.store.node_runs.list(WORKSPACE, id)
    assert [run.ordinal for run in runs] == [0]
    await resume(bench, id)
    assert (await bench.ended(id)).status is ExecutionStatus.COMPLETED


async def test_a_pause_outlives_its_engine(open_bench: Opener) -> None:
    bench = await open_bench()
    id = await paused(bench, "id: chain\nnodes:\n  a: {sleep: 1h}\n  b: {transform: 2, needs: [a]}\n")
    await pause(bench, id)
    [wait, *_] = [one for one in await bench.engine.store.waits.of(WORKSPACE, id) if one.kind == "pause"]
    assert wait.data == {"by": "ada", "reason": "dinner"}
    while (await nodes_of(bench, id))["a"] != "completed" or (await bench.record(id)).worker is not None:
        await bench.engine.wait_ended(WORKSPACE, id, 10_000)
        bench.skip()
    assert await nodes_of(bench, id) == {"a": "completed"}
    await resume(bench, id)
    assert (await bench.ended(id)).status is ExecutionStatus.COMPLETED


async def test_what_cannot_be_paused_or_resumed(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put("id: quick\nnodes:\n  a: {transform: 1}\n")
    await bench.put("id: slow\nnodes:\n  a: {sleep: 1h}\n  z: {sleep: 1h, needs: [a], run_if: always}\n")
    done = await bench.start("quick")
    await bench.ended(done)
    with pytest.raises(ExecutionEnded):
        await pause(bench, done)
    id = await bench.start("slow")
    await bench.until(id, is_(ExecutionStatus.SUSPENDED))
    with pytest.raises(NotPaused):
        await resume(bench, id)
    await bench.engine.cancel_executions(WORKSPACE, [id])
    with pytest.raises(ExecutionStopping):
        await pause(bench, id)
    await bench.engine.cancel_executions(WORKSPACE, [id], force=True)
    await bench.ended(id)


async def test_pausing_and_resuming_many_times_loses_nothing(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(
        "id: long\nnodes:\n  each: {python: 'asyncio:sleep', with: {delay: 0.002, result: 1}, foreach: '${input.n}', "
        "parallel: 4}\noutput: '${size(nodes.each.output)}'\n"
    )
    id = await bench.start("long", {"n": list(range(200))})
    for _ in range(20):
        if (await bench.record(id)).finished_at is not None:
            break
        try:
            await pause(bench, id)
            await asyncio.sleep(0)
            await resume(bench, id)
        except ExecutionEnded:
            break
    assert (await bench.ended(id)).status is ExecutionStatus.COMPLETED
    assert await bench.output(id) == 200
