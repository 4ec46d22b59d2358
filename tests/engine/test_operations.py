"""Operations beside everything else that happens to their executions: what they say came of each is what really came of it.

Each on one engine over SQLite, and on two over one PostgreSQL.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from perdure.base.clock import SECOND
from perdure.engine.engine import Engine
from perdure.engine.loops import operator
from perdure.engine.operations import OperationRequest, Plan
from perdure.engine.requests import StartRequest
from perdure.errors import StoreBusy
from perdure.model.event import Event, EventType
from perdure.model.operation import OPEN, Action, ItemOutcome, OperationStatus
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.commands import ClaimOperation, Command, RegisterWorker, StartExecutions, StepOperation
from perdure.store.interface import Advanced, Batch, BatchOutcome, ExecutionFilter
from perdure.store.operation_records import OperationItem, OperationRecord, Step
from perdure.store.reads import executions
from perdure.store.records import Advance, NewExecution, Started, Value, WorkerRecord
from perdure.store.sqlite import readers as reading
from tests.engine.arena import WORKSPACE, Arena, engine_on
from tests.store.databases import fresh_url

FAILING = "id: failing\nnodes:\n  first: {transform: 41}\n  no: {fail: {message: no}, needs: [first]}\n"
SHORT = "id: short\nnodes:\n  nap: {sleep: 3ms}\n  last: {transform: 1, needs: [nap]}\n"
BRIEF = """
id: brief
input: {n: {type: integer}}
nodes:
  first: {transform: "${input.n}"}
  nap: {sleep: "${string(input.n)}ms", needs: [first]}
  last: {transform: 1, needs: [nap]}
"""
SUCCEEDED, REFUSED = ItemOutcome.SUCCEEDED, ItemOutcome.REFUSED


ROUNDS = 150


@pytest.fixture
def pit(arena: Arena) -> Arena:
    arena.rounds = ROUNDS
    return arena


async def begin(
    engine: Engine, action: Action, ids: Sequence[bytes] | None = None, plan: Plan | None = None
) -> OperationRecord:
    request = OperationRequest(
        workspace=WORKSPACE, action=action, ids=None if ids is None else list(ids), plan=plan or Plan(),
        told={"arguments": {}, "filter": None}, asked_by="ada",
    )  # fmt: skip
    return (await engine.operations.create(request)).operation


async def turn(engine: Engine) -> None:
    """Have its operator look for work, whatever it was waiting for."""
    [loop] = [loop for loop in engine.loops if loop.name == "operator"]
    await loop.turn()


async def over(engine: Engine, operation: OperationRecord) -> OperationRecord:
    async with asyncio.timeout(60):
        while (found := await engine.operations.get(WORKSPACE, operation.id)).status in OPEN:
            await turn(engine)
    return found


async def items(engine: Engine, operation: OperationRecord) -> dict[bytes, OperationItem]:
    found = await engine.store.operations.items(operation.id, limit=10_000)
    assert [item.n for item in found] == list(range(1, len(found) + 1))
    return {item.execution_id: item for item in found}


async def done(
    engine: Engine, action: Action, ids: Sequence[bytes] | None = None, plan: Plan | None = None
) -> tuple[OperationRecord, dict[bytes, OperationItem]]:
    """Begin it, and see it through; its counts are those of its items."""
    operation = await over(engine, await begin(engine, action, ids, plan))
    found = await items(engine, operation)
    outcomes = Counter(item.outcome for item in found.values())
    assert operation.status is OperationStatus.COMPLETED
    assert (operation.total, operation.succeeded, operation.refused) == (
        len(found), outcomes[SUCCEEDED], outcomes[REFUSED],
    )  # fmt: skip
    assert outcomes.keys() <= {SUCCEEDED, REFUSED}
    return operation, found


async def test_what_is_called_cancelled_is_and_what_came_first_ended_by_itself(pit: Arena) -> None:
    """They end one after the other while it goes through them, the last ones first."""
    await pit.put(BRIEF)
    naps = [0, 600_000, *(4 * n for n in range(pit.rounds, 0, -1))]
    requests = [StartRequest(workspace=WORKSPACE, flow="brief", input={"n": n}) for n in naps]
    started = await pit.any.start_executions(requests)
    ids = [one.id for one in started if isinstance(one, Started)]
    await pit.ended(ids[:1])
    _, found = await done(pit.any, Action.CANCEL, ids)
    ends = Counter[tuple[ItemOutcome, ExecutionStatus]]()
    for id, (status, _) in (await pit.ended(ids)).items():
        assert found[id].code in {None, "execution_ended"}
        ends[found[id].outcome, status] += 1
    assert ends.keys() == {(SUCCEEDED, ExecutionStatus.CANCELLED), (REFUSED, ExecutionStatus.COMPLETED)}


class Elsewhere:
    """An owner of an execution that is no part of this engine, and obeys when it is told to."""

    def __init__(self, engine: Engine, started: Started) -> None:
        self._engine = engine
        self._advance: Advance | None = Advance(
            execution_id=started.id, workspace=WORKSPACE, flow="a/b", epoch=started.epoch, updated_at=2,
            previous=ExecutionStatus.RUNNING, status=ExecutionStatus.CANCELLING,
            events=[Event(EventType.EXECUTION_CANCELLING, 2)],
        )  # fmt: skip

    def obey(self) -> None:
        self._engine.recorder.advance(self)

    def drain(self) -> Advance | None:
        advance, self._advance = self._advance, None
        return advance

    def committed(self, outcome: Any) -> None:
        assert isinstance(outcome, Advanced)


async def test_what_owners_were_asked_for_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They obey one after the other: to go through all that are left each time would take for ever."""
    listed: list[int] = []
    async with engine_on(tmp_path, None) as engine:
        worker = WorkerRecord(id="w2", number=0, name="w2", host="h", pid=1, started_at=1, heartbeat_at=1)
        await engine.recorder.execute(RegisterWorker(at=1, worker=worker))
        news = [
            NewExecution(
                id=id, workspace=WORKSPACE, flow="a/b", flow_version=1, input=Value("{}", None, 2), priority=5,
                queue="default", tags={}, trigger_kind="api", root=id, created_at=1, claim_by="w2",
            ) for id in (bytes([n] * 16) for n in range(1, 9))
        ]  # fmt: skip
        started = await engine.recorder.execute(StartExecutions(at=1, executions=news))
        operations = engine.store.operations
        items = operations.items

        async def noting(id: bytes, **span: Any) -> list[OperationItem]:
            found = await items(id, **span)
            if span.get("outcome") is ItemOutcome.ASKED:
                listed.append(len(found))
            return found

        monkeypatch.setattr(operations, "items", noting)
        operation = await begin(engine, Action.CANCEL, [one.id for one in started])
        async with asyncio.timeout(30):
            for number, one in enumerate(started, 1):
                while not listed:
                    await engine.operations.get(WORKSPACE, operation.id)
                Elsewhere(engine, one).obey()
                while (await engine.operations.get(WORKSPACE, operation.id)).succeeded < number:
                    pass
        ended = await over(engine, operation)
    assert (ended.status, ended.succeeded) == (OperationStatus.COMPLETED, 8)
    assert listed == [8, 0]


async def test_a_retry_beside_a_deletion_is_whole_or_is_not_begun(pit: Arena) -> None:
    await pit.put(FAILING)
    ids = await pit.start("failing")
    await pit.ended(ids)
    (_, retried), (_, deleted) = await asyncio.gather(
        done(pit.any, Action.RETRY, ids), done(pit.any, Action.DELETE, pit.random.sample(ids, len(ids)))
    )
    assert {item.outcome for item in deleted.values()} == {SUCCEEDED}
    assert {item.code for item in retried.values() if item.outcome is REFUSED} <= {"execution_not_found"}
    replays = [item.result for item in retried.values() if item.result is not None]
    assert len(replays) == sum(item.outcome is SUCCEEDED for item in retried.values())
    store = pit.engines[0].store
    for id, (status, _) in (await pit.ended(replays)).items():
        runs = {run.node: run for run in await store.node_runs.list(WORKSPACE, id)}
        assert (status, runs["first"].status) == (ExecutionStatus.FAILED, NodeStatus.COMPLETED)
    assert await store.executions.count(WORKSPACE, ExecutionFilter()) == len(replays)


async def test_replays_of_long_executions_go_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they take over is copied in the transaction that starts them."""
    monkeypatch.setattr(operator, "MOST_COPIED", 5)
    sizes: list[int] = []
    async with engine_on(tmp_path, None) as engine:
        pit = Arena([engine], rounds=12, seed=1)
        await pit.put(
            "id: wide\nnodes:\n  all: {transform: '${item}', foreach: '${[1, 2, 3]}'}\n  no: {fail: {message: no}}\n"
        )
        ids = await pit.start("wide")
        await pit.ended(ids)
        execute = engine.recorder.execute

        async def noting(command: Command) -> Any:
            sizes.extend([len(command.steps)] if isinstance(command, StepOperation) else [])
            return await execute(command)

        monkeypatch.setattr(engine.recorder, "execute", noting)
        operation, _ = await done(engine, Action.RETRY, ids)
    assert (operation.succeeded, sizes) == (12, [2] * 6)


async def test_of_two_deletions_each_execution_is_one_s(pit: Arena) -> None:
    await pit.put(FAILING)
    ids = await pit.start("failing")
    await pit.ended(ids)
    (_, first), (_, second) = await asyncio.gather(*(done(pit.any, Action.DELETE, ids) for _ in range(2)))
    assert all({first[id].outcome, second[id].outcome} == {SUCCEEDED, REFUSED} for id in ids)
    assert await pit.engines[0].store.executions.count(WORKSPACE, ExecutionFilter()) == 0


async def test_a_filter_means_what_was_there_when_it_was_asked(pit: Arena) -> None:
    """Replays of what failed fail too, and would be retried for ever."""
    await pit.put(FAILING)
    ids = await pit.start("failing")
    await pit.ended(ids)
    plan = Plan(is_chosen=True, filter=ExecutionFilter(statuses=(ExecutionStatus.FAILED,), flow="default/failing"))
    operation, found = await done(pit.any, Action.RETRY, plan=plan)
    assert (set(found), operation.succeeded) == (set(ids), len(ids))
    replays = [item.result for item in found.values() if item.result is not None]
    await pit.ended(replays)
    again, _ = await done(pit.any, Action.TAG, plan=Plan(is_chosen=True, filter=plan.filter, put={"seen": "yes"}))
    assert again.succeeded == 2 * len(ids)


async def test_whoever_takes_over_does_the_rest_and_nothing_twice(pit: Arena) -> None:
    """A holder that died behind a step: its lease is over, and every tag is set by one event."""
    await pit.put(SHORT)
    ids = await pit.start("short")
    await pit.ended(ids)
    engine = pit.any
    operation = await stopped_behind_a_step(pit, engine, ids)
    whole = await over(engine, operation)
    assert (whole.status, whole.succeeded) == (OperationStatus.COMPLETED, len(ids))
    for id in ids:
        chunks = await engine.store.events.page(WORKSPACE, id, 0, 1_000)
        told = [event.type for chunk in chunks for event in chunk.events]
        assert told.count("execution.tagged") == 1


async def stopped_behind_a_step(pit: Arena, engine: Engine, ids: Sequence[bytes]) -> OperationRecord:
    """An operation that another process has begun, and holds for a moment longer."""
    loops = [loop for one in pit.engines for loop in one.loops if loop.name == "operator"]
    for loop in loops:
        await loop.stop()
    operation = await begin(engine, Action.TAG, ids, Plan(put={"k": "v"}))
    now = engine.clock.now()
    claim = ClaimOperation(at=now, holder="dead", free_at=now + SECOND // 10)
    claimed = await engine.recorder.execute(claim)
    assert claimed is not None
    assert claimed.id == operation.id
    step = StepOperation(
        at=now, id=operation.id, holder="dead", free_at=now + SECOND // 10,
        steps=[Step(n=n, execution_id=id) for n, id in enumerate(ids[:20], 1)],
    )  # fmt: skip
    assert (await engine.recorder.execute(step)).succeeded == 20
    for loop in loops:
        loop.start()
    return operation


async def test_a_process_that_stops_lets_others_go_on_at_once(tmp_path: Path) -> None:
    """Its lease would hold them up for half a minute."""
    url = fresh_url()
    async with engine_on(tmp_path / "b", url) as second:
        [loop] = [loop for loop in second.loops if loop.name == "operator"]
        await loop.stop()
        async with engine_on(tmp_path / "a", url) as first:
            pit = Arena([first], rounds=400, seed=1)
            await pit.put(SHORT)
            ids = await pit.start("short")
            await pit.ended(ids)
            operation = await begin(first, Action.TAG, ids, Plan(put={"k": "v"}))
        left = (await second.operations.get(WORKSPACE, operation.id)).left
        loop.start()
        async with asyncio.timeout(20):
            whole = await over(second, operation)
    assert left > 0
    assert (whole.status, whole.succeeded) == (OperationStatus.COMPLETED, len(ids))


async def test_what_is_claimed_while_the_engine_stops_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim was on its way when nobody waited for it any more."""
    async with engine_on(tmp_path, None) as engine:
        write = engine.store.write
        is_claiming, may_go_on, is_claimed = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def held(batch: Batch) -> BatchOutcome:
            if not any(isinstance(command, ClaimOperation) for command in batch.commands):
                return await write(batch)
            is_claiming.set()
            await may_go_on.wait()
            outcome = await write(batch)
            is_claimed.set()
            return outcome

        monkeypatch.setattr(engine.store, "write", held)
        operation = await begin(engine, Action.TAG, [bytes(range(16))], Plan(put={"k": "v"}))
        async with asyncio.timeout(20):
            await is_claiming.wait()
            [loop] = [loop for loop in engine.loops if loop.name == "operator"]
            await loop.stop()
            may_go_on.set()
            await engine._operator.stop()
            await is_claimed.wait()
        left = await engine.operations.get(WORKSPACE, operation.id)
    assert (left.status, left.holder, left.left) == (OperationStatus.RUNNING, None, 1)


async def test_what_the_database_refuses_is_one_execution_s_outcome(pit: Arena) -> None:
    """PostgreSQL has no text with a NUL in it; the others of the same step are not held up."""
    await pit.put(SHORT)
    ids = (await pit.start("short"))[:12]
    await pit.ended(ids)
    engine = pit.any
    operation, found = await done(engine, Action.TAG, ids, Plan(put={"k": "a\0b"}))
    refuses = engine.store.sharing is not None
    assert {item.code for item in found.values()} == ({"row_refused"} if refuses else {None})
    assert operation.total == 12


async def test_nothing_is_done_behind_its_cancellation(pit: Arena) -> None:
    await pit.put(SHORT)
    ids = await pit.start("short")
    await pit.ended(ids)
    engine = pit.any
    operation = await begin(engine, Action.TAG, ids, Plan(put={"k": "v"}))
    cancelled: Any = None
    while cancelled is None:
        known = await engine.operations.get(WORKSPACE, operation.id)
        if known.status not in OPEN:
            break
        if known.succeeded or known.status is OperationStatus.RUNNING:
            cancelled = await engine.operations.cancel(WORKSPACE, operation.id)
    await turn(engine)
    after = await engine.operations.get(WORKSPACE, operation.id)
    tagged = await engine.store.executions.count(WORKSPACE, ExecutionFilter(tags=(("k", "v"),)))
    assert after.succeeded == tagged
    if cancelled is not None:
        assert (after.status, after.succeeded) == (OperationStatus.CANCELLED, cancelled.succeeded)


async def test_a_plan_over_more_than_can_be_counted_in_time_tells_what_there_is_at_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read of so many rows is given up, as it is on a machine for which they are too many."""
    monkeypatch.setattr(reading, "_STEPS", 6_000)
    monkeypatch.setattr(executions, "LOOKED_AT", 20)
    async with engine_on(tmp_path, None) as engine:
        pit = Arena([engine], rounds=600, seed=1)
        await pit.put("id: one\nnodes:\n  one: {transform: 1}\n")
        await pit.ended(await pit.start("one"))
        store: Any = engine.store
        store._readers._patience_s = 0.0
        filter = ExecutionFilter(max_duration=3_600 * SECOND, now=engine.clock.now())
        request = OperationRequest(
            workspace=WORKSPACE, action=Action.DELETE, ids=None, plan=Plan(filter=filter), told={}, asked_by="ada"
        )
        with pytest.raises(StoreBusy):
            await engine.store.executions.count(WORKSPACE, filter)
        plan = await engine.operations.preview(request)
    assert (plan.total, plan.is_capped, plan.by_status) == (20, True, {"completed": 20})
