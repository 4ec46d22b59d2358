"""Deletions race replays, answers and ends; a cancellation races the end that comes by itself. A thousand times each."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import Any

from perdure.engine.requests import ReplayRequest
from perdure.errors import (
    CallerError,
    ExecutionEnded,
    ExecutionNotEnded,
    ExecutionNotFound,
    StoreBusy,
)
from perdure.model.states import TERMINAL, ExecutionStatus, NodeStatus
from perdure.store.interface import ExecutionFilter
from perdure.store.records import Started
from tests.engine.arena import GATE, WORKSPACE, Arena, all_of

FAILING = "id: failing\nnodes:\n  first: {transform: 41}\n  no: {fail: {message: no}, needs: [first]}\n"
SHORT = "id: short\nnodes:\n  nap: {sleep: 3ms}\n  last: {transform: 1, needs: [nap]}\n"


async def delete(arena: Arena, id: bytes) -> CallerError | None:
    try:
        [answer] = await arena.any.delete_executions(WORKSPACE, [id])
    except StoreBusy:
        return await delete(arena, id)
    return answer


async def replay(arena: Arena, id: bytes) -> Any:
    [answer] = await arena.any.replay_executions([ReplayRequest(workspace=WORKSPACE, id=id, begin="failed")])
    return await replay(arena, id) if isinstance(answer, StoreBusy) else answer


async def together(arena: Arena, *works: Awaitable[Any]) -> list[Any]:
    """At once, begun in any order; the answers are in the order of the works."""
    order = list(range(len(works)))
    arena.random.shuffle(order)
    tasks = {n: asyncio.ensure_future(works[n]) for n in order}
    return [await tasks[n] for n in range(len(works))]


async def exists(arena: Arena, id: bytes) -> bool:
    return await arena.engines[0].store.executions.get(WORKSPACE, id) is not None


async def counted(arena: Arena) -> int:
    return await arena.engines[0].store.executions.count(WORKSPACE, ExecutionFilter())


async def test_a_replay_is_whole_or_is_not_begun(arena: Arena) -> None:
    await arena.put(FAILING)
    ids = await arena.start("failing")
    await arena.ended(ids)
    answers = await all_of([together(arena, replay(arena, id), delete(arena, id)) for id in ids])
    begun = [replayed.id for replayed, _ in answers if isinstance(replayed, Started)]
    refused = [replayed for replayed, _ in answers if not isinstance(replayed, Started)]
    assert {deleted for _, deleted in answers} == {None}
    assert all(isinstance(one, ExecutionNotFound) for one in refused), Counter(map(repr, refused))
    for id, (status, _) in (await arena.ended(begun)).items():
        runs = {run.node: run for run in await arena.engines[0].store.node_runs.list(WORKSPACE, id)}
        assert (status, runs["first"].status) == (ExecutionStatus.FAILED, NodeStatus.COMPLETED)
        assert runs["first"].output is not None
        assert runs["first"].output.text == "41"
    assert not any(await all_of([exists(arena, id) for id in ids]))
    assert await counted(arena) == len(begun)


async def test_what_is_answered_is_deleted_only_behind_its_end(arena: Arena) -> None:
    await arena.put(GATE % ("", ""))
    ids = await arena.start("gate")
    await arena.asleep(ids)
    answers = await all_of([together(arena, arena.respond(id, "ada"), delete(arena, id)) for id in ids])
    for id, (answer, deleted) in zip(ids, answers, strict=True):
        assert not isinstance(answer, CallerError), answer
        assert deleted is None or isinstance(deleted, ExecutionNotEnded), deleted
        assert await exists(arena, id) is (deleted is not None)
    left = [id for id, (_, deleted) in zip(ids, answers, strict=True) if deleted is not None]
    assert {status for status, _ in (await arena.ended(left)).values()} <= {ExecutionStatus.COMPLETED}
    assert await counted(arena) == len(left)


async def test_a_cancellation_and_the_end_have_one_winner(arena: Arena) -> None:
    await arena.put(SHORT)
    ids = await arena.start("short")

    async def at_any_moment(id: bytes) -> Any:
        await asyncio.sleep(arena.random.uniform(0, 0.01))
        return await arena.cancel(id)

    answers = dict(zip(ids, await all_of([at_any_moment(id) for id in ids]), strict=True))
    for id, (status, _) in (await arena.ended(ids)).items():
        if isinstance(answers[id], CallerError):
            assert isinstance(answers[id], ExecutionEnded), answers[id]
            assert status is ExecutionStatus.COMPLETED
        elif len(arena.engines) > 1 and answers[id] is ExecutionStatus.RUNNING:
            # Its owner is at the other engine, and has not heard of it yet.
            assert status in {ExecutionStatus.CANCELLED, ExecutionStatus.COMPLETED}
        else:
            assert answers[id] in {ExecutionStatus.CANCELLING, ExecutionStatus.CANCELLED}, answers[id]
            assert status is ExecutionStatus.CANCELLED
        [end] = [
            event.type
            for chunk in await arena.engines[0].store.events.page(WORKSPACE, id, 0, 1_000)
            for event in chunk.events
            if event.type in {f"execution.{one}" for one in TERMINAL}
        ]
        assert end == f"execution.{status}"
