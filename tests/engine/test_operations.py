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
from perdure.engine.operations import OperationRequest, Plan
from perdure.engine.requests import StartRequest
from perdure.model.operation import OPEN, Action, ItemOutcome, OperationStatus
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.commands import ClaimOperation, StepOperation
from perdure.store.interface import ExecutionFilter
from perdure.store.operation_records import OperationItem, OperationRecord, Step
from perdure.store.records import Started
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
