"""Answers race each other, the expiry, a cancellation; signals race their wait; pauses race the end.

Some hundred times each, and a thousand times in `make chaos`. On SQLite there is one engine; on PostgreSQL there are two on one database, and each race is between both of them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from perdure.base.clock import SECOND
from perdure.base.codec import decode
from perdure.engine.engine import Engine
from perdure.engine.requests import StartRequest
from perdure.errors import CallerError, ExecutionEnded, ExecutionStopping, NotPaused, StoreBusy, WaitAnswered
from perdure.model.answer import Responder
from perdure.model.states import ExecutionStatus
from perdure.settings import ServerSettings
from perdure.store.interface import BatchOutcome
from perdure.store.recorder import Recorder
from perdure.store.records import ExecutionRecord, Started
from perdure.stores import opened_store
from tests.store.databases import fresh_url

WORKSPACE = "default"
AT_ONCE = 50
COMPLETED, CANCELLED, SUSPENDED = ExecutionStatus.COMPLETED, ExecutionStatus.CANCELLED, ExecutionStatus.SUSPENDED
GATE = "id: gate\nnodes:\n  gate: {approval: {on_reject: complete%s}%s}\noutput: '${nodes.gate.output}'\n"


class Arena:
    """The engines of one store, and what happens on any of them."""

    def __init__(self, engines: Sequence[Engine], *, rounds: int, seed: int) -> None:
        self.engines = engines
        self.rounds = rounds
        self.random = Random(seed)

    @property
    def any(self) -> Engine:
        return self.random.choice(self.engines)

    async def put(self, text: str) -> None:
        await self.engines[0].catalog.put(WORKSPACE, text.encode(), media_type="application/yaml")

    async def start(self, flow: str) -> list[bytes]:
        requests = [StartRequest(workspace=WORKSPACE, flow=flow) for _ in range(self.rounds)]
        half = len(requests) // len(self.engines)
        ids: list[bytes] = []
        for n, engine in enumerate(self.engines):
            part = requests[n * half : (n + 1) * half]
            ids += [one.id for one in await engine.start_executions(part) if isinstance(one, Started)]
        assert len(ids) == self.rounds
        return ids

    async def record(self, id: bytes) -> ExecutionRecord:
        record = await self.engines[0].store.executions.get(WORKSPACE, id)
        assert record is not None
        return record

    async def asleep(self, ids: Sequence[bytes]) -> None:
        """Wait until all of them have a wait that is open."""
        for id in ids:
            async with asyncio.timeout(60):
                while not await self.engines[0].store.waits.of(WORKSPACE, id):
                    await self.engines[0].wait_ended(WORKSPACE, id, 10_000)

    async def respond(self, id: bytes, who: str, *, approved: bool = True) -> Any:
        """What was decided, or the refusal."""
        try:
            taken = await self.any.answers.respond(
                WORKSPACE, id, responder=Responder(name=who), wait="gate", approved=approved, answer=None,
                has_answer=False, comment=None,
            )  # fmt: skip
        except CallerError as refused:
            return refused
        except StoreBusy:
            # Nothing was written; whoever called is told when to try again, and does.
            return await self.respond(id, who, approved=approved)
        assert taken.terms.decision is not None
        return taken.terms.decision

    async def signal(self, id: bytes, payload: Any) -> None:
        await self.any.answers.signal(WORKSPACE, id, name="go", payload=payload, sender="ada")

    async def pause(self, id: bytes) -> CallerError | None:
        try:
            await self.any.answers.pause(WORKSPACE, id, by="ada", reason=None)
        except CallerError as refused:
            return refused
        return None

    async def cancel(self, id: bytes) -> Any:
        [answer] = await self.any.cancel_executions(WORKSPACE, [id])
        return answer

    async def ended(self, ids: Sequence[bytes]) -> dict[bytes, tuple[ExecutionStatus, Any]]:
        """How each of them ended, and with what."""
        found = {}
        for id in ids:
            assert await self.engines[0].wait_ended(WORKSPACE, id, 60 * SECOND), (await self.record(id)).status
            record = await self.record(id)
            payload = await self.engines[0].store.executions.payload(WORKSPACE, id)
            assert payload is not None
            text = await self.engines[0].payload_text(payload.output)
            found[id] = (record.status, None if text is None else decode(text))
        return found


async def all_of(works: Sequence[Awaitable[Any]]) -> list[Any]:
    """Some of them at a time, in their order."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(work: Awaitable[Any]) -> Any:
        async with gate:
            return await work

    return await asyncio.gather(*map(one, works))


@asynccontextmanager
async def engine_on(home: Path, store: str | None) -> AsyncIterator[Engine]:
    def listen(outcome: BatchOutcome) -> None:
        engine.on_batch(outcome)

    settings = ServerSettings(home=home, store=store, slots=400)
    async with opened_store(settings) as opened:
        recorder = Recorder(opened.store, listener=listen)
        engine = Engine(
            store=opened.store, recorder=recorder, clock=opened.clock, settings=settings.engine_settings(),
            artifacts=opened.artifacts,
        )  # fmt: skip
        await engine.start()
        try:
            yield engine
        finally:
            await engine.stop()


LONG = pytest.mark.chaos


@pytest.fixture(
    params=[
        ("sqlite", 300),
        ("postgres", 100),
        pytest.param(("sqlite", 1_000), marks=LONG),
        pytest.param(("postgres", 1_000), marks=LONG),
    ],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
async def arena(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Arena]:
    store, rounds = request.param
    async with AsyncExitStack() as stack:
        if store == "sqlite":
            engines = [await stack.enter_async_context(engine_on(tmp_path, None))]
        else:
            url = fresh_url()
            engines = [await stack.enter_async_context(engine_on(tmp_path / name, url)) for name in "ab"]
        yield Arena(engines, rounds=rounds, seed=len(request.node.name))


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
