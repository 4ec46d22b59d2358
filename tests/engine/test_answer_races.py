"""Answers race each other, the expiry, a cancellation; signals race their wait; pauses race the end. A thousand times each."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from perdure.base.clock import SECOND
from perdure.errors import CallerError, ExecutionEnded, ExecutionStopping, NotPaused, WaitAnswered
from perdure.model.states import ExecutionStatus
from tests.engine.arena import GATE, WORKSPACE, Arena, all_of

COMPLETED, CANCELLED = ExecutionStatus.COMPLETED, ExecutionStatus.CANCELLED


async def test_of_two_answers_one_counts_and_the_other_is_told_of_it(arena: Arena) -> None:
    await arena.put(GATE % ("", ""))
    ids = await arena.start("gate")
    await arena.asleep(ids)

    async def both(id: bytes) -> tuple[Any, Any]:
        answers = [arena.respond(id, "ada"), arena.respond(id, "bob", approved=False)]
        arena.random.shuffle(answers)
        first, second = await asyncio.gather(*answers)
        return first, second

    pairs = dict(zip(ids, await all_of([both(id) for id in ids]), strict=True))
    for id, (status, output) in (await arena.ended(ids)).items():
        [won] = [one for one in pairs[id] if not isinstance(one, CallerError)]
        [lost] = [one for one in pairs[id] if isinstance(one, CallerError)]
        assert isinstance(lost, WaitAnswered), lost
        assert lost.details["by"] == won.by == output["by"]
        assert (status, output["outcome"]) == (COMPLETED, won.outcome)


async def test_an_answer_and_the_expiry_have_one_winner(arena: Arena) -> None:
    await arena.put(GATE % (", on_expiry: approve", ", timeout: 800ms"))
    ids = await arena.start("gate")
    clock = arena.engines[0].clock

    async def in_the_last_moment(id: bytes) -> Any:
        await arena.asleep([id])
        due_at = min((wait.due_at or 0 for wait in await arena.engines[0].store.waits.of(WORKSPACE, id)), default=0)
        # Between 10 ms before it is due and 10 ms after; a signal cannot be had for a moment that is not yet.
        await asyncio.sleep(max((due_at - clock.now()) / SECOND + arena.random.uniform(-0.01, 0.01), 0))
        return await arena.respond(id, "ada")

    answers = dict(zip(ids, await asyncio.gather(*map(in_the_last_moment, ids)), strict=True))
    outcomes: Counter[str] = Counter()
    for id, (status, output) in (await arena.ended(ids)).items():
        answer = answers[id]
        outcomes[output["outcome"]] += 1
        assert status is COMPLETED
        if isinstance(answer, CallerError):
            assert isinstance(answer, WaitAnswered | ExecutionEnded), answer
            assert (output["outcome"], output["by"]) == ("expired", None)
        else:
            assert (output["outcome"], output["by"]) == ("approved", "ada")
    assert sum(outcomes.values()) == arena.rounds


async def test_an_answer_and_a_cancellation_leave_one_end(arena: Arena) -> None:
    await arena.put(GATE % ("", ""))
    ids = await arena.start("gate")
    await arena.asleep(ids)

    async def both(id: bytes) -> tuple[Any, Any]:
        if arena.random.random() < 0.5:
            answer, cancelled = await asyncio.gather(arena.respond(id, "ada"), arena.cancel(id))
        else:
            cancelled, answer = await asyncio.gather(arena.cancel(id), arena.respond(id, "ada"))
        return answer, cancelled

    pairs = dict(zip(ids, await all_of([both(id) for id in ids]), strict=True))
    for id, (status, output) in (await arena.ended(ids)).items():
        answer, cancelled = pairs[id]
        if isinstance(answer, CallerError):
            assert isinstance(answer, ExecutionEnded | ExecutionStopping), answer
            assert status is CANCELLED
        elif isinstance(cancelled, CallerError):
            assert isinstance(cancelled, ExecutionEnded)
            assert (status, output["by"]) == (COMPLETED, "ada")
        else:
            assert status in (COMPLETED, CANCELLED)


async def test_signals_come_before_their_wait_behind_it_and_as_it_opens(arena: Arena) -> None:
    await arena.put(
        "id: listen\nnodes:\n  nap: {sleep: 5ms}\n  a: {signal: go, needs: [nap]}\n  b: {signal: go, needs: [a]}\n"
        "output: ['${nodes.a.output.payload}', '${nodes.b.output.payload}']\n"
    )
    ids = await arena.start("listen")

    async def both(id: bytes) -> None:
        await asyncio.sleep(arena.random.uniform(0, 0.03))
        await arena.signal(id, 1)
        await arena.signal(id, 2)

    await all_of([both(id) for id in ids])
    assert {str(found) for found in (await arena.ended(ids)).values()} == {str((COMPLETED, [1, 2]))}


async def test_a_pause_and_the_end_leave_a_whole_execution(arena: Arena) -> None:
    await arena.put(
        "id: chain\nnodes:\n  a: {transform: 1}\n  b: {sleep: 2ms, needs: [a]}\n  c: {transform: '${nodes.a.output + 1}', "
        "needs: [b]}\noutput: '${nodes.c.output}'\n"
    )
    ids = await arena.start("chain")

    async def one(id: bytes) -> None:
        await asyncio.sleep(arena.random.uniform(0, 0.02))
        refused = await arena.pause(id)
        assert refused is None or isinstance(refused, ExecutionEnded), refused
        try:
            await arena.any.answers.resume(WORKSPACE, id, by="bob")
        except (ExecutionEnded, NotPaused):
            assert (await arena.record(id)).status is COMPLETED

    await all_of([one(id) for id in ids])
    assert {str(found) for found in (await arena.ended(ids)).values()} == {str((COMPLETED, 2))}


async def test_a_pause_and_a_cancellation_leave_nothing_open(arena: Arena) -> None:
    await arena.put(
        "id: tidy\nnodes:\n  a: {sleep: 5ms}\n  b: {signal: never, needs: [a]}\n  z: {transform: 9, needs: [b], run_if: always}\n"
    )
    ids = await arena.start("tidy")

    async def both(id: bytes) -> None:
        await asyncio.sleep(arena.random.uniform(0, 0.02))
        refused, _ = await asyncio.gather(arena.pause(id), arena.cancel(id))
        assert refused is None or isinstance(refused, ExecutionEnded | ExecutionStopping), refused

    await all_of([both(id) for id in ids])
    ends = Counter(status for status, _ in (await arena.ended(ids)).values())
    assert ends == {CANCELLED: arena.rounds}
    for id in ids[:: arena.rounds // 20]:
        assert await arena.engines[0].store.waits.of(WORKSPACE, id) == []
