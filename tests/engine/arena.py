"""Where engines of one store race: many executions at once, each of them one round of a race.

On SQLite there is one engine; on PostgreSQL there are two on one database, and each race is between both of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from perdure.base.clock import SECOND
from perdure.base.codec import decode
from perdure.engine.engine import Engine
from perdure.engine.requests import StartRequest
from perdure.errors import CallerError, StoreBusy
from perdure.model.answer import Responder
from perdure.model.states import ExecutionStatus
from perdure.settings import ServerSettings
from perdure.store.interface import BatchOutcome
from perdure.store.recorder import Recorder
from perdure.store.records import ExecutionRecord, Started
from perdure.stores import opened_store

WORKSPACE = "default"
ROUNDS = 1_000
AT_ONCE = 50
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

        async def one(id: bytes) -> None:
            while not await self.engines[0].store.waits.of(WORKSPACE, id):
                await self.engines[0].wait_ended(WORKSPACE, id, 10_000)

        async with asyncio.timeout(60):
            await all_of([one(id) for id in ids])

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
        return dict(zip(ids, await all_of([self._end_of(id) for id in ids]), strict=True))

    async def _end_of(self, id: bytes) -> tuple[ExecutionStatus, Any]:
        engine = self.engines[0]
        assert await engine.wait_ended(WORKSPACE, id, 60 * SECOND), (await self.record(id)).status
        record = await self.record(id)
        payload = await engine.store.executions.payload(WORKSPACE, id)
        assert payload is not None
        text = await engine.payload_text(payload.output)
        return record.status, None if text is None else decode(text)


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
