"""Group commit: who is ready together is written together, in order, and everyone hears once it is durable."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from perdure.errors import (
    CallerError,
    ExecutionEnded,
    FlowNotFound,
    RowRefused,
    StoreDamaged,
    StoreFull,
    StoreUnavailable,
)
from perdure.model.event import Event
from perdure.model.states import ExecutionStatus
from perdure.store import recorder as recorder_settings
from perdure.store.commands import CancelExecutions, Command, DeleteFlow, StartExecutions
from perdure.store.interface import Advanced, BatchOutcome, Lost
from perdure.store.recorder import Recorder
from perdure.store.records import Advance, Started
from perdure.store.sqlite.store import SqliteStore
from tests.store.world import WORKSPACE, World

RUNNING, COMPLETED = ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED


class Owner:
    """Writes progress step by step; keeps what it is told."""

    def __init__(self, world: World, started: Started) -> None:
        self.world = world
        self.started = started
        self.steps = 0
        self.drained = 0
        self.outcomes: list[Advanced | Lost | Exception] = []
        self.heard = asyncio.Event()

    def step(self) -> None:
        self.steps += 1

    def drain(self) -> Advance | None:
        if self.drained == self.steps:
            return None
        at = self.world.now
        events = [Event("progress", at, data={"n": n}) for n in range(self.drained, self.steps)]
        self.drained = self.steps
        return self.world.advancing(self.started, RUNNING, events=events)

    def committed(self, outcome: Advanced | Lost | Exception) -> None:
        self.outcomes.append(outcome)
        self.heard.set()


class Bench:
    """A recorder on a store of its own, and all that it told."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.world = World(store)
        self.told: list[BatchOutcome] = []
        self.recorder = Recorder(store, listener=self.told.append)

    def starting(self, **fields: Any) -> Command:
        return StartExecutions(at=self.world.now, executions=[self.world.new(**fields)])

    async def owner(self) -> Owner:
        ((started,),) = [await self.recorder.execute(self.starting(claim_by="w1"))]
        self.told.clear()
        return Owner(self.world, started)

    async def progress(self, owner: Owner) -> list[int]:
        return [
            event.data["n"] for event in await self.world.events(owner.started.id) if event.data and "n" in event.data
        ]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store = SqliteStore(tmp_path / "perdure.db")
    made = Bench(store)
    yield made
    await made.recorder.close()
    await store.close()


async def test_what_is_ready_in_one_turn_is_one_commit(bench: Bench) -> None:
    owners = [await bench.owner() for _ in range(20)]
    before = bench.recorder.stats.batches
    starts = [asyncio.ensure_future(bench.recorder.execute(bench.starting())) for _ in range(20)]
    for owner in owners:
        owner.step()
        for _ in range(2):
            asyncio.get_running_loop().call_soon(bench.recorder.advance, owner)
    answers = await asyncio.gather(*starts)
    assert bench.recorder.stats.batches == before + 1
    assert [len(answer) for answer in answers] == [1] * 20
    assert [owner.outcomes for owner in owners] == [[Advanced(first_seq=3)]] * 20
    (told,) = bench.told
    assert (len(told.advances), len(told.results), told.claimable, told.feed) == (20, 20, ["default"], (1, 21))


async def test_what_comes_during_a_commit_goes_into_the_next(bench: Bench) -> None:
    owner = await bench.owner()
    for _ in range(50):
        owner.step()
        bench.recorder.advance(owner)
        await asyncio.sleep(0)
    while True:
        owner.heard.clear()  # before reading: a commit that ends meanwhile must not be missed
        if len(await bench.progress(owner)) == 50:
            break
        await owner.heard.wait()
    assert await bench.progress(owner) == list(range(50))
    assert all(isinstance(outcome, Advanced) for outcome in owner.outcomes)
    firsts = [outcome.first_seq for outcome in owner.outcomes if isinstance(outcome, Advanced)]
    assert firsts == sorted(set(firsts))


async def test_a_source_with_nothing_to_write_is_left_out(bench: Bench) -> None:
    owner = await bench.owner()
    bench.recorder.advance(owner)
    await bench.recorder.execute(bench.starting())
    assert owner.outcomes == []
    assert bench.told[0].advances == []


async def test_everyone_hears_after_the_commit_and_before_the_listener(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "perdure.db")
    world = World(store)
    order: list[str] = []

    class Told(Owner):
        def committed(self, outcome: Advanced | Lost | Exception) -> None:
            order.append("owner")

    recorder = Recorder(store, listener=lambda outcome: order.append("listener"))
    owner = Told(world, world.started())
    owner.step()
    answer = asyncio.ensure_future(
        recorder.execute(CancelExecutions(at=world.now, workspace=WORKSPACE, ids=[owner.started.id]))
    )
    asyncio.get_running_loop().call_soon(recorder.advance, owner)
    answer.add_done_callback(lambda _: order.append("command"))
    await answer
    await asyncio.sleep(0)
    assert order == ["owner", "listener", "command"]
    await recorder.close()
    await store.close()


async def test_one_who_fails_to_listen_keeps_nobody_from_hearing(bench: Bench) -> None:
    class Deaf(Owner):
        def committed(self, outcome: Advanced | Lost | Exception) -> None:
            raise RuntimeError("deaf")

    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context["message"]))
    good, other = await bench.owner(), await bench.owner()
    deaf = Deaf(bench.world, other.started)
    for owner in (deaf, good):
        owner.step()
        bench.recorder.advance(owner)
    await good.heard.wait()
    assert len(complaints) == 1
    assert isinstance(good.outcomes[0], Advanced)


async def test_errors_reach_their_callers_alone(bench: Bench) -> None:
    owner = await bench.owner()
    commands: list[Command] = [
        bench.starting(),
        DeleteFlow(at=bench.world.now, workspace=WORKSPACE, id="no/flow"),
        bench.starting(tags={"bad": "\ud800"}),
        CancelExecutions(at=bench.world.now, workspace=WORKSPACE, ids=[owner.started.id]),
    ]
    answers: list[Any] = await asyncio.gather(
        *(bench.recorder.execute(command) for command in commands), return_exceptions=True
    )
    first, missing, refused, cancelled = answers
    assert first[0].status == ExecutionStatus.QUEUED
    assert isinstance(missing, FlowNotFound)
    assert isinstance(refused[0], RowRefused)
    assert cancelled == [RUNNING]
    assert bench.recorder.stats.batches == 2
    assert not isinstance(refused[0], CallerError)


async def test_an_owner_that_lost_its_lease_is_told(bench: Bench) -> None:
    owner = await bench.owner()
    bench.world.interrupt("w1")
    owner.step()
    bench.recorder.advance(owner)
    await owner.heard.wait()
    assert owner.outcomes == [Lost()]
    assert bench.recorder.stats.lost == 1
    assert await bench.progress(owner) == []


async def test_who_stopped_waiting_is_not_served(bench: Bench) -> None:
    waiting = asyncio.ensure_future(bench.recorder.execute(bench.starting()))
    await asyncio.sleep(0)
    waiting.cancel()
    await bench.recorder.execute(bench.starting())
    assert len(await bench.world.all()) == 1


async def test_closing_writes_what_is_left_and_then_refuses(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "perdure.db")
    bench = Bench(store)
    owner = await bench.owner()
    owner.step()
    bench.recorder.advance(owner)
    starting = asyncio.ensure_future(bench.recorder.execute(bench.starting()))
    await asyncio.sleep(0)
    await bench.recorder.close()
    assert isinstance(owner.outcomes[0], Advanced)
    assert (await starting)[0].status == ExecutionStatus.QUEUED
    with pytest.raises(StoreUnavailable):
        await bench.recorder.execute(bench.starting())
    await store.close()


async def test_closing_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_settings, "CLOSE_PATIENCE_S", 0.1)
    store = SqliteStore(tmp_path / "perdure.db")
    bench = Bench(store)
    owner = await bench.owner()
    monkeypatch.setattr(store, "write", raising(StoreFull("no space")))
    owner.step()
    bench.recorder.advance(owner)
    await bench.recorder.close()
    assert isinstance(owner.outcomes[0], StoreFull)
    await store.close()


async def test_beyond_hope_everyone_is_told_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = await bench.owner()
    with monkeypatch.context() as broken:
        broken.setattr(bench.store, "write", raising(StoreDamaged("a page is gone")))
        owner.step()
        bench.recorder.advance(owner)
        with pytest.raises(StoreDamaged):
            await bench.recorder.execute(bench.starting())
        assert isinstance(owner.outcomes[0], StoreDamaged)
    await bench.recorder.execute(bench.starting())


async def test_large_loads_are_split_into_bounded_batches(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_settings, "MOST_ADVANCES", 7)
    owners = [await bench.owner() for _ in range(30)]
    for owner in owners:
        owner.step()
        bench.recorder.advance(owner)
    for owner in owners:
        await owner.heard.wait()
    assert [len(outcome.advances) for outcome in bench.told] == [7, 7, 7, 7, 2]


async def test_commits_are_counted(bench: Bench) -> None:
    owner = await bench.owner()
    await bench.recorder.execute(CancelExecutions(at=bench.world.now, workspace=WORKSPACE, ids=[owner.started.id]))
    stats = bench.recorder.stats
    assert (stats.batches, stats.commands, stats.advances) == (2, 2, 0)
    assert sum(stats.commit_counts) == 2
    assert stats.commit_s_sum > 0


async def test_a_cancel_races_a_completion_a_thousand_times(bench: Bench) -> None:
    class Finisher(Owner):
        def drain(self) -> Advance | None:
            return self.world.advancing(self.started, COMPLETED)

    starts = [bench.world.new(claim_by="w1") for _ in range(1000)]
    started = await bench.recorder.execute(StartExecutions(at=bench.world.now, executions=starts))
    owners = [Finisher(bench.world, one) for one in started]
    cancels = []
    for index, owner in enumerate(owners):
        command = CancelExecutions(at=bench.world.now, workspace=WORKSPACE, ids=[owner.started.id])
        if index % 3 == 0:
            bench.recorder.advance(owner)
        cancels.append(asyncio.ensure_future(bench.recorder.execute(command)))
        if index % 3:
            bench.recorder.advance(owner)
        if index % 50 == 0:
            await asyncio.sleep(0)
    answers = [answer for (answer,) in await asyncio.gather(*cancels)]
    for owner in owners:
        await owner.heard.wait()
        assert isinstance(owner.outcomes[0], Advanced)
    assert {type(answer) for answer in answers} <= {ExecutionEnded, ExecutionStatus}
    assert {record.status for record in await bench.world.all()} == {COMPLETED}
    assert await bench.store.messages([one.id for one in started]) == {}


def raising(error: Exception) -> Any:
    def write(batch: Any) -> Any:
        raise error

    return write


async def test_closing_waits_until_everyone_has_heard(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "perdure.db")
    bench = Bench(store)
    owners = [await bench.owner() for _ in range(100)]
    for owner in owners:
        owner.step()
        bench.recorder.advance(owner)
    await bench.recorder.close()
    assert all(isinstance(owner.outcomes[0], Advanced) for owner in owners)
    await store.close()
