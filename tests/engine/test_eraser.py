"""Large families and long histories are deleted from below in portions; what is in the way of a deletion stops all of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from perdure.artifacts.local import LocalStorage
from perdure.base.manual_clock import ManualClock
from perdure.engine import eraser
from perdure.engine.engine import Engine
from perdure.engine.requests import ReplayRequest
from perdure.engine.retention import parse_retention
from perdure.engine.streams import execution_events
from perdure.errors import ExecutionNotEnded, ExecutionNotFound
from perdure.model.replay import FAILED
from perdure.store.commands import DeleteExecutions, EraseExecutions, EraseHistory
from perdure.store.interface import ExecutionFilter
from tests.engine.opened import WORKSPACE, Bench, Opener

MANY = "id: many\nnodes:\n  all: {flow: one, foreach: '${input.items}'}\n"
ONE = "id: one\nnodes:\n  add: {transform: '${1 + 1}'}\n"
WIDE = "id: wide\nnodes:\n  all: {transform: '${item}', foreach: '${input.items}'}\n"
LARGE = "id: large\nnodes:\n  a: {transform: '${input.text}'}\n"


def portions(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The commands of deletion that are carried out from now on, in order."""
    seen: list[Any] = []
    execute = engine.recorder.execute

    async def noting(command: Any) -> Any:
        if isinstance(command, EraseExecutions | EraseHistory | DeleteExecutions):
            seen.append(command)
        return await execute(command)

    monkeypatch.setattr(engine.recorder, "execute", noting)
    return seen


async def counted(bench: Bench) -> int:
    return await bench.engine.store.executions.count(WORKSPACE, ExecutionFilter())


async def test_a_large_family_is_deleted_in_portions(open_bench: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = await open_bench(ManualClock())
    await bench.put(MANY)
    await bench.put(ONE)
    top = await bench.run("many", {"items": list(range(120))})
    seen = portions(bench.engine, monkeypatch)
    assert await bench.engine.delete_executions(WORKSPACE, [top.id]) == [None]
    sizes = [len(one.ids) for one in seen if isinstance(one, EraseExecutions)]
    assert (sum(sizes), len(sizes) > 1, max(sizes) < 120) == (120, True, True)
    assert isinstance(seen[-1], DeleteExecutions)
    assert await counted(bench) == 0


async def test_a_long_history_is_deleted_in_portions(open_bench: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = await open_bench(ManualClock(), retention=parse_retention("1h"))
    await bench.put(WIDE)
    long, other = [(await bench.run("wide", {"items": list(range(n))})).id for n in (800, 2)]
    seen = portions(bench.engine, monkeypatch)
    assert await bench.engine.delete_executions(WORKSPACE, [long]) == [None]
    assert len([one for one in seen if isinstance(one, EraseHistory)]) > 2
    assert [one.id for one in (await bench.record(other),)] == [other]
    assert await counted(bench) == 1


async def test_members_of_few_families_are_in_memory_at_once(
    open_bench: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await open_bench(ManualClock())
    await bench.put(ONE)
    ids = [(await bench.run("one")).id for _ in range(60)]
    executions = bench.engine.store.executions
    families, read = executions.families, []

    async def noting(roots: Sequence[bytes]) -> Any:
        read.append(len(roots))
        return await families(roots)

    monkeypatch.setattr(executions, "families", noting)
    assert await bench.engine.eraser.erase(ids) == 60
    assert (sum(read), max(read)) == (60, eraser.FAMILIES)
    assert await counted(bench) == 0


async def test_nothing_of_what_cannot_be_deleted_goes(open_bench: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child of a parent that goes on, and a family in which one goes on, however large they are."""
    bench = await open_bench()
    await bench.put(
        "id: outer\nnodes:\n  many: {flow: {flow: many, input: '${input}'}}\n  hold: {signal: go, needs: [many]}\n"
    )
    await bench.put(MANY)
    await bench.put(ONE)
    outer = await bench.start("outer", {"items": list(range(60))})
    await bench.until(outer, lambda record: record.status == "suspended")
    children = await bench.engine.store.executions.children(WORKSPACE, outer)
    await bench.ended(children[0].id)
    seen = portions(bench.engine, monkeypatch)
    answers = await bench.engine.delete_executions(WORKSPACE, [children[0].id, outer])
    assert [type(answer) for answer in answers] == [ExecutionNotEnded, ExecutionNotEnded]
    assert [type(one) for one in seen] == [DeleteExecutions]
    assert await counted(bench) == 62


async def test_starts_get_through_between_portions(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(MANY)
    await bench.put(ONE)
    top = await bench.run("many", {"items": list(range(150))})
    deleting = asyncio.create_task(bench.engine.delete_executions(WORKSPACE, [top.id]))
    between = 0
    while not deleting.done():
        await bench.start("one")
        between += not deleting.done()
    assert between > 1
    assert deleting.result() == [None]


async def test_contents_go_a_day_after_their_last_execution_was_deleted(open_bench: Opener, tmp_path: Path) -> None:
    clock = ManualClock()
    bench = await open_bench(clock)
    await bench.put(LARGE)
    first, second = [(await bench.run("large", {"text": text * 100_000})).id for text in "ab"]
    storage = bench.engine.artifacts
    assert isinstance(storage, LocalStorage)
    sweeper = next(loop for loop in bench.engine.loops if loop.name == "sweeper")

    def contents() -> set[bytes]:
        return {sha256 for _, _, sha256 in storage.contents()}

    before = contents()
    await bench.engine.delete_executions(WORKSPACE, [first])
    await sweeper.turn()
    assert contents() == before
    for sha256 in before:
        os.utime(storage.path_of(sha256), (1, 1))
    with storage.held():
        await sweeper.turn()
    assert contents() == before
    (storage.root / "store-00000000000000ff").touch()
    await sweeper.turn()
    assert contents() == before
    (storage.root / "store-00000000000000ff").unlink()
    await sweeper.turn()
    assert contents() < before
    assert await bench.output(second) == {"a": "b" * 100_000}
    await bench.engine.delete_executions(WORKSPACE, [second])
    await sweeper.turn()
    assert contents() == set()


async def test_a_folder_is_marked_before_anything_lies_there(open_bench: Opener) -> None:
    """`perdure run` sweeps nothing, and another store's server must not take its contents for garbage."""
    bench = await open_bench(ManualClock(), claim=False)
    storage = bench.engine.artifacts
    assert isinstance(storage, LocalStorage)
    [mark] = storage.root.glob("store-*")
    assert await storage.claim(int(mark.name.removeprefix("store-"), 16)) == []
    assert await storage.claim(1) == [mark.name]


async def test_what_is_half_deleted_is_not_replayed(open_bench: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry would take the items that are left for all there were."""
    monkeypatch.setattr(eraser, "MOST", 300)
    bench = await open_bench()
    await bench.put(WIDE + "  no: {fail: {message: no}, needs: [all]}\n")
    one = await bench.run("wide", {"items": list(range(800))})
    engine, execute = bench.engine, bench.engine.recorder.execute
    answers: list[Any] = []

    async def beside(command: Any) -> Any:
        answer = await execute(command)
        if isinstance(command, EraseHistory):
            left = await engine.store.node_runs.recorded(WORKSPACE, one.id)
            if 0 < len(left) < 800 and not answers:
                request = ReplayRequest(workspace=WORKSPACE, id=one.id, begin=FAILED)
                answers.extend(await engine.replay_executions([request]))
        return answer

    monkeypatch.setattr(engine.recorder, "execute", beside)
    assert await engine.delete_executions(WORKSPACE, [one.id]) == [None]
    assert [type(answer) for answer in answers] == [ExecutionNotFound]


async def test_a_reader_of_what_is_half_deleted_comes_to_an_end(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(WIDE)
    engine = bench.engine
    one = await bench.run("wide", {"items": list(range(20))})
    whole = (await bench.record(one.id)).last_seq
    assert await engine.recorder.execute(EraseHistory(at=1, execution_id=one.id, limit=1))
    read = 0
    async with asyncio.timeout(10):
        async for batch in execution_events(engine.store, engine.hub, workspace=WORKSPACE, execution_id=one.id):
            read += len(batch)
    assert 0 < read < whole
