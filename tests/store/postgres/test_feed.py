"""Whoever comes back to the feed of all executions hears what writers did that are long gone, or that it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import asyncpg
import msgspec
import pytest

from perdure.api import feed as feeds
from perdure.api.feed import EXPIRED, GOOD, Feed, Reader, place_of
from perdure.base.clock import DAY, HOUR
from perdure.base.ids import new_id
from perdure.base.manual_clock import ManualClock
from perdure.engine.hub import Hub
from perdure.store.commands import StartExecutions, TrimFeed
from perdure.store.interface import WRITERS_KEPT, Batch
from perdure.store.postgres.store import PostgresStore
from perdure.store.records import NewExecution, Value
from tests.store.databases import SCHEMA, base_url, fresh_url, opened

PATIENCE_S = 20
WORKSPACE = "default"


class Scene:
    """A server that lives on, and another one that commits something and is gone for good."""

    def __init__(self, store: PostgresStore, other: PostgresStore) -> None:
        self.store = store
        self.other = other
        self.hub = Hub()
        self.clock = ManualClock()
        self.feed = Feed(store, self.hub, self.clock)

    async def commit(self, store: PostgresStore, times: int = 1, *, is_told: bool = True) -> int:
        """Each starts an execution; the writer's number."""
        writer = 0
        for _ in range(times):
            id = new_id(self.clock.now())
            new = NewExecution(
                id=id, workspace=WORKSPACE, flow="a/b", flow_version=1, input=Value("{}", None, 2), priority=5,
                queue="default", tags={}, trigger_kind="api", root=id, created_at=1,
            )  # fmt: skip
            outcome = await store.write(Batch(advances=[], commands=[StartExecutions(at=1, executions=[new])]))
            if is_told:
                self.hub.publish(outcome.chunks)
            assert outcome.feed is not None
            writer, _ = outcome.feed
        return writer

    async def pass_by(self, time: int) -> None:
        """Nobody commits anything for so long, and the feed's housekeeping does its work."""
        self.clock.advance(time)
        connection = await asyncpg.connect(base_url(), server_settings={"search_path": SCHEMA})
        try:
            await connection.execute("UPDATE writers SET at = at - $1::bigint", time)
            await connection.execute("UPDATE feed SET at = at - $1::bigint", time)
        finally:
            await connection.close()
        now = self.store.sharing.clock.now()
        trim = TrimFeed(at=now, before=now - DAY, limit=1_000)
        await self.store.write(Batch(advances=[], commands=[trim]))

    async def read(self, cursor: str | None, frames: int) -> list[dict[str, str]]:
        """The next ones behind it, at least so many."""
        async with self.reading(cursor) as read:
            return await read(frames)

    @asynccontextmanager
    async def reading(self, cursor: str | None) -> AsyncIterator[Any]:
        beginning = await self.feed.begin(cursor, WORKSPACE)
        reader = Reader(workspace=WORKSPACE, beginning=beginning, chosen=lambda item: item.seq == 2)
        async with aclosing(self.feed.follow(reader)) as source:

            async def read(frames: int) -> list[dict[str, str]]:
                found: list[dict[str, str]] = []
                async with asyncio.timeout(PATIENCE_S):
                    while len(found) < frames:
                        found += _told(await anext(source))
                return found

            yield read


def _told(frames: bytes) -> Sequence[dict[str, str]]:
    return [dict(line.split(": ", 1) for line in frame.split("\n")) for frame in frames.decode().split("\n\n")[:-1]]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        url = fresh_url()
        yield Scene(await stack.enter_async_context(opened(url)), await stack.enter_async_context(opened(url)))


@pytest.mark.parametrize("is_known", [True, False], ids=["read in part", "never heard of"])
async def test_what_a_writer_of_days_ago_did_is_lost_and_told_so(scene: Scene, is_known: bool) -> None:
    await scene.commit(scene.other if is_known else scene.store)
    [*_, last] = await scene.read("start", 1)
    await scene.commit(scene.other, 3)
    await scene.pass_by(2 * DAY)
    await scene.commit(scene.store)
    frames = await scene.read(last["id"], 3)
    assert sorted(frame["event"] for frame in frames) == ["execution.queued", "execution.queued", "reset"]


async def test_nothing_is_lost_where_everything_of_a_gone_writer_was_read(scene: Scene) -> None:
    gone = await scene.commit(scene.other, 3)
    [*_, last] = await scene.read("start", 3)
    await scene.pass_by(2 * DAY)
    await scene.commit(scene.store)
    [first, *_] = await scene.read(last["id"], 1)
    assert first["event"] == "execution.queued", first
    assert place_of(first["id"], WORKSPACE).position[gone] == 3


async def test_a_cursor_that_may_not_know_of_all_writers_is_told_so(scene: Scene) -> None:
    await scene.commit(scene.store)
    [*_, last] = await scene.read("start", 1)
    await scene.commit(scene.other)
    await scene.pass_by(WRITERS_KEPT + HOUR)
    [reset] = await scene.read(last["id"], 1)
    assert (reset["event"], msgspec.json.decode(reset["data"])["reason"]) == ("reset", EXPIRED)
    # It says where to go on, and from there nothing is missing.
    await scene.commit(scene.store)
    [first, *_] = await scene.read(reset["id"], 1)
    assert first["event"] == "execution.queued"


async def test_cursors_lose_the_writers_that_are_forgotten_and_stay_good(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long somebody listens, and however quiet it was."""
    monkeypatch.setattr(feeds, "LOOK_S", 0.02)
    gone = await scene.commit(scene.other, 3)
    async with scene.reading("start") as read:
        [*_, last] = await read(3)
        assert gone in place_of(last["id"], WORKSPACE).position
        await scene.pass_by(WRITERS_KEPT + HOUR)
        async with asyncio.timeout(PATIENCE_S):
            while gone in place_of(last["id"], WORKSPACE).position:
                await scene.commit(scene.store)
                [last] = await read(1)
                assert last["event"] == "execution.queued"
    assert place_of(last["id"], WORKSPACE).at > scene.clock.now() - GOOD
    await scene.commit(scene.store)
    [first, *_] = await scene.read(last["id"], 1)
    assert first["event"] == "execution.queued"


async def test_those_who_listen_are_told_of_what_was_dropped_before_it_was_read(scene: Scene) -> None:
    """Nothing was heard of the others for days, and the store may have been away."""
    await scene.commit(scene.store)
    async with scene.reading("start") as read:
        await read(1)
        await scene.commit(scene.other, 3, is_told=False)
        await scene.pass_by(2 * DAY)
        await scene.commit(scene.store)
        frames = await read(3)
    assert sorted(frame["event"] for frame in frames) == ["execution.queued", "execution.queued", "reset"]
