"""A connection that is lost during COMMIT: the batch is in once, whatever became of it, and everybody gets his answer."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from perdure.errors import CommitUnknown, StoreUnavailable
from perdure.model.event import Event
from perdure.model.states import ExecutionStatus
from perdure.store.commands import StartExecutions
from perdure.store.interface import Advanced, Batch
from perdure.store.postgres.store import PostgresStore
from perdure.store.recorder import Recorder
from perdure.store.statements import Column, Procedure, Query
from tests.store.databases import fresh_url, server
from tests.store.portal import Ported, call
from tests.store.postgres.wire import Loss, Proxy
from tests.store.world import WORKSPACE, World

RUNNING, COMPLETED = ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED
NOBODY = 1
"""A port at which nobody answers."""


class Scene:
    """A store that reaches its server through a proxy."""

    def __init__(self) -> None:
        url = fresh_url()
        self.proxy = Proxy(server().port)
        port = call(self.proxy.start)
        self.store: Any = Ported(call(PostgresStore.open, url.replace(str(server().port), str(port))))
        self.world = World(self.store)

    def close(self) -> None:
        call(self.store.close)
        call(self.proxy.close)


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.close()


@pytest.mark.parametrize("loss", Loss)
async def test_an_advance_is_written_once(scene: Scene, loss: Loss) -> None:
    world = scene.world
    started = world.started()
    for n in range(3):
        call(scene.proxy.lose_next, loss)
        assert isinstance(
            world.advance(started, RUNNING, events=[Event("progress", world.now, data={"n": n})]), Advanced
        )
    world.end(started)
    assert scene.proxy.losses == 3
    told = [event.data["n"] for event in await world.events(started.id) if event.data and "n" in event.data]
    assert told == [0, 1, 2]
    feed = await scene.store.events.feed(WORKSPACE, {}, 100)
    assert [n for _, n, _ in feed] == list(range(1, len(feed) + 1))


@pytest.mark.parametrize("loss", Loss)
async def test_a_start_is_answered_and_there_once(scene: Scene, loss: Loss) -> None:
    world = scene.world
    call(scene.proxy.lose_next, loss)
    started = world.started()
    assert scene.proxy.losses == 1
    record = await world.get(started.id)
    assert (record.number, record.status, record.epoch) == (started.number, RUNNING, started.epoch)
    assert len(await world.all()) == 1
    world.end(started)


@pytest.mark.parametrize("loss", Loss)
async def test_a_claim_is_not_lost_on_its_way(scene: Scene, loss: Loss) -> None:
    """Executions that nobody knows to be his would never go on."""
    world = scene.world
    started = [world.start() for _ in range(3)]
    world.worker("w1")
    call(scene.proxy.lose_next, loss)
    claimed = world.claim("w1")
    assert {one.record.id for one in claimed} == {one.id for one in started}
    for one in claimed:
        world.end(one.record)


async def test_a_session_that_was_taken_over_writes_nothing(scene: Scene) -> None:
    world = scene.world
    started = world.started()
    schema = scene.store.address.schema
    server().run(f"UPDATE {schema}.writers SET session = session + 1")
    with pytest.raises(StoreUnavailable, match="right to write"):
        world.advance(started, RUNNING, events=[Event("progress", world.now)])
    assert (await world.get(started.id)).last_seq == 2
    # The next one begins a session of its own.
    world.end(started)


class Owner:
    """A source with one advance."""

    def __init__(self, world: World, advance: Any) -> None:
        self.next: Any = advance
        self.outcomes: list[Any] = []
        self.told = asyncio.Event()

    def drain(self) -> Any:
        found, self.next = self.next, None
        return found

    def committed(self, outcome: Any) -> None:
        self.outcomes.append(outcome)
        self.told.set()


async def test_while_nobody_knows_the_batch_is_kept_and_others_are_refused(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is gone with the answer: callers of the batch wait for it, newer ones are told at once."""
    monkeypatch.setattr("perdure.store.postgres.writer.SETTLING_PAUSES_S", (0.0, 0.01))
    world = scene.world
    started = world.started()
    new = world.new()
    owner = Owner(world, world.advancing(started, COMPLETED))
    starting = StartExecutions(at=world.now, executions=[new])

    async def scenario() -> tuple[Any, list[Any]]:
        recorder = Recorder(scene.store._inner)
        real = scene.proxy.target
        await scene.proxy.lose_next(Loss.REPLY, then_target=NOBODY)
        waiting = asyncio.ensure_future(recorder.execute(starting))
        recorder.advance(owner)
        await scene.proxy.lost.wait()
        # It comes too late for that batch, and is refused once nobody knows what became of it.
        with pytest.raises(StoreUnavailable) as caught:
            await recorder.execute(StartExecutions(at=world.now, executions=[world.new()]))
        assert not isinstance(caught.value, CommitUnknown)
        assert isinstance(recorder.trouble, CommitUnknown)
        with pytest.raises(StoreUnavailable):
            await recorder.execute(StartExecutions(at=world.now, executions=[world.new()]))
        assert not waiting.done()
        scene.proxy.target = real
        answer = await waiting
        await recorder.close()
        return answer, owner.outcomes

    (answer,), outcomes = call(scenario)
    assert answer.id == new.id
    assert outcomes == [Advanced(first_seq=3)]
    assert await world.types(started.id) == ["execution.created", "execution.started", "execution.completed"]
    assert len(await world.all()) == 2


async def test_a_store_that_is_closed_meanwhile_says_what_it_does_not_know(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.store.postgres.writer.SETTLING_PAUSES_S", (0.0,))
    world = scene.world
    batch = Batch(advances=[], commands=[StartExecutions(at=world.now, executions=[world.new()])])
    real = scene.proxy.target
    call(scene.proxy.lose_next, Loss.REPLY, NOBODY)
    with pytest.raises(CommitUnknown):
        call(scene.store.write, batch)
    with pytest.raises(CommitUnknown):
        call(scene.store.write, batch)
    scene.proxy.target = real
    outcome = call(scene.store.write, batch)
    assert [started.number for started in outcome.results[0]] == [1]


async def test_sessions_that_are_ended_at_any_moment_lose_and_double_nothing(fresh: Callable[..., Any]) -> None:
    """What an administrator, a failover or an impatient proxy does, again and again in the middle of the work."""
    store = fresh()
    world = World(store)
    started = world.started()

    async def advance_often() -> int:
        recorder = Recorder(store._inner)
        ended = 0
        for n in range(120):
            owner = Owner(
                world, world.advancing(started, RUNNING, events=[Event("progress", world.now, data={"n": n})])
            )
            recorder.advance(owner)
            if n % 2:
                ended += await store._inner._read(_end_writers())
            await owner.told.wait()
            assert isinstance(owner.outcomes[0], Advanced)
        await recorder.close()
        return ended

    assert call(advance_often) > 30
    told = [event.data["n"] for event in await world.events(started.id) if event.data and "n" in event.data]
    assert told == list(range(120))


def _end_writers() -> Procedure[int]:
    sql = (
        "SELECT count(pg_terminate_backend(w.pid)) FROM (SELECT a.pid FROM pg_stat_activity AS a "
        "WHERE a.application_name LIKE 'perdure writer%' OFFSET 0) AS w"
    )
    ((count,),) = yield Query(sql, {}, (Column("count", "bigint"),))
    return int(count)
