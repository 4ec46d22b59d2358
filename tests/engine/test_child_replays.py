"""A replay whose `flow` node failed goes on in the child too: what stands there does not run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from perdure.engine.requests import ReplayRequest
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.records import ExecutionRecord
from tests.engine.opened import WORKSPACE, Bench, Opener

INNER = """
id: inner
input: {folder: {type: string}, name: {type: string, default: a}}
nodes:
  first:  {shell: 'echo "first $NAME" >> "$DIR/ran"', env: {DIR: "${input.folder}", NAME: "${input.name}"}}
  second:
    shell: 'echo "second $NAME" >> "$DIR/ran"; test "$NAME" = ok || test -f "$DIR/mended"'
    env: {DIR: "${input.folder}", NAME: "${input.name}"}
    needs: [first]
output: ${input.name}
"""
MIDDLE = """
id: middle
input: {folder: {type: string}}
nodes:
  before: {shell: 'echo before >> "$DIR/ran"', env: {DIR: "${input.folder}"}}
  kid: {flow: {flow: inner, input: {folder: "${input.folder}"}}, needs: [before]}
output: ${nodes.kid.output}
"""
OUTER = """
id: outer
input: {folder: {type: string}}
nodes:
  kid: {flow: {flow: middle, input: {folder: "${input.folder}"}}}
output: ${nodes.kid.output}
"""


@pytest.fixture
async def bench(open_bench: Opener) -> Bench:
    bench = await open_bench()
    for text in (INNER, MIDDLE, OUTER):
        await bench.put(text)
    return bench


def ran(folder: Path) -> list[str]:
    """What really ran since the last look."""
    lines = (folder / "ran").read_text().splitlines()
    (folder / "ran").write_text("")
    return sorted(lines)


async def replay(bench: Bench, id: bytes, **more: Any) -> ExecutionRecord:
    [started] = await bench.engine.replay_executions([ReplayRequest(workspace=WORKSPACE, id=id, **more)])
    assert not isinstance(started, Exception), started
    return await bench.ended(started.id)


async def only_child(bench: Bench, id: bytes) -> ExecutionRecord:
    [child] = await bench.engine.store.executions.children(WORKSPACE, id)
    return child


async def test_the_child_of_a_retry_runs_only_what_failed_in_it_however_deep(bench: Bench, tmp_path: Path) -> None:
    original = await bench.run("outer", {"folder": str(tmp_path)})
    assert original.status is ExecutionStatus.FAILED
    assert ran(tmp_path) == ["before", "first a", "second a"]
    (tmp_path / "mended").touch()
    new = await replay(bench, original.id, begin="failed")
    assert (new.status, ran(tmp_path)) == (ExecutionStatus.COMPLETED, ["second a"])
    assert await bench.output(new.id) == "a"
    old, child = await only_child(bench, original.id), await only_child(bench, new.id)
    assert (child.replay_of, child.parent, child.root, child.trigger_kind) == (old.id, new.id, new.id, "flow")
    grandchild = await only_child(bench, child.id)
    [first] = await bench.engine.store.node_runs.list(WORKSPACE, grandchild.id, node="first")
    assert first.reused_from == (await only_child(bench, old.id)).id


async def test_a_second_retry_goes_on_from_the_first(bench: Bench, tmp_path: Path) -> None:
    original = await bench.run("middle", {"folder": str(tmp_path)})
    again = await replay(bench, original.id, begin="failed")
    assert (again.status, ran(tmp_path)) == (
        ExecutionStatus.FAILED, ["before", "first a", "second a", "second a"],
    )  # fmt: skip
    (tmp_path / "mended").touch()
    last = await replay(bench, again.id, begin="failed")
    assert (last.status, ran(tmp_path)) == (ExecutionStatus.COMPLETED, ["second a"])


async def test_a_child_that_was_asked_for_runs_from_its_start(bench: Bench, tmp_path: Path) -> None:
    original = await bench.run("middle", {"folder": str(tmp_path)})
    (tmp_path / "mended").touch()
    ran(tmp_path)
    new = await replay(bench, original.id, begin=["kid"])
    assert (new.status, ran(tmp_path)) == (ExecutionStatus.COMPLETED, ["first a", "second a"])
    assert (await only_child(bench, new.id)).replay_of is None


async def test_a_further_attempt_is_one_from_the_start(bench: Bench, tmp_path: Path) -> None:
    await bench.put(MIDDLE.replace("needs: [before]", "needs: [before], retry: {attempts: 2}"))
    original = await bench.run("middle", {"folder": str(tmp_path)})
    assert ran(tmp_path) == ["before", "first a", "first a", "second a", "second a"]
    again = await replay(bench, original.id, begin="failed")
    assert (again.status, ran(tmp_path)) == (ExecutionStatus.FAILED, ["first a", "second a", "second a"])


async def test_a_mended_child_flow_runs_in_its_newest_version_where_none_is_named(bench: Bench, tmp_path: Path) -> None:
    original = await bench.run("middle", {"folder": str(tmp_path)})
    ran(tmp_path)
    await bench.put(INNER.replace('"second $NAME" >> "$DIR/ran"; test', '"mended $NAME" >> "$DIR/ran"; true || test'))
    new = await replay(bench, original.id, begin="failed")
    assert (new.status, ran(tmp_path)) == (ExecutionStatus.COMPLETED, ["mended a"])
    assert (await only_child(bench, new.id)).flow_version == 2


async def test_failed_items_go_on_each_in_its_child(bench: Bench, tmp_path: Path) -> None:
    await bench.put(
        "id: many\ninput: {folder: {type: string}}\nnodes:\n  each:\n    foreach: [ok, bad, worse]\n    key: ${item}\n"
        "    flow: {flow: inner, input: {folder: '${input.folder}', name: '${item}'}}\noutput: ${nodes.each.output}\n"
    )
    original = await bench.run("many", {"folder": str(tmp_path)})
    assert original.status is ExecutionStatus.FAILED
    begun = [line.split()[1] for line in ran(tmp_path) if line.startswith("first")]
    (tmp_path / "mended").touch()
    new = await replay(bench, original.id, begin="failed")
    assert await bench.output(new.id) == ["ok", "bad", "worse"]
    assert {line.split()[1] for line in ran(tmp_path) if line.startswith("first")} == {"bad", "worse"} - {*begun}


async def test_a_child_that_was_cancelled_with_its_parent_goes_on(bench: Bench, tmp_path: Path) -> None:
    await bench.put(INNER.replace("    needs: [first]", "    needs: [wait]\n  wait: {signal: go, needs: [first]}"))
    running = await bench.start("middle", {"folder": str(tmp_path)})
    await bench.until(running, lambda record: record.status is ExecutionStatus.SUSPENDED)
    child = await only_child(bench, running)
    await bench.until(child.id, lambda record: record.status is ExecutionStatus.SUSPENDED)
    await bench.engine.cancel_executions(WORKSPACE, [running])
    original = await bench.ended(running)
    assert original.status is ExecutionStatus.CANCELLED
    await bench.ended(child.id)
    ran(tmp_path)
    [started] = await bench.engine.replay_executions([ReplayRequest(workspace=WORKSPACE, id=running, begin="failed")])
    assert not isinstance(started, Exception)
    await bench.until(started.id, lambda record: record.status is ExecutionStatus.SUSPENDED)
    new = await only_child(bench, started.id)
    await bench.until(new.id, lambda record: record.status is ExecutionStatus.SUSPENDED)
    [first] = await bench.engine.store.node_runs.list(WORKSPACE, new.id, node="first")
    assert (first.status, first.reused_from) == (NodeStatus.COMPLETED, child.id)
    assert ran(tmp_path) == []
