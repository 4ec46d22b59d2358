"""Several processes on one database: what one of them decides holds for all, whoever comes at the same moment."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from perdure.base.clock import HOUR, MINUTE, SECOND
from perdure.base.histogram import unpacked
from perdure.errors import IdempotencyConflict, StoreBusy
from perdure.model.definition import OnLimit
from perdure.model.event import Event
from perdure.model.states import TERMINAL, ExecutionStatus
from perdure.store.commands import (
    CancelExecutions,
    ClaimExecutions,
    Command,
    FireTimers,
    FoldCounters,
    NewFlow,
    PutFlows,
    RescueExecutions,
    SendMessages,
    StartExecutions,
)
from perdure.store.interface import Advanced, Batch, ExecutionFilter, Lost, Page
from perdure.store.postgres.store import PostgresStore
from perdure.store.procedures.timers import HELD_PAUSE
from perdure.store.records import Advance
from perdure.store.statements import Column, Procedure, Query
from tests.store.databases import SCHEMA, base_url, fresh_url
from tests.store.portal import Ported, call
from tests.store.world import WORKSPACE, World, hashed

RUNNING, COMPLETED, QUEUED = ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED, ExecutionStatus.QUEUED
STORES = 3


class Cluster:
    """Stores on one database; the world speaks to the first of them."""

    def __init__(self) -> None:
        url = fresh_url()
        self.stores: list[PostgresStore] = [call(PostgresStore.open, url) for _ in range(STORES)]
        self.world = World(Ported(self.stores[0]))

    async def write(self, number: int, *commands: Command, advances: tuple[Advance, ...] = ()) -> list[Any]:
        """The answers; what stands behind the advances' comes from the commands."""
        outcome = await self.stores[number].write(Batch(advances=list(advances), commands=list(commands)))
        return [*outcome.advances, *outcome.results]

    def at_once(self, *works: Callable[[], Coroutine[Any, Any, Any]]) -> list[Any]:
        """What all of them answer, begun in the same moment."""

        async def all_of_them() -> list[Any]:
            return await asyncio.gather(*[work() for work in works])

        return call(all_of_them)

    def everywhere(self, work: Callable[[int], Coroutine[Any, Any, Any]]) -> list[Any]:
        """The same work on each store at once."""
        return self.at_once(*[lambda number=number: work(number) for number in range(STORES)])

    def close(self) -> None:
        for store in self.stores:
            call(store.close)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.close()


async def test_each_execution_is_claimed_by_one(cluster: Cluster) -> None:
    world = cluster.world
    ids = {one.id for one in world.start(*[world.new(priority=n % 10) for n in range(300)])}
    workers = [world.worker(f"w{number}") for number in range(STORES)]

    async def claim_all(number: int) -> list[bytes]:
        mine: list[bytes] = []
        while True:
            command = ClaimExecutions(at=world.now, worker=workers[number], queues=None, limit=7)
            (claimed,) = await cluster.write(number, command)
            if not claimed:
                return mine
            mine += [one.record.id for one in claimed]

    claimed = cluster.everywhere(claim_all)
    assert Counter(id for mine in claimed for id in mine) == Counter(ids)
    assert all(mine for mine in claimed)
    for number, mine in enumerate(claimed):
        assert {(await world.get(id)).worker for id in mine} == {workers[number]}


@pytest.mark.parametrize("same", [True, False], ids=["same request", "other request"])
async def test_a_key_starts_one_execution(cluster: Cluster, same: bool) -> None:
    world = cluster.world

    async def start(number: int) -> list[Any]:
        answers = []
        for round in range(25):
            request = hashed("same" if same else str(number))
            # Others in the same batch do not suffer from it.
            news = [world.new(), world.new(idempotency_key=f"k{round}", request_hash=request), world.new()]
            ((first, keyed, last),) = await cluster.write(number, StartExecutions(at=world.now, executions=news))
            assert not first.replayed
            assert not last.replayed
            answers.append(keyed)
        return answers

    for answers in zip(*cluster.everywhere(start), strict=True):
        started = [one for one in answers if not isinstance(one, Exception)]
        assert len({one.id for one in started}) == 1
        assert sorted(one.replayed for one in started) == [False] + [True] * (len(started) - 1)
        assert len(started) == (STORES if same else 1)
        assert all(isinstance(one, IdempotencyConflict) for one in answers if isinstance(one, Exception))
    assert len(await world.all()) == 25 + 2 * 25 * STORES


async def test_a_limit_holds_for_all_of_them(cluster: Cluster) -> None:
    """Starts and ends at the same time: never more than the limit, and no slot left free while somebody waits."""
    world = cluster.world
    limit = world.limit(2, "key", OnLimit.QUEUE)
    workers = [world.worker(f"w{number}") for number in range(STORES)]

    async def start_and_end(number: int) -> None:
        for _ in range(12):
            new = world.new(limit=limit, claim_by=workers[number])
            ((started,),) = await cluster.write(number, StartExecutions(at=world.now, executions=[new]))
            claiming = ClaimExecutions(at=world.now, worker=workers[number], queues=None, limit=5)
            (claimed,) = await cluster.write(number, claiming)
            mine = [one.record for one in claimed] + ([started] if started.status is RUNNING else [])
            held = await cluster.stores[number].executions.list(WORKSPACE, ExecutionFilter(), Page(limit=1000))
            assert sum(one.status in (RUNNING, QUEUED) for one in held) <= 2
            for one in mine:
                await cluster.write(number, advances=(world.advancing(one, COMPLETED),))

    cluster.everywhere(start_and_end)
    left = [one for one in await world.all() if one.status not in TERMINAL]
    while left:
        assert sum(one.status is not ExecutionStatus.PENDING for one in left) == min(2, len(left))
        for claimed in world.claim("w0"):
            world.end(claimed.record)
        left = [one for one in await world.all() if one.status not in TERMINAL]
    assert len(await world.all()) == 12 * STORES


def _page() -> Any:
    return Page(limit=1000)


async def test_whoever_locks_in_another_order_begins_anew(cluster: Cluster) -> None:
    """Two batches that each want what the other has: nobody is refused, nothing is lost or doubled."""
    world = cluster.world
    running = [world.started("w0") for _ in range(6)]

    async def send(number: int) -> None:
        order = [one.id for one in (running if number % 2 else reversed(running))]
        for _ in range(10):
            commands = [SendMessages(at=world.now, messages=[(id, "signal", {"from": number})]) for id in order]
            try:
                await cluster.write(number, *commands)
            except StoreBusy:
                await cluster.write(number, *commands)

    cluster.everywhere(send)
    for one in running:
        counted = Counter(data["from"] for _, data in await world.messages(one.id))
        assert counted == dict.fromkeys(range(STORES), 10)


async def test_a_timer_fires_once(cluster: Cluster) -> None:
    world = cluster.world
    started = [world.start(start_at=world.now + MINUTE) for _ in range(60)]
    at = world.later(HOUR)

    async def fire(number: int) -> None:
        next_due: int | None = at
        while next_due is not None and next_due <= at:
            (next_due,) = await cluster.write(number, FireTimers(at=at, limit=7))

    cluster.everywhere(fire)
    for one in started:
        assert await world.types(one.id) == ["execution.created", "execution.queued"]
    assert len(world.claim("w0")) == 60


async def test_counters_are_folded_once(cluster: Cluster) -> None:
    world = cluster.world
    world.start(*[world.new(flow=f"tests/flow-{n % 3}") for n in range(200)])
    for _ in range(30):
        world.end(world.started("w0"))

    async def fold(number: int) -> int:
        total = 0
        while True:
            (count,) = await cluster.write(number, FoldCounters(at=world.now, limit=5))
            if not count:
                return total
            total += count

    assert sum(cluster.everywhere(fold)) > 30
    rows, _ = await world.store.executions.statistics(WORKSPACE, ExecutionFilter(), ["status"])
    assert rows == [{"status": "completed", "count": 30}, {"status": "queued", "count": 200}]
    store: Any = world.store
    assert await store._read(misplaced()) == []


def misplaced() -> Procedure[list[Any]]:
    """Where packed histograms differ from those by status and trigger."""
    sql = (
        "SELECT d.grain, d.flow, d.bucket, sum(d.count), t.histogram FROM durations AS d "
        "LEFT JOIN duration_totals AS t ON (t.workspace, t.grain, t.flow, t.period) = (d.workspace, d.grain, d.flow, d.period) "
        "GROUP BY d.grain, d.flow, d.bucket, t.histogram, d.period"
    )
    columns = tuple(Column(name, "text") for name in ("grain", "flow", "bucket", "count", "histogram"))
    rows = yield Query(sql, {}, columns)
    assert rows
    return [tuple(row) for row in rows if unpacked(json.loads(row[4] or "[]")).get(row[2]) != row[3]]


async def test_a_dead_worker_is_rescued_from_once_and_writes_nothing_any_more(cluster: Cluster) -> None:
    world = cluster.world
    owned = [world.started("w0") for _ in range(20)]

    async def rescue(number: int) -> list[str]:
        # By the clock of the database: whoever was not heard of for less than nothing.
        (dead,) = await cluster.write(number, RescueExecutions(at=world.now, lease=-HOUR))
        return list(dead)

    dead = cluster.everywhere(rescue)
    assert sorted(name for names in dead for name in names) == ["w0"]
    for one in owned:
        assert await world.types(one.id) == ["execution.created", "execution.started", "execution.interrupted"]
    late = [world.advancing(one, RUNNING, events=[Event("progress", world.now)]) for one in owned]
    assert cluster.at_once(lambda: cluster.write(0, advances=tuple(late))) == [[Lost()] * 20]
    claiming = ClaimExecutions(at=world.now, worker="w0", queues=None, limit=5)
    assert cluster.at_once(lambda: cluster.write(0, claiming)) == [[None]]


async def test_what_is_locked_of_a_dead_worker_holds_up_nothing_else(cluster: Cluster) -> None:
    """Also when the worker itself holds the lock, which stands still in the middle of a transaction."""
    world = cluster.world
    held, free = world.started("w0"), world.started("w0")
    rescue = RescueExecutions(at=world.now, lease=-HOUR)

    async def rescue_beside_the_holder() -> list[Any]:
        holder = await asyncpg.connect(base_url(), server_settings={"search_path": SCHEMA})
        try:
            async with holder.transaction():
                await holder.execute("SELECT FROM executions WHERE id = $1 FOR UPDATE", UUID(bytes=held.id))
                return [(await cluster.write(0, rescue))[0] for _ in range(2)]
        finally:
            await holder.close()

    assert call(rescue_beside_the_holder) == [["w0"], []], "once is news"
    assert [(await world.get(one.id)).status for one in (held, free)] == [RUNNING, ExecutionStatus.INTERRUPTED]
    assert cluster.at_once(lambda: cluster.write(1, rescue)) == [[["w0"]]]
    assert (await world.get(held.id)).status is ExecutionStatus.INTERRUPTED


async def test_a_living_worker_is_left_alone(cluster: Cluster) -> None:
    world = cluster.world
    world.started("w0")
    assert world.do(RescueExecutions(at=world.later(10 * HOUR), lease=HOUR)) == []


async def test_a_cancel_meets_an_end(cluster: Cluster) -> None:
    """One of them wins; the other is told."""
    world = cluster.world
    for _ in range(25):
        started = world.started("w0")
        cancelling = CancelExecutions(at=world.now, workspace=WORKSPACE, ids=[started.id])
        ending = world.advancing(started, COMPLETED)
        ended, (cancelled,) = cluster.at_once(
            partial(cluster.write, 0, advances=(ending,)),
            partial(cluster.write, 1, cancelling),
        )
        assert isinstance(ended[0], Advanced)
        assert (await world.get(started.id)).status is COMPLETED
        assert len(cancelled) == 1
        assert await world.messages(started.id) == []


async def test_the_same_flow_is_put_once(cluster: Cluster) -> None:
    world = cluster.world

    async def put(number: int) -> list[tuple[int, bool]]:
        answers = []
        for round in range(10):
            new = NewFlow(
                id="a/b", description=None, content_hash=f"h{round}", document="{}", source_text="",
                media_type="application/json",
            )  # fmt: skip
            [[done]] = await cluster.write(number, PutFlows(at=world.now, workspace=WORKSPACE, flows=[new]))
            answers.append((done.number, done.is_new))
        return answers

    for answers in zip(*cluster.everywhere(put), strict=True):
        assert len({number for number, _ in answers}) == 1
    assert len(await world.store.flows.versions(WORKSPACE, "a/b")) == 10


async def test_the_feed_of_each_writer_is_whole(cluster: Cluster) -> None:
    """However commits of several processes fall, a reader at any moment sees each writer's up to some number."""
    world = cluster.world
    done = asyncio.Event()

    async def start(number: int) -> None:
        for _ in range(30):
            await cluster.write(number, StartExecutions(at=world.now, executions=[world.new()]))

    async def all_start() -> None:
        await asyncio.gather(*[start(number) for number in range(STORES)])
        done.set()

    async def follow() -> dict[int, int]:
        position: dict[int, int] = {}
        is_last = False
        while not is_last:
            is_last = done.is_set()
            for writer, n, chunks in await cluster.stores[0].events.feed(WORKSPACE, position, 4):
                assert n == position.get(writer, 0) + 1
                assert len(chunks) == 1
                position[writer] = n
                is_last = False
        return position

    _, position = cluster.at_once(all_start, follow)
    assert sorted(position.values()) == [30] * STORES


async def test_a_frozen_process_does_not_hold_the_others_for_ever(cluster: Cluster, monkeypatch: Any) -> None:
    """Stopped in the middle of a transaction: the server ends its session, and it finds out when it goes on."""
    world = cluster.world
    started = world.started("w0")
    schema = cluster.stores[0].address.schema

    async def scenario() -> Any:
        frozen = cluster.stores[1]._writer._connection
        assert frozen is not None
        await frozen.execute("SET idle_in_transaction_session_timeout = 300")
        await frozen.execute("BEGIN")
        await frozen.fetch(f"SELECT 1 FROM {schema}.executions WHERE id = $1 FOR UPDATE", started.id)
        return await cluster.write(0, advances=(world.advancing(started, COMPLETED),))

    assert isinstance(call(scenario)[0], Advanced)
    assert world.later(SECOND)
    assert len(cluster.at_once(lambda: cluster.write(1, StartExecutions(at=world.now, executions=[world.new()])))) == 1


async def test_a_timer_that_another_holds_is_looked_at_again_later_and_not_at_once(cluster: Cluster) -> None:
    """Its time is past, and nothing can be done: whoever came back at once would come back for ever."""
    world = cluster.world
    held = world.started("w1")
    world.suspend(held, wake_at=world.later(HOUR))
    due_at = world.now + 2 * HOUR
    later = world.start(start_at=due_at)

    async def fire_beside_the_holder() -> list[Any]:
        holder = await asyncpg.connect(base_url(), server_settings={"search_path": SCHEMA})
        try:
            async with holder.transaction():
                await holder.execute("SELECT FROM executions WHERE id = $1 FOR UPDATE", UUID(bytes=held.id))
                return [(await cluster.write(number, FireTimers(at=world.now)))[0] for number in range(STORES)]
        finally:
            await holder.close()

    assert call(fire_beside_the_holder) == [world.now + HELD_PAUSE] * STORES
    assert world.fire() == due_at
    assert [claimed.record.id for claimed in world.claim()] == [held.id]
    assert (await world.get(later.id)).status is ExecutionStatus.PENDING


def test_the_feed_has_each_execution_in_its_order_whoever_wrote_it(cluster: Cluster) -> None:
    """Also where the writer that comes first in a page was the last to write, and where what was written before stands
    behind the page's end."""
    world = cluster.world
    news = [world.new() for _ in range(18)]
    for turn, new in enumerate(news):
        starter = turn % STORES if turn < 2 * STORES else 2
        call(cluster.write, starter, StartExecutions(at=world.now + turn, executions=[new]))
    for turn, new in enumerate(reversed(news)):
        cancel = CancelExecutions(at=world.now + len(news) + turn, workspace=WORKSPACE, ids=[new.id])
        call(cluster.write, (turn + 1 + turn // STORES) % STORES, cancel)

    for limit in (1, 2, 3, 100):
        position: dict[int, int] = {}
        read: dict[bytes, list[int]] = {}
        while feed := call(cluster.stores[0].events.feed, WORKSPACE, position, limit):
            for writer, n, chunks in feed:
                assert n == position.get(writer, 0) + 1
                position[writer] = n
                for chunk in chunks:
                    numbers = range(chunk.first_seq, chunk.first_seq + len(chunk.events))
                    read.setdefault(chunk.execution_id, []).extend(numbers)
        assert {id: sorted(numbers) for id, numbers in read.items()} == read, limit
        assert set(read) == {new.id for new in news}
