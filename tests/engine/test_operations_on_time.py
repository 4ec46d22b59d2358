"""Operations wait for what they need to know, and stop at once when they are told to."""

import asyncio

import pytest

from perdure.base.clock import SECOND
from perdure.base.manual_clock import ManualClock
from perdure.engine import searching
from perdure.engine.engine import Engine
from perdure.engine.loops.indexer import Indexer
from perdure.engine.operations import OperationRequest, Plan
from perdure.engine.searching import TextFilter
from perdure.model.operation import OPEN, Action, ItemOutcome, OperationStatus
from perdure.store.commands import Command, EraseExecutions
from perdure.store.interface import ExecutionFilter
from perdure.store.operation_records import OperationRecord
from tests.engine.opened import WORKSPACE, Opener

ECHO = "id: echo\nnodes:\n  a: {transform: '${input.text}'}\n"
MANY = "id: many\nnodes:\n  all: {flow: one, foreach: '${input.items}'}\n"
ONE = "id: one\nnodes:\n  add: {transform: '${1 + 1}'}\n"


async def begin(engine: Engine, action: Action, plan: Plan, ids: list[bytes] | None = None) -> OperationRecord:
    request = OperationRequest(
        workspace=WORKSPACE, action=action, ids=ids, plan=plan, told={"arguments": {}, "filter": None}, asked_by="ada"
    )
    return (await engine.operations.create(request)).operation


async def turn(engine: Engine, name: str) -> None:
    [loop] = [loop for loop in engine.loops if loop.name == name]
    await loop.turn()


async def over(engine: Engine, operation: OperationRecord) -> OperationRecord:
    async with asyncio.timeout(60):
        while (found := await engine.operations.get(WORKSPACE, operation.id)).status in OPEN:
            await turn(engine, "operator")
    return found


async def test_what_a_text_chooses_is_not_chosen_before_the_index_has_followed(
    open_bench: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_held = False
    work = Indexer.work

    async def held_back(indexer: Indexer) -> float:
        return 3600.0 if is_held else await work(indexer)

    monkeypatch.setattr(Indexer, "work", held_back)
    clock = ManualClock()
    bench = await open_bench(clock=clock)
    engine = bench.engine
    await bench.put(ECHO)
    await bench.run("echo", {"text": "early needle"})
    await turn(engine, "indexer")
    is_held = True
    for _ in range(9):
        clock.advance(SECOND)
        await bench.run("echo", {"text": "late needle"})
    # As if there were very many commits, of which the index has followed few.
    monkeypatch.setattr(searching, "FEW", 0)
    monkeypatch.setattr(searching, "FRESH_COMMITS", 3)
    chosen = Plan(
        is_chosen=True, put={"found": "yes"}, texts=TextFilter(anywhere="needle"),
        filter=ExecutionFilter(now=clock.now()),
    )  # fmt: skip
    operation = await begin(engine, Action.TAG, chosen)
    await turn(engine, "operator")
    waiting = await engine.operations.get(WORKSPACE, operation.id)
    assert (waiting.status, waiting.total) == (OperationStatus.COLLECTING, 0)
    is_held = False
    async with asyncio.timeout(20):
        while (await engine.searcher.describe())["lag_s"]:
            await turn(engine, "indexer")
    done = await over(engine, operation)
    assert (done.status, done.total, done.succeeded) == (OperationStatus.COMPLETED, 10, 10)


async def test_a_large_family_is_not_deleted_on_behind_a_cancellation(
    open_bench: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await open_bench()
    engine = bench.engine
    await bench.put(ONE)
    await bench.put(MANY)
    top = await bench.run("many", {"items": list(range(120))})
    execute = engine.recorder.execute
    known = asyncio.Event()
    left: list[int] = []

    async def noting(command: Command) -> object:
        answer = await execute(command)
        if isinstance(command, EraseExecutions) and not left:
            await known.wait()
            await engine.operations.cancel(WORKSPACE, operation.id)
            left.append(len(await engine.store.executions.children(WORKSPACE, top.id)))
        return answer

    monkeypatch.setattr(engine.recorder, "execute", noting)
    operation = await begin(engine, Action.DELETE, Plan(), [top.id])
    known.set()
    async with asyncio.timeout(60):
        while not left:
            await turn(engine, "operator")
    done = await over(engine, operation)
    await turn(engine, "operator")
    [item] = await engine.store.operations.items(operation.id)
    assert (done.status, item.outcome) == (OperationStatus.CANCELLED, ItemOutcome.WAITING)
    assert len(await engine.store.executions.children(WORKSPACE, top.id)) == left[0] > 0
