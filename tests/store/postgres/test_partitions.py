"""Executions and what belongs to each stand in weekly partitions with the same bounds, made ahead of time."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from perdure.base.clock import DAY, SystemClock
from perdure.base.ids import id_floor
from perdure.engine.loops.partitioner import Partitioner
from perdure.engine.precedence import Precedence
from perdure.engine.retention import Retention
from perdure.errors import StoreBusy
from perdure.model.event import Event
from perdure.model.states import ExecutionStatus
from perdure.store.commands import EraseExecutions
from perdure.store.postgres.connection import MIGRATING, connect
from perdure.store.postgres.store import PostgresStore
from perdure.store.postgres.url import parse_url
from tests.store.databases import new_schema_url, opened
from tests.store.portal import Ported, call, loop
from tests.store.world import World

TABLES = ("executions", "payloads", "node_runs", "events")
WEEK = 7 * DAY


class Scene:
    def __init__(self, url: str) -> None:
        self.store: Any = Ported(call(PostgresStore.open, url))
        self.connection: Any = None

    async def bounds(self, table: str) -> dict[str, str]:
        """Of each partition: its name without the table's, and what it takes."""
        rows = await self.connection.fetch(
            "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits AS i "
            "JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass($1)",
            table,
        )
        return {name.removeprefix(table): bound for name, bound in rows}

    async def homes(self, id: bytes) -> dict[str, str]:
        """For each table that has rows of an execution, the partition that they stand in."""
        found = {}
        for table in TABLES:
            key = "id" if table == "executions" else "execution_id"
            rows = await self.connection.fetch(
                f"SELECT DISTINCT tableoid::regclass::text FROM {table} WHERE {key} = $1", id
            )
            for (name,) in rows:
                found[table] = name.removeprefix(table)
        return found


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    url = new_schema_url()
    made = Scene(url)
    made.connection = await connect(parse_url(url), MIGRATING, name="perdure test")
    yield made
    made.connection.terminate()
    await made.store.close()


async def test_the_weeks_to_come_are_there_from_the_start(scene: Scene) -> None:
    first = await scene.bounds("executions")
    assert len(first) == 1 + 4
    assert first["_default"] == "DEFAULT"
    for table in TABLES:
        assert await scene.bounds(table) == first
    assert await scene.store.make_partitions() == 0


async def test_all_rows_of_an_execution_stand_together(scene: Scene) -> None:
    world = World(scene.store)
    now = time.time_ns() // 1000
    homes = []
    for offset in (0, WEEK, 2 * WEEK):
        world.now = now + offset
        started = world.started()
        world.advance(
            started, ExecutionStatus.RUNNING, node_runs=[world.node_run()], events=[Event("progress", world.now)]
        )
        found = await scene.homes(started.id)
        assert set(found) == set(TABLES)
        assert len(set(found.values())) == 1
        homes.append(found["events"])
    assert len(set(homes)) == 3
    assert "_default" not in homes


async def test_weeks_in_between_can_be_made_for_old_rows(scene: Scene) -> None:
    since = time.time_ns() // 1000 - 3 * WEEK
    assert await scene.store.make_partitions(since=since) == 3
    assert await scene.store.make_partitions(since=since) == 0


async def test_any_number_may_make_them_at_once(scene: Scene) -> None:
    since = time.time_ns() // 1000 - 2 * WEEK
    async with opened(_url_of(scene)) as first, opened(_url_of(scene)) as second, opened(_url_of(scene)) as third:
        made = await asyncio.gather(*[store.make_partitions(since=since) for store in (first, second, third)])
    assert sum(made) == 2


def _url_of(scene: Scene) -> str:
    address = scene.store.address
    return f"{address.dsn}?schema={address.schema}"


async def test_a_week_whose_rows_came_before_its_partition_stays_where_it_is(scene: Scene) -> None:
    """Nothing is moved and nothing is lost; the weeks around it get their partitions."""
    world = World(scene.store)
    world.now = time.time_ns() // 1000 - 2 * WEEK
    started = world.started()
    assert (await scene.homes(started.id))["executions"] == "_default"
    made = await scene.store.make_partitions(since=world.now - WEEK)
    assert made == 2
    assert (await world.get(started.id)).number == started.number
    world.advance(started, ExecutionStatus.RUNNING, node_runs=[world.node_run()])
    world.end(started)
    assert len(await world.events(started.id)) == 3
    assert await scene.homes(started.id) == dict.fromkeys(TABLES, "_default")


async def test_bounds_are_whole_weeks_from_monday(scene: Scene) -> None:
    bounds = sorted(bound for bound in (await scene.bounds("events")).values() if bound != "DEFAULT")
    monday = 4 * DAY
    for bound in bounds:
        low = bytes.fromhex(bound.split("'")[1].replace("-", ""))
        at = int.from_bytes(low[:6]) * 1000
        assert (at - monday) % WEEK == 0
        assert low[:6] == id_floor(at)[:6]


async def test_work_goes_on_while_they_are_made(scene: Scene) -> None:
    world = World(scene.store)
    started = world.started()
    since = time.time_ns() // 1000 - 6 * WEEK

    async def make() -> int:
        return await scene.store._inner.make_partitions(since=since)

    making = asyncio.run_coroutine_threadsafe(make(), loop())
    written = 0
    while not making.done():
        assert await scene.store.executions.get("default", started.id) is not None
        world.advance(started, ExecutionStatus.RUNNING, events=[Event("progress", world.now)])
        written += 1
    assert making.result() == 6
    assert len(await world.events(started.id)) == 2 + written


async def test_a_loop_of_the_engine_makes_them(scene: Scene) -> None:
    """The newest week is taken away, as if three weeks had passed less."""
    newest = max(name for name in await scene.bounds("executions") if name != "_default")
    for table in TABLES:
        await scene.connection.execute(f"DROP TABLE {table}{newest}")
    assert await here(partitioner(scene).work()) > 3_600
    for table in TABLES:
        assert newest in await scene.bounds(table)


def partitioner(scene: Scene) -> Partitioner:
    store, clock = scene.store._inner, SystemClock()
    return Partitioner(
        sharing=store.sharing,
        clock=clock,
        retention=Retention(),
        precedence=Precedence(store=store, clock=clock, lease=DAY, worker=lambda: "w1"),
    )


def weeks(bounds: dict[str, str]) -> int:
    return len(bounds) - 1


async def test_weeks_are_dropped_once_they_are_over_and_empty(scene: Scene) -> None:
    now = time.time_ns() // 1000
    await scene.store.make_partitions(since=now - 3 * WEEK)
    before = weeks(await scene.bounds("executions"))
    world = World(scene.store)
    world.now = now - 2 * WEEK
    kept = world.started()
    drop = scene.store._inner.sharing.drop_partitions
    assert await here(drop(now - WEEK)) == 1
    for table in TABLES:
        assert weeks(await scene.bounds(table)) == before - 1
    assert "_default" not in (await scene.homes(kept.id)).values()
    world.end(kept)
    world.do(EraseExecutions(at=world.now, ids=[kept.id]))
    assert await here(drop(now - WEEK)) == 1
    assert await here(drop(now - WEEK)) == 0
    assert await here(drop(now)) == 1
    assert weeks(await scene.bounds("events")) == before - 3


async def test_what_comes_late_for_a_week_that_was_dropped_is_kept(scene: Scene) -> None:
    now = time.time_ns() // 1000
    await scene.store.make_partitions(since=now - WEEK)
    world = World(scene.store)
    world.now = now - WEEK
    early = world.started()
    world.end(early)
    world.do(EraseExecutions(at=world.now, ids=[early.id]))
    assert await here(scene.store._inner.sharing.drop_partitions(now)) == 1
    late = world.started()
    world.advance(late, ExecutionStatus.RUNNING, node_runs=[world.node_run()])
    world.end(late)
    assert await scene.homes(late.id) == dict.fromkeys(TABLES, "_default")
    assert len(await world.events(late.id)) == 3
    assert await scene.store.make_partitions(since=now - WEEK) == 0


async def test_nobody_waits_for_a_drop_and_it_waits_for_nobody(scene: Scene) -> None:
    """A transaction that has read a table stays open: the drop gives up, whoever writes goes on, and it comes off later."""
    now = time.time_ns() // 1000
    await scene.store.make_partitions(since=now - WEEK)
    world = World(scene.store)
    drop = scene.store._inner.sharing.drop_partitions
    await scene.connection.execute("BEGIN; SELECT count(*) FROM executions")
    try:
        with pytest.raises(StoreBusy):
            await here(drop(now))
        dropping = asyncio.gather(*[here(drop(now)) for _ in range(3)], return_exceptions=True)
        slowest = 0.0
        while not dropping.done():
            began = time.monotonic()
            await asyncio.to_thread(world.started)
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 5
        assert {type(one) for one in await dropping} == {StoreBusy}
    finally:
        await scene.connection.execute("ROLLBACK")
    assert await here(drop(now)) == 1


async def test_several_may_drop_at_once_while_others_write(scene: Scene) -> None:
    now = time.time_ns() // 1000
    await scene.store.make_partitions(since=now - 5 * WEEK)
    world = World(scene.store)
    drop = scene.store._inner.sharing.drop_partitions
    dropping = asyncio.gather(*[here(drop(now)) for _ in range(3)], return_exceptions=True)
    written: list[bytes] = []
    while not dropping.done():
        world.now = now - len(written) % 6 * WEEK
        written.append((await asyncio.to_thread(world.started)).id)
    answers = await dropping
    assert all(isinstance(one, int | StoreBusy) for one in answers), answers
    assert len(await world.all()) == len(written)


async def test_a_loop_of_the_engine_drops_what_was_kept_long_enough(scene: Scene) -> None:
    now = time.time_ns() // 1000
    World(scene.store).worker("w1")
    await scene.store.make_partitions(since=now - 7 * WEEK)
    before = weeks(await scene.bounds("executions"))
    assert await here(partitioner(scene).work()) > 3_600
    assert 2 <= before - weeks(await scene.bounds("executions")) <= 3


async def here(work: Any) -> Any:
    """On the loop of the store."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop()))
