"""Connections: few, replaced when they break, and without a trace where a pooling proxy stands between."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import asyncpg
import pytest

from perdure.base.clock import MINUTE
from perdure.errors import StoreBusy, StoreError, StoreIncompatible, StoreUnavailable
from perdure.model.event import Event
from perdure.model.states import ExecutionStatus
from perdure.store.commands import RescueExecutions
from perdure.store.interface import Advanced, Batch, ExecutionFilter, Page
from perdure.store.postgres import readers as reading
from perdure.store.postgres import text_index as indexing
from perdure.store.postgres.connection import READING, WRITING
from perdure.store.postgres.store import PostgresStore
from perdure.store.procedures import interrupt
from perdure.store.statements import Column, Procedure, Query
from tests.store.databases import fresh_url, opened, server
from tests.store.portal import call
from tests.store.world import WORKSPACE, World

RUNNING = ExecutionStatus.RUNNING


@pytest.fixture
async def store() -> AsyncIterator[PostgresStore]:
    async with opened(fresh_url(pool=2)) as made:
        yield made


def asking(sql: str, **params: Any) -> Procedure[Any]:
    rows = yield Query(sql, params, (Column("answer", "bigint"),))
    return rows[0][0]


async def test_reads_wait_for_a_connection_to_become_free(store: PostgresStore) -> None:
    answers = await asyncio.gather(*[store._readers.read(asking("SELECT :n::bigint", n=n)) for n in range(40)])
    assert answers == list(range(40))
    assert len(store._readers._free) <= 2


async def test_a_read_that_gets_no_connection_says_so(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "TURN_PATIENCE_S", 0.05)
    hogs = [asyncio.ensure_future(store._readers.read(asking("SELECT count(pg_sleep(0.4))"))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(StoreBusy, match="pool="):
        await store.executions.get(WORKSPACE, bytes(16))
    await asyncio.gather(*hogs)
    assert await store.executions.get(WORKSPACE, bytes(16)) is None


async def test_a_read_that_takes_too_long_is_ended_by_the_server(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(READING, "statement_timeout", "50")
    with pytest.raises(StoreBusy, match="took too long") as caught:
        await store._readers.read(asking("SELECT count(pg_sleep(30))"))
    assert (caught.value.status, caught.value.retry_after_s) == (503, 1)


async def test_who_stands_still_in_the_middle_of_a_statement_does_not_hold_its_locks_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a process that is stopped: it has had a statement prepared, and does not come to carry it out."""
    monkeypatch.setattr(interrupt, "STILL", 50_000)
    url = fresh_url()
    async with opened(url) as frozen, opened(url) as other:
        session = frozen._writer._connection
        assert session is not None
        await session.execute("BEGIN; LOCK TABLE rates")
        await cast(asyncpg.Connection, session).prepare("SELECT 1 AS first_seen")
        rescue = Batch(advances=[], commands=[RescueExecutions(at=1, lease=MINUTE)])
        async with asyncio.timeout(20):
            while not session.is_closed():
                assert (await other.write(rescue)).results == [[]]


async def test_a_broken_connection_is_replaced(store: PostgresStore) -> None:
    pid = await store._readers.read(asking("SELECT pg_backend_pid()"))
    server().run(f"SELECT pg_terminate_backend({pid})")
    try:
        other = await store._readers.read(asking("SELECT pg_backend_pid()"))
    except StoreUnavailable:
        # Nobody had told us yet.
        other = await store._readers.read(asking("SELECT pg_backend_pid()"))
    assert other != pid


async def test_who_does_not_hold_the_index_of_texts_keeps_no_connection_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    url = fresh_url()
    sessions = "SELECT count(*) FROM pg_stat_activity AS a WHERE a.application_name = 'perdure indexer'"
    async with opened(url) as holder, opened(url) as other:
        assert await holder.texts.hold(MINUTE)
        monkeypatch.setattr(indexing, "IDLE_S", 0.05)
        assert not await other.texts.hold(MINUTE)
        async with asyncio.timeout(20):
            while await holder._readers.read(asking(sessions)) > 1:
                pass
        assert not await other.texts.hold(MINUTE), "it is asked for again, on a new one"


async def test_a_read_that_nobody_waits_for_any_more_leaves_its_turn(store: PostgresStore) -> None:
    for _ in range(6):
        task = asyncio.ensure_future(store._readers.read(asking("SELECT count(pg_sleep(30))")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await store._readers.read(asking("SELECT 1::bigint")) == 1


async def test_reads_cannot_write(store: PostgresStore) -> None:
    with pytest.raises(StoreError):
        await store._readers.read(asking("INSERT INTO measures (name, value) VALUES ('x', 1) RETURNING value"))


async def test_a_closed_store_says_so() -> None:
    async with opened(fresh_url()) as store:
        pass
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.executions.get(WORKSPACE, bytes(16))


async def test_who_is_interrupted_while_he_closes_leaves_no_connection_open() -> None:
    """uvloop waits for ever at the end of a loop on which one is open."""
    store = await PostgresStore.open(fresh_url(pool=3))
    await asyncio.gather(*(store._readers.read(asking("SELECT count(pg_sleep(0.05))")) for _ in range(3)))
    left = [store._writer._connection, *store._readers._free]
    assert len(left) == 4
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert [connection is not None and connection.is_closed() for connection in left] == [True] * 4


async def test_the_server_is_told_how_to_work_for_us(store: PostgresStore) -> None:
    connection = store._writer._connection
    assert connection is not None
    for name, value in WRITING.items():
        shown = await connection.fetchval("SELECT setting FROM pg_settings WHERE name = $1", name)
        # Over a Unix socket there is nothing to keep alive.
        assert shown == value or (name.startswith("tcp_") and shown == "0"), name
    shown = await connection.fetchval("SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()")
    assert shown.startswith("perdure writer ")


async def test_what_info_tells(store: PostgresStore) -> None:
    info = await store.info()
    assert info["kind"] == "postgresql"
    assert int(str(info["version"]).split(".")[0]) >= 14
    assert info["size_bytes"] > 1_000_000
    assert info["schema"] == store.address.schema
    await store.ping()


async def test_without_prepared_statements_all_goes_as_well(fresh: Callable[..., Any]) -> None:
    """As behind a pooling proxy: no session keeps a setting or a statement of ours."""
    store = fresh(prepare="false", listen="false")
    world = World(store)
    started = world.started(deadline_at=world.now + MINUTE)
    assert isinstance(world.advance(started, RUNNING, events=[Event("progress", world.now)]), Advanced)
    world.start(idempotency_key="k")
    assert len(world.claim("w1")) == 1
    world.later(2 * MINUTE)
    world.fire()
    assert await world.messages(started.id) != []
    world.end(started)
    found = await store.executions.list(WORKSPACE, ExecutionFilter(statuses=(ExecutionStatus.COMPLETED,)), Page())
    assert [record.id for record in found] == [started.id]
    assert len(await world.events(started.id)) == 4
    connection = store._inner._writer._connection
    # asyncpg itself switches jit off and back while it looks types up.
    ours = [name for name in WRITING if name != "jit"]

    async def kept() -> list[str]:
        names = await connection.fetch("SELECT name FROM pg_prepared_statements")
        changed = await connection.fetch(
            "SELECT name FROM pg_settings WHERE name = ANY($1) AND source = 'session'", ours
        )
        return [name for (name,) in (*names, *changed)]

    assert call(kept) == []


async def test_timers_without_an_execution_do_not_stand_in_the_way(fresh: Callable[..., Any]) -> None:
    store = fresh()
    world = World(store)
    started = world.start(start_at=world.now + MINUTE)
    server().run(
        f"INSERT INTO {store.address.schema}.timers (execution_id, kind, due_at) "
        f"SELECT gen_random_uuid(), 'wake', {world.now} FROM generate_series(1, 7)"
    )
    world.later(2 * MINUTE)
    for _ in range(4):
        world.fire(limit=3)
    assert (await world.get(started.id)).status is ExecutionStatus.QUEUED


async def test_a_proxy_that_drops_settings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ignores what a session is begun with: the tables would be looked for in the wrong place."""
    monkeypatch.setitem(READING, "search_path", "elsewhere")
    with pytest.raises(StoreIncompatible, match="prepare=false"):
        await PostgresStore.open(fresh_url())
