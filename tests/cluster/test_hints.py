"""Processes on one store tell each other of their commits as long as somebody follows, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from perdure.base.clock import SystemClock
from perdure.engine.engine import Engine
from perdure.engine.requests import StartRequest
from perdure.engine.settings import EngineSettings
from perdure.model.event import EventType
from perdure.store.interface import BatchOutcome
from perdure.store.postgres.store import PostgresStore
from perdure.store.postgres.url import parse_url
from perdure.store.recorder import Recorder
from perdure.store.records import Started
from tests.store.databases import SCHEMA, fresh_url

PATIENCE_S = 30
FLOW = b"id: plain\nnodes:\n  one: {transform: '${1}'}\n"


class Process:
    """An engine, and what it has committed."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.ends: asyncio.Queue[bytes] = asyncio.Queue()

    async def run(self) -> bytes:
        """An execution, followed by nobody."""
        request = StartRequest(workspace="default", flow="plain", input={})
        (started,) = await self.engine.start_executions([request])
        assert isinstance(started, Started), started
        async with asyncio.timeout(PATIENCE_S):
            while await self.ends.get() != started.id:
                pass
        return started.id


@asynccontextmanager
async def _process(url: str, home: Path, **settings: Any) -> AsyncIterator[Process]:
    store = await PostgresStore.open(url)

    def listen(outcome: BatchOutcome) -> None:
        process.engine.on_batch(outcome)
        for chunk in outcome.chunks:
            if any(event.type == EventType.EXECUTION_COMPLETED for event in chunk.events):
                process.ends.put_nowait(chunk.execution_id)

    process = Process(
        Engine(
            store=store, recorder=Recorder(store, listener=listen), clock=SystemClock(),
            settings=EngineSettings(home=home, pool_size=1, **settings),
        )
    )  # fmt: skip
    await process.engine.start()
    try:
        yield process
    finally:
        await process.engine.stop(drain=False)
        await store.close()


class Ear:
    """Everything that is said on the store's channel."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self._more = asyncio.Event()

    def __call__(self, _connection: Any, _pid: int, _channel: str, text: str) -> None:
        self.said.append(msgspec.json.decode(text))
        self._more.set()

    async def until(self, word: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not any(word in payload for payload in self.said):
                self._more.clear()
                await self._more.wait()

    @property
    def feed(self) -> list[Any]:
        return [payload["f"] for payload in self.said if "f" in payload]


async def test_commits_are_told_only_while_somebody_follows(tmp_path: Path) -> None:
    url = fresh_url()
    ear = Ear()
    connection = await asyncpg.connect(parse_url(url).dsn)
    await connection.add_listener(f"perdure.{SCHEMA}", ear)
    async with _process(url, tmp_path / "a") as worker, _process(url, tmp_path / "b", works=False) as server:
        signals = [process.engine.store.sharing.signals for process in (worker, server)]  # type: ignore[union-attr]
        await worker.engine.catalog.put("default", FLOW, media_type="application/yaml")
        for _ in range(5):
            await worker.run()
        # A sign of life, which comes after silence.
        await ear.until("s")
        assert all(one.is_live for one in signals)
        assert ear.feed == []
        with server.engine.hub.subscribe() as subscription:
            await ear.until("w")
            subscription.take()
            await worker.run()
            await ear.until("f")
            async with asyncio.timeout(PATIENCE_S):
                await subscription.wait()
    await connection.close()
