"""Node runs that leave their execution: units on the same worker, on another's queue, over stops and restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from perdure.base.clock import SystemClock
from perdure.base.codec import decode
from perdure.base.ids import id_text
from perdure.model.states import ExecutionKind, ExecutionStatus, NodeStatus
from perdure.store.interface import ExecutionFilter, Page
from perdure.store.records import ExecutionRecord, NodeRunRecord
from tests.engine.opened import WORKSPACE, Bench, Opener, opened

CODE = """
import asyncio, os
import perdure

failed = []
begun = asyncio.Event()

async def double(n):
    return n * 2

async def picky(n):
    if n == 2:
        raise ValueError(f"not {n}")
    return n

async def moody(n):
    failed.append(n)
    if len(failed) < 3:
        raise OSError("in a mood")
    return len(failed)

async def large(text):
    return text * 2

async def publish(n):
    perdure.artifact(f"{n}".encode(), name=f"part-{n}.txt")
    print(f"published {n}")
    return n

async def wait(n=0):
    begun.set()
    await asyncio.sleep(600)

async def undo(what):
    return f"{what} undone"

async def token(t):
    return len(t)
"""


@pytest.fixture
def code(tmp_path: Path) -> list[Path]:
    (tmp_path / "unit_code.py").write_text(CODE)
    return [tmp_path]


async def units(bench: Bench, parent: bytes, **more: Any) -> list[ExecutionRecord]:
    wanted = ExecutionFilter(parent=parent, kind=ExecutionKind.UNIT, **more)
    return await bench.engine.store.executions.list(WORKSPACE, wanted, Page(newest_first=False, limit=1000))


async def node_run(bench: Bench, id: bytes, node: str, ordinal: int = 0, label: str = "") -> NodeRunRecord:
    run = await bench.engine.store.node_runs.get(WORKSPACE, id, node, ordinal, label)
    assert run is not None
    return run


async def suspended(bench: Bench, id: bytes) -> ExecutionRecord:
    return await bench.until(id, lambda record: record.status is ExecutionStatus.SUSPENDED)


async def begun(bench: Bench, id: bytes, node: str) -> None:
    """Wait until an attempt of the node is durable as begun."""
    with bench.engine.hub.subscribe(id) as subscription:
        while ("node.started", node) not in await bench.events(id):
            async with asyncio.timeout(20):
                await subscription.wait()
            subscription.take()


async def test_a_spread_foreach_is_made_of_units_and_comes_out_as_without(open_bench: Opener, code: list[Path]) -> None:
    bench = await open_bench(flow_folders=code)
    await bench.put(
        "id: wide\ntags: {team: x}\npriority: 7\nconcurrency: {limit: 1}\nnodes:\n"
        "  each: {python: 'unit_code:double', with: {n: '${item}'}, foreach: [1, 2, 3], spread: true, key: 'k${item}'}\n"
        "  sum: {transform: '${nodes.each.output[0] + nodes.each.output[2]}'}\noutput: '${nodes.sum.output}'\n"
    )
    record = await bench.run("wide")
    assert await bench.output(record.id) == 8
    found = await units(bench, record.id)
    assert [unit.status for unit in found] == [ExecutionStatus.COMPLETED] * 3
    unit = found[1]
    assert (unit.kind, unit.flow, unit.flow_version, unit.priority) == (ExecutionKind.UNIT, "default/wide", 1, 7)
    assert (unit.parent, unit.root, unit.depth, unit.tags) == (record.id, record.id, 1, {"team": "x"})
    assert (unit.trigger_kind, unit.trigger_id) == ("flow", id_text(record.id))
    assert unit.trigger_context == {"node": "each", "ordinal": 1, "label": "k2"}
    assert unit.concurrency_key is None
    run = await node_run(bench, record.id, "each", 1, "k2")
    assert (run.status, run.attempt, run.child) == (NodeStatus.COMPLETED, 1, unit.id)
    assert run.output is not None
    assert run.output.text == "4"
    assert run.input is not None
    assert run.input.text == '{"n":2}'


async def test_the_parents_events_tell_of_its_units_and_these_tell_of_their_attempts(
    open_bench: Opener, code: list[Path]
) -> None:
    bench = await open_bench(flow_folders=code)
    await bench.put("id: one\nnodes:\n  a: {python: 'unit_code:double', with: {n: 4}, queue: elsewhere}\n")
    record = await bench.run("one")
    (unit,) = await units(bench, record.id)
    assert unit.queue == "elsewhere"
    chunks = await bench.engine.store.events.page(WORKSPACE, record.id, 0, 100)
    told = {event.type: event.data for chunk in chunks for event in chunk.events}
    assert told["node.suspended"] == {"wait": "unit", "due_at": None, "child": id_text(unit.id)}
    assert told["node.completed"] == {"child": id_text(unit.id)}
    assert [type for type, _ in await bench.events(unit.id)] == [
        "execution.created", "execution.queued", "execution.started", "node.started", "node.completed",
        "execution.completed",
    ]  # fmt: skip
    assert await bench.output(unit.id) == 8


async def test_a_node_whose_queue_is_the_executions_stays(open_bench: Opener, code: list[Path]) -> None:
    bench = await open_bench(flow_folders=code)
    await bench.put("id: same\nqueue: gpu\nnodes:\n  a: {python: 'unit_code:double', with: {n: 4}, queue: gpu}\n")
    record = await bench.run("same")
    assert await units(bench, record.id) == []
    assert await bench.output(record.id) == {"a": 8}


async def test_lists_counts_and_children_show_no_units_unless_asked(open_bench: Opener, code: list[Path]) -> None:
    bench = await open_bench(flow_folders=code)
    await bench.put(
        "id: wide\ntags: {team: x}\nnodes:\n"
        "  each: {python: 'unit_code:double', with: {n: '${item}'}, foreach: [1, 2], spread: true}\n"
    )
    record = await bench.run("wide")
    executions = bench.engine.store.executions
    for wanted in (
        {},
        {"flow": "default/wide"},
        {"root": record.id},
        {"tags": (("team", "x"),)},
        {"namespace": "default"},
    ):
        filter = ExecutionFilter(**wanted)
        assert [one.id for one in await executions.list(WORKSPACE, filter, Page())] == [record.id]
        assert await executions.count(WORKSPACE, filter) == 1
        only = ExecutionFilter(**wanted, kind=ExecutionKind.UNIT)
        assert {one.kind for one in await executions.list(WORKSPACE, only, Page())} == {ExecutionKind.UNIT}
        assert await executions.count(WORKSPACE, only) == 2
        assert await executions.count(WORKSPACE, ExecutionFilter(**wanted, kind=None)) == 3
    assert await executions.children(WORKSPACE, record.id) == []
    rows, _ = await executions.statistics(WORKSPACE, ExecutionFilter(), ["status"])
    assert rows == [{"status": "completed", "count": 1}]


async def test_retries_are_the_units_and_the_failure_is_the_runs_own(open_bench: Opener, code: list[Path]) -> None:
    bench = await open_bench(flow_folders=code)
    await bench.put(
        "id: retried\nnodes:\n  a: {python: 'unit_code:moody', with: {n: 1}, queue: q, retry: {attempts: 3, backoff: 1h}}\n"
    )
    record = await bench.run("retried")
    assert await bench.output(record.id) == {"a": 3}
    (unit,) = await units(bench, record.id)
    assert (await node_run(bench, unit.id, "a")).attempt == 3
    await bench.put("id: broken\nnodes:\n  a: {shell: 'exit 3', queue: q, retry: {attempts: 2, backoff: 0s}}\n")
    record = await bench.run("broken")
    error = (await bench.payload(record.id)).error
    assert error is not None
    assert (error["code"], error["node"], error["details"]["attempts"]) == ("exit_code", "a", 2)
    assert len(await units(bench, record.id)) == 1


async def test_an_attempt_that_is_too_late_times_its_run_out(open_bench: Opener, code: list[Path]) -> None:
    bench = await open_bench(clock=SystemClock(), flow_folders=code)
    await bench.put("id: late\nnodes:\n  a: {python: 'unit_code:wait', queue: q, timeout: 100ms}\n")
    record = await bench.run("late")
    assert (await node_run(bench, record.id, "a")).status is NodeStatus.TIMED_OUT


async def test_items_that_fail_are_judged_by_the_parent(open_bench: Opener, code: list[Path]) -> None:
    bench = await open_bench(flow_folders=code)
    await bench.put(
        "id: tolerant\nnodes:\n  each: {python: 'unit_code:picky', with: {n: '${item}'}, foreach: [1, 2, 3], spread: true,"
        " on_item_error: null}\noutput: '${nodes.each.output}'\n"
    )
    assert await bench.output((await bench.run("tolerant")).id) == [1, None, 3]
    await bench.put(
        "id: strict\nnodes:\n  each: {python: 'unit_code:picky', with: {n: '${item}'}, foreach: [2, 1, 3], parallel: 1,"
        " spread: true}\n"
    )
    record = await bench.run("strict")
    assert record.status is ExecutionStatus.FAILED
    assert len(await units(bench, record.id)) == 1


async def test_parallel_bounds_how_many_units_exist_at_once(open_bench: Opener, code: list[Path]) -> None:
    bench = await open_bench(flow_folders=code, queues=("default",))
    await bench.put(
        "id: bounded\nnodes:\n  each: {python: 'unit_code:double', with: {n: '${item}'}, foreach: [1, 2, 3, 4],"
        " parallel: 2, queue: nobodys}\n"
    )
    id = await bench.start("bounded")
    record = await suspended(bench, id)
    assert record.worker is None
    assert len(bench.engine.owners) == 0
    assert [unit.status for unit in await units(bench, id)] == [ExecutionStatus.QUEUED] * 2


async def test_many_units_are_started_and_ended_in_few_transactions(open_bench: Opener, code: list[Path]) -> None:
    bench = await open_bench(flow_folders=code)
    await bench.put(
        "id: many\nnodes:\n  each: {python: 'unit_code:double', with: {n: '${item}'}, spread: true,"
        f" foreach: {list(range(300))}}}\noutput: '${{size(nodes.each.output)}}'\n"
    )
    before = bench.engine.recorder.stats.batches
    record = await bench.run("many")
    assert await bench.output(record.id) == 300
    assert len(await units(bench, record.id)) == 300
    assert bench.engine.recorder.stats.batches - before < 150


async def test_one_slot_is_enough_for_a_parent_and_its_units(open_bench: Opener, code: list[Path]) -> None:
    bench = await open_bench(flow_folders=code, slots=1)
    await bench.put(
        "id: narrow\nnodes:\n  each: {python: 'unit_code:double', with: {n: '${item}'}, foreach: [1, 2, 3], spread: true}\n"
    )
    assert (await bench.run("narrow")).status is ExecutionStatus.COMPLETED


async def test_values_beyond_a_row_reach_the_unit_and_come_back(open_bench: Opener, code: list[Path]) -> None:
    bench = await open_bench(flow_folders=code)
    await bench.put(
        "id: heavy\ninput: {text: {type: string}}\nnodes:\n"
        "  a: {python: 'unit_code:large', with: {text: '${input.text}'}, queue: q}\noutput: '${size(nodes.a.output)}'\n"
    )
    record = await bench.run("heavy", {"text": "x" * 100_000})
    assert await bench.output(record.id) == 200_000
    run = await node_run(bench, record.id, "a")
    assert run.output is not None
    assert run.output.blob is not None


async def test_artifacts_of_a_unit_belong_to_its_execution_and_logs_are_its_own(
    open_bench: Opener, code: list[Path]
) -> None:
    bench = await open_bench(flow_folders=code)
    await bench.put(
        "id: parts\nnodes:\n  each: {python: 'unit_code:publish', with: {n: '${item}'}, foreach: [1, 2], spread: true}\n"
    )
    record = await bench.run("parts")
    artifacts = await bench.engine.store.artifacts.list(WORKSPACE, execution_id=record.id)
    assert {(one.node, one.ordinal, one.name) for one in artifacts} == {
        ("each", 0, "part-1.txt"),
        ("each", 1, "part-2.txt"),
    }
    (first, _) = await units(bench, record.id)
    assert ("log", "each") in await bench.events(first.id)
    assert ("log", "each") not in await bench.events(record.id)


async def test_secrets_are_filled_in_where_the_unit_runs_and_stored_nowhere(
    open_bench: Opener, code: list[Path]
) -> None:
    bench = await open_bench(secrets={"target": "hunter22-secret"}, flow_folders=code)
    await bench.put(
        "id: secretive\nnodes:\n  a: {python: 'unit_code:token', with: {t: 'Bearer ${secrets.target}'}, queue: q}\n"
    )
    record = await bench.run("secretive")
    assert await bench.output(record.id) == {"a": len("Bearer hunter22-secret")}
    (unit,) = await units(bench, record.id)
    payload = await bench.payload(unit.id)
    assert payload.input.text is not None
    assert decode(payload.input.text)["with"] == {"t": "Bearer ${secrets.target}"}
    everything = [payload, await node_run(bench, unit.id, "a"), await node_run(bench, record.id, "a")]
    assert "hunter22" not in repr(everything)


async def test_cancelling_reaches_the_unit_and_waits_until_its_attempt_is_dead(
    open_bench: Opener, code: list[Path]
) -> None:
    bench = await open_bench(clock=SystemClock(), flow_folders=code)
    await bench.put(
        "id: stopped\nnodes:\n  a: {python: 'unit_code:wait', queue: q}\n"
        "  clean: {transform: 1, needs: [a], run_if: always}\n"
    )
    id = await bench.start("stopped")
    await suspended(bench, id)
    (unit,) = await units(bench, id)
    await begun(bench, unit.id, "a")
    await bench.engine.cancel_executions(WORKSPACE, [id], reason="enough")
    record = await bench.ended(id)
    assert record.status is ExecutionStatus.CANCELLED
    assert (await node_run(bench, id, "clean")).status is NodeStatus.COMPLETED
    unit = await bench.record(unit.id)
    assert (unit.status, unit.reason) == (ExecutionStatus.CANCELLED, "enough")
    assert record.finished_at is not None
    assert unit.finished_at is not None
    assert unit.finished_at <= record.finished_at


async def test_a_queued_unit_ends_with_its_execution_at_once(open_bench: Opener, code: list[Path]) -> None:
    bench = await open_bench(flow_folders=code, queues=("default",))
    await bench.put("id: idle\nnodes:\n  a: {python: 'unit_code:wait', queue: nobodys}\n")
    id = await bench.start("idle")
    await suspended(bench, id)
    await bench.engine.cancel_executions(WORKSPACE, [id])
    assert (await bench.ended(id)).status is ExecutionStatus.CANCELLED
    assert [unit.status for unit in await units(bench, id)] == [ExecutionStatus.CANCELLED]


async def test_the_deadline_of_an_execution_ends_its_units(open_bench: Opener, code: list[Path]) -> None:
    bench = await open_bench(flow_folders=code, queues=("default",))
    await bench.put("id: hasty\ntimeout: 1h\nnodes:\n  a: {python: 'unit_code:wait', queue: nobodys}\n")
    record = await bench.run("hasty")
    assert record.status is ExecutionStatus.TIMED_OUT
    assert [unit.status for unit in await units(bench, record.id)] == [ExecutionStatus.CANCELLED]


async def test_what_undoes_may_be_a_unit_beside_the_runs_own(open_bench: Opener, code: list[Path]) -> None:
    bench = await open_bench(flow_folders=code)
    await bench.put(
        "id: saga\nnodes:\n"
        "  book: {python: 'unit_code:double', with: {n: 4}, queue: q,"
        " compensate: {python: 'unit_code:undo', with: {what: '${nodes.book.output}'}, queue: q}}\n"
        "  ship: {fail: 'no stock', needs: [book]}\n"
    )
    record = await bench.run("saga")
    undone = await node_run(bench, record.id, "book", 0, "compensate")
    assert record.status is ExecutionStatus.FAILED
    assert undone.output is not None
    assert undone.output.text == '"8 undone"'
    assert len(await units(bench, record.id)) == 2


async def test_a_flow_undone_by_a_flow_starts_both(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put("id: kid\ninput: {n: {type: integer}}\nnodes:\n  a: {transform: '${input.n}'}\n")
    await bench.put(
        "id: saga\nnodes:\n  book: {flow: kid, with: {n: 1}, compensate: {flow: kid, with: {n: 2}}}\n"
        "  ship: {fail: 'no stock', needs: [book]}\n"
    )
    record = await bench.run("saga")
    undone = await node_run(bench, record.id, "book", 0, "compensate")
    assert undone.output is not None
    assert undone.output.text == '{"a":2}'


async def test_a_unit_goes_on_over_a_restart_and_its_parent_with_it(tmp_path: Path) -> None:
    once = tmp_path / "once"
    flow = (
        "id: long\nnodes:\n"
        f"  work: {{shell: '[ -e {once} ] || {{ touch {once}; exec sleep 600; }}; echo done', queue: q}}\n"
        "output: '${nodes.work.output.stdout}'\n"
    )
    async with opened(tmp_path, SystemClock(), drain=100_000) as bench:
        await bench.put(flow)
        id = await bench.start("long")
        await suspended(bench, id)
        (unit,) = await units(bench, id)
        await begun(bench, unit.id, "work")
        while not once.exists():  # noqa: ASYNC110 - told by the file system alone
            await asyncio.sleep(0.01)
    async with opened(tmp_path, SystemClock()) as bench:
        assert (await bench.ended(id)).status is ExecutionStatus.COMPLETED
        assert await bench.output(id) == "done\n"
        assert [one.id for one in await units(bench, id)] == [unit.id]
