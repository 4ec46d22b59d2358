"""What others commit reaches those who listen here: whole, in order, once, and in whatever way it comes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.base.clock import SECOND
from perdure.base.manual_clock import ManualClock
from perdure.engine.demand import ASKED_AGAIN, BELIEVED, TOLD_MOST, WINDOW
from perdure.engine.ends import Ends
from perdure.engine.follower import Follower
from perdure.engine.hub import Hub
from perdure.engine.pace import LOOK_S, Pace
from perdure.engine.streams import execution_events
from perdure.model.event import Event, EventType
from perdure.model.states import ExecutionStatus
from perdure.store.commands import RegisterWorker, StartExecutions
from perdure.store.interface import Batch, BatchOutcome
from perdure.store.records import Advance, NewExecution, Started, Value, WorkerRecord
from perdure.store.sqlite.store import SqliteStore

ID = b"\x01" * 16
PATIENCE_S = 30


class Scene:
    """A store on which somebody else works, and a process that follows."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.hub = Hub()
        self.ends = Ends(store)
        self.clock = ManualClock()
        self.is_live = True
        self.asked = 0
        self.sated = 0
        self.follower = Follower(
            store=store, hub=self.hub, ends=self.ends, clock=self.clock, has_hints=lambda: self.is_live, ask=self._ask,
            pace=Pace(Random(1)),
        )  # fmt: skip
        self.execution: Started

    def _ask(self, follows: bool) -> None:
        self.asked += follows
        self.sated += not follows

    async def begin(self) -> None:
        worker = WorkerRecord(id="w", number=0, name="w", host="h", pid=1, started_at=1, heartbeat_at=1)
        new = NewExecution(
            id=ID, workspace="default", flow="a/b", flow_version=1, input=Value("{}", None, 2), priority=5,
            queue="default", tags={}, trigger_kind="api", root=ID, created_at=1, claim_by="w",
        )  # fmt: skip
        commands = [RegisterWorker(at=1, worker=worker), StartExecutions(at=1, executions=[new])]
        outcome = await self.store.write(Batch(advances=[], commands=[*commands]))
        (self.execution,) = outcome.results[1]

    async def write(self, *, ends: bool = False) -> BatchOutcome:
        """Two events more, or the last one."""
        events = [Event(EventType.LOG, 2), Event(EventType.LOG, 2)]
        advance = Advance(
            execution_id=ID, workspace="default", flow="a/b", epoch=1, status=ExecutionStatus.RUNNING,
            previous=ExecutionStatus.RUNNING, updated_at=2, events=events,
        )  # fmt: skip
        if ends:
            advance.status, advance.release, advance.finished_at = ExecutionStatus.COMPLETED, True, 2
            advance.events = [Event(EventType.EXECUTION_COMPLETED, 2)]
        return await self.store.write(Batch(advances=[advance], commands=[]))

    async def read(self, seen: list[int]) -> None:
        async for batch in execution_events(self.store, self.hub, workspace="default", execution_id=ID):
            seen.extend(item.seq for item in batch)


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["write", "follow", "tell", "turn", "look", "forget"]), max_size=30))
def test_a_reader_sees_every_event_once_and_in_order(tmp_path_factory: object, steps: list[str]) -> None:
    """`tell`: this process commits and tells of it at once; `forget`: hints were lost; `turn`: others get a turn."""

    async def scene() -> None:
        folder = tmp_path_factory.mktemp("store")  # type: ignore[attr-defined]
        store = SqliteStore(Path(folder) / "perdure.db")
        try:
            await _play(Scene(store), steps)
        finally:
            await store.close()

    asyncio.run(scene())


async def _play(scene: Scene, steps: list[str]) -> None:
    await scene.begin()
    seen: list[int] = []
    reading = asyncio.create_task(scene.read(seen))
    for step in steps:
        match step:
            case "write":
                outcome = await scene.write()
                assert outcome.feed is not None
                scene.follower.note(dict([outcome.feed]))
            case "tell":
                scene.hub.publish((await scene.write()).chunks)
            case "forget":
                await scene.write()
            case "look":
                scene.follower.look_everywhere()
                await scene.follower.work()
            case "follow":
                await scene.follower.work()
            case "turn":
                await asyncio.sleep(0)
    last = await scene.write(ends=True)
    scene.follower.look_everywhere()
    await scene.follower.work()
    async with asyncio.timeout(PATIENCE_S):
        await reading
    assert seen == list(range(1, last.chunks[0].last_seq + 1))


async def test_who_waits_for_an_end_elsewhere_hears_of_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "perdure.db")
    scene = Scene(store)
    await scene.begin()
    wanted = asyncio.Event()
    scene.ends.on_first = wanted.set
    waiting = asyncio.create_task(scene.ends.wait("default", ID, PATIENCE_S * SECOND, is_fresh=False))
    await wanted.wait()
    await scene.follower.work()
    outcome = await scene.write(ends=True)
    assert outcome.feed is not None
    assert scene.follower.note(dict([outcome.feed]))
    await scene.follower.work()
    assert await waiting
    await store.close()


async def test_an_end_before_anybody_followed_is_found(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "perdure.db")
    scene = Scene(store)
    await scene.begin()
    waiting = asyncio.create_task(scene.ends.wait("default", ID, PATIENCE_S * SECOND, is_fresh=True))
    await asyncio.sleep(0)
    await scene.write(ends=True)
    await scene.follower.work()
    assert await waiting
    await store.close()


async def test_nothing_is_read_while_nobody_listens(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "perdure.db")
    scene = Scene(store)
    await scene.begin()
    outcome = await scene.write()
    assert outcome.feed is not None
    assert not scene.follower.note(dict([outcome.feed]))
    await store.close()


async def test_it_asks_to_be_told_while_somebody_listens_and_nobody_else_has_asked(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "perdure.db")
    scene = Scene(store)
    await scene.begin()
    assert await scene.follower.work() > ASKED_AGAIN / SECOND
    assert scene.asked == 0
    with scene.hub.subscribe():
        assert await scene.follower.work() <= ASKED_AGAIN / SECOND
        assert await scene.follower.work() <= ASKED_AGAIN / SECOND
        assert scene.asked == 1
        scene.clock.advance(ASKED_AGAIN - 1)
        scene.follower.asked(True)
        scene.clock.advance(1)
        await scene.follower.work()
        assert scene.asked == 1, "another process has asked, and all hear it"
        scene.clock.advance(ASKED_AGAIN)
        await scene.follower.work()
        assert scene.asked == 2
        scene.follower.look_everywhere()
        await scene.follower.work()
        assert scene.asked == 3, "the first question may be lost with the connection"
    scene.clock.advance(BELIEVED)
    await scene.follower.work()
    assert scene.asked == 3
    await store.close()


@pytest.mark.parametrize("single", [True, False])
async def test_where_too_much_is_told_it_looks_by_itself_and_misses_nothing(tmp_path: Path, single: bool) -> None:
    store = SqliteStore(tmp_path / "perdure.db")
    scene = Scene(store)
    await scene.begin()
    with scene.hub.subscribe(ID if single else None) as subscription:
        await scene.follower.work()
        outcome = await scene.write()
        assert outcome.feed is not None
        for _ in range(TOLD_MOST):
            assert scene.follower.note(dict([outcome.feed]))
        assert scene.sated == 0
        assert scene.follower.note(dict([outcome.feed])), "it begins to look at once"
        assert scene.sated == 1
        assert not scene.follower.note(dict([outcome.feed])), "what is still on its way does not hurry it"
        subscription.caught_up()
        scene.clock.advance(ASKED_AGAIN)
        assert await scene.follower.work() <= LOOK_S
        assert scene.asked == 1, "it asks no more"
        async with asyncio.timeout(PATIENCE_S):
            await subscription.wait()
        if single:
            assert [chunk.last_seq for chunk in subscription.take()] == [outcome.chunks[0].last_seq]
        for _ in range(2):
            scene.clock.advance(WINDOW)
            await scene.follower.work()
        assert await scene.follower.work() > LOOK_S
        assert scene.asked == 2, "it is quiet again"
    await store.close()


async def test_what_is_too_much_for_another_is_too_much_here(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "perdure.db")
    scene = Scene(store)
    await scene.begin()
    with scene.hub.subscribe():
        assert await scene.follower.work() > LOOK_S
        scene.follower.asked(False)
        assert await scene.follower.work() <= LOOK_S
        assert scene.sated == 0, "that has been said"
    await store.close()


async def test_without_hints_it_looks_closely_while_there_is_something_to_see(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "perdure.db")
    scene = Scene(store)
    scene.is_live = False
    await scene.begin()
    with scene.hub.subscribe(ID):
        await scene.follower.work()
        quiet_s = await scene.follower.work()
        await scene.write()
        assert await scene.follower.work() < quiet_s / 10
        assert scene.asked == 0
    await store.close()


async def test_news_that_could_not_be_read_are_looked_for_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "perdure.db")
    scene = Scene(store)
    await scene.begin()
    with scene.hub.subscribe(ID) as subscription:
        await scene.follower.work()
        subscription.caught_up()
        outcome = await scene.write()
        assert outcome.feed is not None
        scene.follower.note(dict([outcome.feed]))
        working = asyncio.create_task(scene.follower.work())
        await asyncio.sleep(0)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        scene.follower.note({outcome.feed[0] + 1: 1})
        await scene.follower.work()
        assert [chunk.last_seq for chunk in subscription.take()] == [outcome.chunks[0].last_seq]
    await store.close()


async def test_who_listens_to_all_is_woken_although_somebody_begins_to_listen_to_one(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "perdure.db")
    try:
        scene = Scene(store)
        await scene.begin()
        with scene.hub.subscribe() as to_all:
            await scene.follower.work()
            to_all.take()
            outcome = await scene.write()
            assert outcome.feed is not None
            scene.follower.note(dict([outcome.feed]))
            with scene.hub.subscribe(ID):
                await scene.follower.work()
                await asyncio.wait_for(to_all.wait(), PATIENCE_S)
    finally:
        await store.close()
