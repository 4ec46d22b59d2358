"""Flows run to their ends on the real engine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from perdure.base.clock import DAY, HOUR, SECOND, SystemClock
from perdure.base.codec import INLINE_LIMIT, encode_text
from perdure.base.ids import id_text
from perdure.engine.requests import StartRequest
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.commands import FoldCounters
from perdure.store.interface import ExecutionFilter, Page
from perdure.store.records import Started
from tests.engine.opened import WORKSPACE, Opener

CHAIN = """
id: chain
input: {n: {type: integer}}
nodes:
  double: {transform: "${input.n * 2}"}
  label: {transform: "n is ${nodes.double.output}"}
output: {doubled: "${nodes.double.output}", label: "${nodes.label.output}"}
"""


async def test_a_chain_runs_to_its_output(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(CHAIN)
    record = await bench.run("chain", {"n": 21})
    assert record.status is ExecutionStatus.COMPLETED
    assert await bench.output(record.id) == {"doubled": 42, "label": "n is 42"}
    assert [type for type, _ in await bench.events(record.id)] == [
        "execution.created",
        "execution.started",
        "node.started",
        "node.completed",
        "node.started",
        "node.completed",
        "execution.completed",
    ]


async def test_a_year_of_sleep_passes_at_once_on_a_manual_clock(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put("id: patient\nnodes:\n  year: {sleep: 365d}\n  after: {transform: 1, needs: [year]}\n")
    began = bench.clock.now()
    id = await bench.start("patient")
    record = await bench.until(id, lambda record: record.status is ExecutionStatus.SUSPENDED)
    assert record.worker is None
    # A later batch is answered after its owner was told of the one that could be read.
    await bench.engine.recorder.execute(FoldCounters(at=began))
    assert len(bench.engine.owners) == 0
    record = await bench.ended(id)
    assert record.status is ExecutionStatus.COMPLETED
    assert bench.clock.now() - began >= 365 * DAY


async def test_a_failing_node_is_retried_with_backoff_and_then_fails_the_execution(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(
        "id: stubborn\nnodes:\n  no: {shell: 'exit 3', retry: {attempts: 3, backoff: 1h..2h}}\n"
        "  never: {transform: 1, needs: [no]}\n"
    )
    began = bench.clock.now()
    record = await bench.run("stubborn")
    assert record.status is ExecutionStatus.FAILED
    error = (await bench.payload(record.id)).error
    assert error is not None
    assert (error["code"], error["node"], error["attempt"]) == ("exit_code", "no", 3)
    assert bench.clock.now() - began >= HOUR
    never = await bench.engine.store.node_runs.get(WORKSPACE, record.id, "never", 0)
    assert never is not None
    assert never.status is NodeStatus.SKIPPED


async def test_a_child_execution_answers_its_parent(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(CHAIN)
    await bench.put(
        "id: parent\nnodes:\n  kids: {flow: chain, foreach: [1, 2, 3], with: {n: '${item}'}}\n"
        "output: '${nodes.kids.output}'\n"
    )
    record = await bench.run("parent")
    assert [kid["doubled"] for kid in await bench.output(record.id)] == [2, 4, 6]
    run = await bench.engine.store.node_runs.get(WORKSPACE, record.id, "kids", 1)
    assert run is not None
    assert run.output is not None
    assert run.output.text == '{"doubled":4,"label":"n is 4"}'
    children = await bench.engine.store.executions.children(WORKSPACE, record.id)
    assert {child.status for child in children} == {ExecutionStatus.COMPLETED}
    assert {child.root for child in children} == {record.id}
    assert {child.depth for child in children} == {1}


async def test_a_child_that_fails_fails_its_node_as_child_failed(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put("id: bad\nnodes:\n  no: {fail: 'not today'}\n")
    await bench.put("id: parent\nnodes:\n  kid: {flow: bad}\n")
    record = await bench.run("parent")
    error = (await bench.payload(record.id)).error
    assert record.status is ExecutionStatus.FAILED
    assert error is not None
    assert error["code"] == "child_failed"
    assert "not today" in error["message"]


async def test_a_foreach_over_nothing_is_recorded_as_complete(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(
        "id: none\ninput: {all: {type: array}}\nnodes:\n"
        "  each: {transform: '${item}', foreach: '${input.all}'}\n"
        "  after: {transform: '${size(nodes.each.output)}'}\n"
        "output: '${[nodes.each.status, nodes.each.output, nodes.after.output]}'\n"
    )
    record = await bench.run("none", {"all": []})
    assert await bench.output(record.id) == ["completed", [], 0]
    run = await bench.engine.store.node_runs.get(WORKSPACE, record.id, "each", 0)
    assert run is not None
    assert run.output is not None
    assert (run.status, run.attempt, run.output.text) == (NodeStatus.COMPLETED, 0, "[]")


async def test_a_failure_far_down_is_told_with_its_depth_and_not_level_by_level(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(
        "id: down\ninput: {left: {type: integer}}\nnodes:\n"
        "  stop: {fail: 'the ground is wet', when: 'input.left == 0'}\n"
        "  kid: {flow: down, with: {left: '${input.left - 1}'}, when: 'input.left > 0'}\n"
    )
    record = await bench.run("down", {"left": 20})
    error = (await bench.payload(record.id)).error
    assert error is not None
    assert error["message"] == "the child execution ended as failed, because of one 20 levels down: the ground is wet"
    assert error["details"]["depth"] == 20
    assert error["details"]["cause"] == {"code": "failed_on_purpose", "message": "the ground is wet"}
    assert error["details"]["code"] == "child_failed"


async def test_cancelling_a_parent_cancels_its_children(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put("id: long\nnodes:\n  wait: {sleep: 10d}\n")
    await bench.put("id: parent\nnodes:\n  kid: {flow: long}\n")
    id = await bench.start("parent")
    await bench.until(id, lambda record: record.status is ExecutionStatus.SUSPENDED)
    (child,) = await bench.engine.store.executions.children(WORKSPACE, id)
    await bench.until(child.id, lambda record: record.status is ExecutionStatus.SUSPENDED)
    (answer,) = await bench.engine.cancel_executions(WORKSPACE, [id], reason="enough")
    assert answer is ExecutionStatus.CANCELLED
    (child,) = await bench.engine.store.executions.children(WORKSPACE, id)
    assert child.status is ExecutionStatus.CANCELLED


async def test_a_running_attempt_is_dead_before_the_execution_is_cancelled(open_bench: Opener, tmp_path: Path) -> None:
    bench = await open_bench(clock=SystemClock())
    pid_file = tmp_path / "pid"
    await bench.put(f"id: busy\nnodes:\n  busy: {{shell: 'echo $$ > {pid_file}; echo up; sleep 600'}}\n")
    id = await bench.start("busy")
    with bench.engine.hub.subscribe(id) as subscription:
        while not any(event.type == "log" for chunk in subscription.take() for event in chunk.events):
            await subscription.wait()
    await bench.engine.cancel_executions(WORKSPACE, [id], reason="stop it")
    record = await bench.ended(id)
    assert record.status is ExecutionStatus.CANCELLED
    assert record.reason == "stop it"
    assert not await asyncio.to_thread(Path(f"/proc/{pid_file.read_text().strip()}").exists)


async def test_a_node_that_takes_too_long_times_out(open_bench: Opener) -> None:
    bench = await open_bench(clock=SystemClock())
    await bench.put("id: slow\nnodes:\n  slow: {shell: 'sleep 600', timeout: 200ms}\n")
    record = await bench.run("slow")
    run = await bench.engine.store.node_runs.get(WORKSPACE, record.id, "slow", 0)
    assert run is not None
    assert (record.status, run.status) == (ExecutionStatus.FAILED, NodeStatus.TIMED_OUT)


async def test_a_deadline_ends_a_sleeping_execution_and_cleans_up(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(
        "id: late\ntimeout: 1h\nnodes:\n  nap: {sleep: 1d}\n  clean: {transform: cleaned, needs: [nap], run_if: always}\n"
    )
    record = await bench.run("late")
    clean = await bench.engine.store.node_runs.get(WORKSPACE, record.id, "clean", 0)
    assert clean is not None
    assert (record.status, clean.status) == (ExecutionStatus.TIMED_OUT, NodeStatus.COMPLETED)


async def test_large_values_go_to_blob_storage_and_come_back(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(
        "id: large\ninput: {text: {type: string}}\nnodes:\n  a: {transform: '${input.text}'}\n"
        "  b: {transform: '${nodes.a.output.size()}'}\noutput: {size: '${nodes.b.output}', text: '${nodes.a.output}'}\n"
    )
    text = "x" * (2 * INLINE_LIMIT)
    record = await bench.run("large", {"text": text})
    payload = await bench.payload(record.id)
    assert payload.output is not None
    assert payload.output.blob is not None
    assert await bench.output(record.id) == {"size": len(text), "text": text}


async def test_why_names_what_an_execution_waits_for(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put("id: one_at_a_time\nconcurrency: {limit: 1}\nnodes:\n  nap: {sleep: 1d}\n")
    first = await bench.start("one_at_a_time")
    second = await bench.start("one_at_a_time")
    await bench.until(first, lambda record: record.status is ExecutionStatus.SUSPENDED)
    (cause,) = (await bench.engine.why(WORKSPACE, second))["waiting_for"]
    assert (cause["kind"], cause["limit"], cause["holders"], cause["ahead"]) == (
        "concurrency_limit",
        1,
        [id_text(first)],
        0,
    )
    (cause,) = (await bench.engine.why(WORKSPACE, first))["waiting_for"]
    assert (cause["kind"], cause["node"]) == ("timer", "nap")
    await bench.ended(second)


async def test_why_finds_the_run_that_holds_it_up_behind_any_number_of_others(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(
        "id: wide\ninput: {rows: {type: array}}\nnodes:\n  a: {transform: '${item}', foreach: '${input.rows}'}\n"
        "  z: {shell: 'exit 1', needs: [a], retry: {attempts: 2, backoff: 1h}}\n"
    )
    id = await bench.start("wide", {"rows": list(range(1001))})
    await bench.until(id, lambda record: record.status is ExecutionStatus.SUSPENDED)
    why = await bench.engine.why(WORKSPACE, id)
    (cause,) = why["waiting_for"]
    assert (cause["kind"], cause["node"]) == ("retry", "z")
    assert why["summary"].startswith("Node z failed (")
    await bench.ended(id)
    ended = (await bench.engine.why(WORKSPACE, id))["summary"]
    assert ended == "It has ended: failed (exit_code in node z: the command ended with exit code 1)."


async def test_compensations_undo_in_reverse_order(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(
        "id: saga\nnodes:\n"
        "  book: {transform: booked, compensate: {transform: '${nodes.book.output} undone'}}\n"
        "  pay: {transform: paid, needs: [book], compensate: {transform: '${nodes.pay.output} undone'}}\n"
        "  ship: {fail: 'no stock', needs: [pay]}\n"
    )
    record = await bench.run("saga")
    assert record.status is ExecutionStatus.FAILED
    undone = [node for type, node in await bench.events(record.id) if type == "node.completed"]
    assert undone == ["book", "pay", "pay", "book"]
    run = await bench.engine.store.node_runs.get(WORKSPACE, record.id, "pay", 0, "compensate")
    assert run is not None
    assert run.output is not None
    assert run.output.text == '"paid undone"'


async def test_secrets_reach_nodes_and_are_masked_wherever_they_would_be_recorded(open_bench: Opener) -> None:
    bench = await open_bench(secrets={"target": "hunter22-secret"})
    await bench.put(
        "id: secretive\nnodes:\n  say: {shell: 'echo \"$T\"; echo \"$T\" >&2; exit 4', env: {T: '${secrets.target}'},"
        " with: {t: '${secrets.target}'}}\n"
    )
    record = await bench.run("secretive")
    run = await bench.engine.store.node_runs.get(WORKSPACE, record.id, "say", 0)
    assert run is not None
    chunks = await bench.engine.store.events.page(WORKSPACE, record.id, 0, 1000)
    everything = repr((run, chunks, await bench.payload(record.id)))
    assert "***" in everything
    assert "hunter22" not in everything


async def test_an_output_is_masked_and_later_nodes_get_what_is_recorded(open_bench: Opener) -> None:
    bench = await open_bench(secrets={"target": 'hunter "22" sécret', "pin": "2026"})
    await bench.put(
        "id: leaking\nnodes:\n"
        "  leak: {transform: {header: 'Bearer ${secrets.target}', pin: '${secrets.pin}', n: 20260101}}\n"
        "  next: {transform: {got: '${nodes.leak.output.header}', own: '${size(secrets.target)}'}}\n"
        "output: '${nodes.leak.output}'\n"
    )
    record = await bench.run("leaking")
    masked = {"header": "Bearer ***", "pin": "2026", "n": 20260101}
    assert await bench.output(record.id) == masked
    runs = {run.node: run for run in await bench.engine.store.node_runs.list(WORKSPACE, record.id, limit=10)}
    leak, following = runs["leak"].output, runs["next"].output
    assert leak is not None
    assert leak.text == encode_text(masked)
    assert following is not None
    assert following.text == '{"got":"Bearer ***","own":18}'
    chunks = await bench.engine.store.events.page(WORKSPACE, record.id, 0, 1000)
    (warning,) = [event for chunk in chunks for event in chunk.events if event.type == "log"]
    assert warning.data is not None
    assert "${secrets.target}" in warning.data["message"]


async def test_a_secret_does_not_become_the_input_of_a_child(open_bench: Opener) -> None:
    bench = await open_bench(secrets={"target": "hunter22-secret"})
    await bench.put("id: kid\ninput: {t: {type: string}}\nnodes:\n  a: {transform: 1}\n")
    await bench.put("id: parent\nnodes:\n  kid: {flow: kid, with: {t: '${secrets.target}'}}\n")
    record = await bench.run("parent")
    error = (await bench.payload(record.id)).error
    assert error is not None
    assert error["code"] == "secret_in_input"
    assert "${secrets.target}" in error["message"]
    assert await bench.engine.store.executions.children(WORKSPACE, record.id) == []


async def test_what_json_cannot_express_is_refused_rather_than_altered(open_bench: Opener, tmp_path: Path) -> None:
    (tmp_path / "oddities.py").write_text("async def odd():\n    return {'x': [1.5, float('nan'), None]}\n")
    bench = await open_bench(flow_folders=[tmp_path])
    await bench.put("id: odd\nnodes:\n  a: {python: 'oddities:odd'}\n")
    record = await bench.run("odd")
    error = (await bench.payload(record.id)).error
    assert error is not None
    assert error["code"] == "invalid_output"
    assert "NaN" in error["message"]


async def test_code_that_blocks_the_loop_past_its_timeout_has_timed_out(open_bench: Opener, tmp_path: Path) -> None:
    (tmp_path / "blocking.py").write_text("import time\nasync def block():\n    time.sleep(0.3)\n    return 1\n")
    bench = await open_bench(clock=SystemClock(), flow_folders=[tmp_path])
    await bench.put("id: blocks\nnodes:\n  a: {python: 'blocking:block', timeout: 100ms}\n")
    record = await bench.run("blocks")
    run = await bench.engine.store.node_runs.get(WORKSPACE, record.id, "a", 0)
    assert run is not None
    assert run.status is NodeStatus.TIMED_OUT


@pytest.mark.parametrize("turns", [0, 1, 2, 4])
async def test_a_start_whose_caller_goes_away_runs_or_never_was(open_bench: Opener, turns: int) -> None:
    bench = await open_bench(slots=1)
    await bench.put(CHAIN)
    await bench.run("chain", {"n": 1})
    request = StartRequest(workspace=WORKSPACE, flow="chain", input={"n": 1})
    starting = asyncio.create_task(bench.engine.start_executions([request]))
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    # Its slot is free again, and nothing is left that nobody runs.
    await bench.run("chain", {"n": 1})
    for record in await bench.engine.store.executions.list(WORKSPACE, ExecutionFilter(), Page(limit=10)):
        assert (await bench.ended(record.id)).status is ExecutionStatus.COMPLETED


async def test_a_slot_that_was_kept_for_a_start_that_waits_goes_to_the_next_at_once(open_bench: Opener) -> None:
    clock = SystemClock()
    bench = await open_bench(clock=clock, slots=1)
    await bench.put(CHAIN)
    requests = [
        StartRequest(workspace=WORKSPACE, flow="chain", input={"n": 1}, start_at=at)
        for at in (clock.now() + HOUR, None)
    ]
    _, other = await bench.engine.start_executions(requests)
    assert isinstance(other, Started)
    assert await bench.engine.wait_ended(WORKSPACE, other.id, 3 * SECOND)
