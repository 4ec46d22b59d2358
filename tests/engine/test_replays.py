"""Replays on the real engine: what is taken over does not run again, what runs does so on what was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from perdure.base.codec import INLINE_LIMIT
from perdure.engine.requests import ReplayRequest
from perdure.errors import ExecutionNotEnded, ExecutionNotFound, InvalidInput, InvalidRequest
from perdure.model.replay import Reach, Reason
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.records import NodeRunRecord
from tests.engine.opened import WORKSPACE, Bench, Opener

REPAIRED = """
id: repaired
input: {folder: {type: string}, word: {type: string, default: one}}
nodes:
  fetch: {shell: 'echo fetch >> "$DIR/ran"; echo "[1, 2, 3]"', env: {DIR: "${input.folder}"}}
  aside: {shell: 'echo aside >> "$DIR/ran"; echo 7', env: {DIR: "${input.folder}"}}
  check: {shell: 'echo check >> "$DIR/ran"; test -f "$DIR/mended"', env: {DIR: "${input.folder}"}, needs: [fetch]}
  each:
    shell: 'echo "each $N" >> "$DIR/ran"; echo "$N"; test "$N" != 2 || test -f "$DIR/mended"'
    foreach: ${nodes.fetch.output.json}
    parallel: 1
    env: {DIR: "${input.folder}", N: "${item}"}
  report: {transform: "${input.word} ${size(nodes.each.output)}", needs: [check, aside]}
output: ${nodes.report.output}
"""


def ran(folder: Path) -> list[str]:
    """What really ran since the last look."""
    file = folder / "ran"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return sorted(lines)


async def replay(bench: Bench, id: bytes, **more: Any) -> bytes:
    (started,) = await bench.engine.replay_executions([ReplayRequest(workspace=WORKSPACE, id=id, **more)])
    if isinstance(started, Exception):
        raise started
    return started.id


async def replayed(bench: Bench, id: bytes, **more: Any) -> bytes:
    """A replay that has completed."""
    new = await replay(bench, id, **more)
    record = await bench.ended(new)
    assert record.status is ExecutionStatus.COMPLETED, (await bench.payload(new)).error
    return new


async def runs(bench: Bench, id: bytes, node: str | None = None) -> list[NodeRunRecord]:
    return await bench.engine.store.node_runs.list(WORKSPACE, id, node=node)


async def reasons(bench: Bench, id: bytes, **more: Any) -> dict[str, Reason]:
    draft = await bench.engine.replays.draft(ReplayRequest(workspace=WORKSPACE, id=id, **more))
    return {name: one.reason for name, one in draft.planned.items()}


@pytest.fixture
async def failed(open_bench: Opener, tmp_path: Path) -> tuple[Bench, bytes, Path]:
    """A bench with an execution of `repaired` that failed at its check and at the second of three items."""
    bench = await open_bench()
    await bench.put(REPAIRED)
    folder = tmp_path / "work"
    folder.mkdir()
    record = await bench.run("repaired", {"folder": str(folder)})
    assert record.status is ExecutionStatus.FAILED
    assert ran(folder) == ["aside", "check", "each 1", "each 2", "fetch"]
    (folder / "mended").touch()
    return bench, record.id, folder


async def test_a_retry_runs_what_failed_and_what_never_ran(failed: tuple[Bench, bytes, Path]) -> None:
    bench, original, folder = failed
    new = await replayed(bench, original, begin="failed")
    assert ran(folder) == ["check", "each 2", "each 3"]
    assert await bench.output(new) == "one 3"
    record = await bench.record(new)
    assert (record.replay_of, record.trigger_kind) == (original, "replay")
    taken = {(run.node, run.ordinal) for run in await runs(bench, new) if run.reused_from == original}
    assert taken == {("fetch", 0), ("aside", 0), ("each", 0)}


async def test_events_tell_what_was_taken_over_before_anything_starts(failed: tuple[Bench, bytes, Path]) -> None:
    bench, original, _ = failed
    new = await replayed(bench, original, begin="failed")
    told = await bench.events(new)
    assert told[0] == ("execution.created", None)
    assert sorted(told[1:4]) == [("node.completed", name) for name in ("aside", "each", "fetch")]
    assert told[4:6] == [("execution.queued", None), ("execution.started", None)]
    assert sum(type == "node.started" for type, _ in told) == 4


async def test_from_the_start_everything_runs(failed: tuple[Bench, bytes, Path]) -> None:
    bench, original, folder = failed
    new = await replayed(bench, original)
    assert ran(folder) == ["aside", "check", "each 1", "each 2", "each 3", "fetch"]
    assert not [run for run in await runs(bench, new) if run.reused_from is not None]


async def test_from_a_node_it_and_what_follows_run_and_failures_too(failed: tuple[Bench, bytes, Path]) -> None:
    bench, original, folder = failed
    first = await replayed(bench, original, begin="failed")
    ran(folder)
    await replayed(bench, first, begin=["aside"])
    assert ran(folder) == ["aside"]
    await replayed(bench, first, begin=["aside"], reach=Reach.ANCESTORS)
    assert ran(folder) == ["aside", "check", "each 1", "each 2", "each 3", "fetch"]
    await replayed(bench, original, begin=["aside"])
    assert ran(folder) == ["aside", "check", "each 2", "each 3"]


async def test_a_replay_of_a_replay_knows_where_results_were_made(failed: tuple[Bench, bytes, Path]) -> None:
    bench, original, _ = failed
    first = await replayed(bench, original, begin="failed")
    second = await replayed(bench, first, begin=["report"])
    made = {(run.node, run.ordinal): run.reused_from for run in await runs(bench, second)}
    assert made == {
        ("fetch", 0): original, ("aside", 0): original, ("each", 0): original, ("each", 1): first, ("each", 2): first,
        ("check", 0): first, ("report", 0): None,
    }  # fmt: skip


async def test_an_edited_output_is_gone_on_with(failed: tuple[Bench, bytes, Path]) -> None:
    bench, original, folder = failed
    new = await replayed(bench, original, outputs={"check": {"exit_code": 0}})
    assert ran(folder) == ["each 2", "each 3"]
    (check,) = await runs(bench, new, "check")
    assert (check.status, check.reused_from, check.error) == (NodeStatus.COMPLETED, original, None)


async def test_items_that_an_edit_leaves_as_they_were_keep_their_results(failed: tuple[Bench, bytes, Path]) -> None:
    bench, original, folder = failed
    first = await replayed(bench, original, begin="failed")
    ran(folder)
    new = await replayed(bench, first, outputs={"fetch": {"json": [1, 5, 3, 4]}})
    assert ran(folder) == ["check", "each 4", "each 5"]
    assert await bench.output(new) == "one 4"


async def test_the_edited_output_of_a_foreach_stands_for_all_items(failed: tuple[Bench, bytes, Path]) -> None:
    bench, original, folder = failed
    new = await replayed(bench, original, outputs={"each": ["x"], "check": None})
    assert ran(folder) == []
    assert await bench.output(new) == "one 1"
    again = await replayed(bench, new, begin=["report"])
    assert await bench.output(again) == "one 1"


async def test_an_edited_input_runs_what_it_reaches_and_nothing_else(failed: tuple[Bench, bytes, Path]) -> None:
    bench, original, folder = failed
    first = await replayed(bench, original, begin="failed")
    ran(folder)
    edited = {"folder": str(folder), "word": "two"}
    assert (await reasons(bench, first, begin=["aside"], input=edited))["report"] is Reason.DEPENDS
    new = await replayed(bench, first, begin=["aside"], input=edited)
    assert ran(folder) == ["aside"]
    assert await bench.output(new) == "two 3"
    moved = {"folder": str(folder / "other")}
    told = await reasons(bench, first, begin=["report"], input=moved)
    assert {told[name] for name in ("fetch", "aside", "check")} == {Reason.INPUT_EDITED}
    with pytest.raises(InvalidInput):
        await replay(bench, first, input={"folder": 3})


async def test_another_version_runs_the_nodes_that_it_changed(failed: tuple[Bench, bytes, Path]) -> None:
    bench, original, folder = failed
    first = await replayed(bench, original, begin="failed")
    ran(folder)
    added = "  added: {transform: 1}\n  report:"
    await bench.put(REPAIRED.replace("echo 7", "echo 8").replace("  report:", added))
    told = await reasons(bench, first, begin=["report"], version="latest")
    assert (told["aside"], told["added"]) == (Reason.DEFINITION_CHANGED, Reason.NEW_NODE)
    assert told["fetch"] is told["each"] is Reason.RECORDED
    new = await replayed(bench, first, begin=["report"], version="latest")
    assert (await bench.record(new)).flow_version == 2
    assert ran(folder) == ["aside"]
    same = await replayed(bench, first, begin=["report"])
    assert (await bench.record(same)).flow_version == 1


async def test_large_outputs_and_artifacts_are_shared_by_content(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(
        "id: large\ninput: {text: {type: string}}\nnodes:\n  big: {transform: '${input.text}'}\n"
        "  file: {shell: 'printf content > \"$PERDURE_ARTIFACTS/report.txt\"'}\n"
        "  last: {transform: '${size(nodes.big.output)}', needs: [file]}\noutput: '${nodes.last.output}'\n"
    )
    original = await bench.run("large", {"text": "x" * 2 * INLINE_LIMIT})
    new = await replayed(bench, original.id, begin=["last"])
    assert await bench.output(new) == 2 * INLINE_LIMIT
    (big,) = await runs(bench, new, "big")
    assert big.output is not None
    assert big.output.blob is not None
    kept, shared = [await bench.engine.store.artifacts.list(WORKSPACE, execution_id=id) for id in (original.id, new)]
    assert [(one.name, one.sha256) for one in shared] == [(one.name, one.sha256) for one in kept]
    assert kept[0].id != shared[0].id


async def test_children_of_what_is_taken_over_are_named_and_not_run(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put("id: child\nnodes:\n  one: {transform: 1}\noutput: '${nodes.one.output}'\n")
    await bench.put(
        "id: parent\nnodes:\n  kid: {flow: child}\n  last: {transform: '${nodes.kid.output + 1}'}\n"
        "output: '${nodes.last.output}'\n"
    )
    original = await bench.run("parent")
    new = await replayed(bench, original.id, begin=["last"])
    assert await bench.output(new) == 2
    (kid,) = await runs(bench, new, "kid")
    assert [record.id for record in await bench.engine.store.executions.children(WORKSPACE, original.id)] == [kid.child]
    assert await bench.engine.store.executions.children(WORKSPACE, new) == []
    alone = await replayed(bench, kid.child or b"")
    record = await bench.record(alone)
    assert (record.parent, record.root, record.depth) == (None, alone, 0)


MANY = """
id: many
input: {items: {type: array}, bad: {type: integer}}
nodes:
  each: {transform: "${item == input.bad ? 1 / 0 : item}", foreach: "${input.items}"}
  count: {transform: "${size(nodes.each.output)}"}
output: ${nodes.count.output}
"""


async def test_ten_thousand_items_are_taken_over_but_for_the_one_that_failed(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(MANY)
    original = await bench.run("many", {"items": [*range(10_000)], "bad": 5_000})
    assert original.status is ExecutionStatus.FAILED
    items = {"items": [*range(10_000)], "bad": -1}
    new = await replayed(bench, original.id, begin="failed", input=items)
    assert await bench.output(new) == 10_000
    recorded = await bench.engine.store.node_runs.recorded(WORKSPACE, new)
    made_here = [run for run in recorded if run.reused_from is None]
    assert {(run.node, run.ordinal) for run in made_here} == {("each", 5_000), ("count", 0)}
    again = await replayed(bench, new, begin=["count"])
    assert len([type for type, _ in await bench.events(again) if type == "node.started"]) == 1


async def test_an_edited_input_reaches_items_of_a_foreach_that_failed(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(MANY.replace(": item}", ": item + input.bad}"))
    original = await bench.run("many", {"items": [1, 2, 3], "bad": 2})
    new = await replayed(bench, original.id, begin="failed", input={"items": [1, 2, 3], "bad": 9})
    assert [run.reused_from for run in await runs(bench, new, "each")] == [None] * 3


async def test_what_cannot_be_replayed_is_refused_by_name(failed: tuple[Bench, bytes, Path]) -> None:
    bench, original, _ = failed
    with pytest.raises(InvalidRequest, match="did you mean 'check'") as refused:
        await replay(bench, original, begin=["chek", "each"], outputs={"each": 1, "lost": 2})
    assert {problem.pointer for problem in refused.value.problems} == {"/from/0", "/outputs/lost", "/outputs/each"}
    with pytest.raises(ExecutionNotFound):
        await replay(bench, b"\0" * 16)
    await bench.put("id: waits\nnodes:\n  nap: {sleep: 1h}\n")
    unfinished = await bench.start("waits")
    with pytest.raises(ExecutionNotEnded):
        await replay(bench, unfinished)
