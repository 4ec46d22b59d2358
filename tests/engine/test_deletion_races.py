"""Deletions race replays, answers and ends; a cancellation races the end that comes by itself.

Some hundred times each, and a thousand times in `make chaos`, on one engine over SQLite and on two over one PostgreSQL.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from perdure.engine.requests import ReplayRequest
from perdure.errors import (
    CallerError,
    ExecutionEnded,
    ExecutionNotEnded,
    ExecutionNotFound,
    ExecutionStopping,
    StoreBusy,
)
from perdure.model.states import TERMINAL, ExecutionStatus, NodeStatus
from perdure.store.interface import ExecutionFilter
from perdure.store.records import Started
from tests.engine.test_answer_races import GATE, LONG, WORKSPACE, Arena, all_of, engine_on
from tests.store.databases import fresh_url

FAILING = "id: failing\nnodes:\n  first: {transform: 41}\n  no: {fail: {message: no}, needs: [first]}\n"
SHORT = "id: short\nnodes:\n  nap: {sleep: 3ms}\n  last: {transform: 1, needs: [nap]}\n"


@pytest.fixture(
    params=[
        ("sqlite", 300),
        ("postgres", 100),
        pytest.param(("sqlite", 1_000), marks=LONG),
        pytest.param(("postgres", 1_000), marks=LONG),
    ],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
async def pit(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Arena]:
    store, rounds = request.param
    async with AsyncExitStack() as stack:
        if store == "sqlite":
            engines = [await stack.enter_async_context(engine_on(tmp_path, None))]
        else:
            url = fresh_url()
            engines = [await stack.enter_async_context(engine_on(tmp_path / name, url)) for name in "ab"]
        yield Arena(engines, rounds=rounds, seed=len(request.node.name))


async def delete(pit: Arena, id: bytes) -> CallerError | None:
    try:
        [answer] = await pit.any.delete_executions(WORKSPACE, [id])
    except StoreBusy:
        return await delete(pit, id)
    return answer


async def replay(pit: Arena, id: bytes) -> Any:
    [answer] = await pit.any.replay_executions([ReplayRequest(workspace=WORKSPACE, id=id, begin="failed")])
    return await replay(pit, id) if isinstance(answer, StoreBusy) else answer


async def together(pit: Arena, *works: Awaitable[Any]) -> list[Any]:
    """At once, begun in any order; the answers are in the order of the works."""
    order = list(range(len(works)))
    pit.random.shuffle(order)
    tasks = {n: asyncio.ensure_future(works[n]) for n in order}
    return [await tasks[n] for n in range(len(works))]


async def exists(pit: Arena, id: bytes) -> bool:
    return await pit.engines[0].store.executions.get(WORKSPACE, id) is not None


async def counted(pit: Arena) -> int:
    return await pit.engines[0].store.executions.count(WORKSPACE, ExecutionFilter())


async def test_a_replay_is_whole_or_is_not_begun(pit: Arena) -> None:
    await pit.put(FAILING)
    ids = await pit.start("failing")
    await pit.ended(ids)
    answers = await all_of([together(pit, replay(pit, id), delete(pit, id)) for id in ids])
    begun = [replayed.id for replayed, _ in answers if isinstance(replayed, Started)]
    refused = [replayed for replayed, _ in answers if not isinstance(replayed, Started)]
    assert {deleted for _, deleted in answers} == {None}
    assert all(isinstance(one, ExecutionNotFound) for one in refused), Counter(map(repr, refused))
    for id, (status, _) in (await pit.ended(begun)).items():
        runs = {run.node: run for run in await pit.engines[0].store.node_runs.list(WORKSPACE, id)}
        assert (status, runs["first"].status) == (ExecutionStatus.FAILED, NodeStatus.COMPLETED)
        assert runs["first"].output is not None
        assert runs["first"].output.text == "41"
    assert not any([await exists(pit, id) for id in ids])
    assert await counted(pit) == len(begun)


async def test_what_is_answered_is_deleted_only_behind_its_end(pit: Arena) -> None:
    await pit.put(GATE % ("", ""))
    ids = await pit.start("gate")
    await pit.asleep(ids)
    answers = await all_of([together(pit, pit.respond(id, "ada"), delete(pit, id)) for id in ids])
    for id, (answer, deleted) in zip(ids, answers, strict=True):
        assert not isinstance(answer, CallerError), answer
        assert deleted is None or isinstance(deleted, ExecutionNotEnded), deleted
        assert await exists(pit, id) is (deleted is not None)
    left = [id for id, (_, deleted) in zip(ids, answers, strict=True) if deleted is not None]
    assert {status for status, _ in (await pit.ended(left)).values()} <= {ExecutionStatus.COMPLETED}
    assert await counted(pit) == len(left)


async def test_a_cancellation_and_the_end_have_one_winner(pit: Arena) -> None:
    await pit.put(SHORT)
    ids = await pit.start("short")

    async def at_any_moment(id: bytes) -> Any:
        await asyncio.sleep(pit.random.uniform(0, 0.01))
        return await pit.cancel(id)

    answers = dict(zip(ids, await all_of([at_any_moment(id) for id in ids]), strict=True))
    for id, (status, _) in (await pit.ended(ids)).items():
        if isinstance(answers[id], CallerError):
            assert isinstance(answers[id], ExecutionEnded | ExecutionStopping)
            assert status is ExecutionStatus.COMPLETED
        elif answers[id] is ExecutionStatus.CANCELLING:
            assert status is ExecutionStatus.CANCELLED
        elif answers[id] in TERMINAL:
            assert status is answers[id]
        else:
            assert status in {ExecutionStatus.CANCELLED, ExecutionStatus.COMPLETED}
        [end] = [
            event.type
            for chunk in await pit.engines[0].store.events.page(WORKSPACE, id, 0, 1_000)
            for event in chunk.events
            if event.type in {f"execution.{one}" for one in TERMINAL}
        ]
        assert end == f"execution.{status}"
