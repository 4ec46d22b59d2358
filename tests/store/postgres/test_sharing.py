"""What processes on one PostgreSQL have besides: hints, proof of life, contents of blobs."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from perdure.artifacts.local import LocalStorage
from perdure.artifacts.shared import CHUNK_BYTES, SharedStorage
from perdure.base.clock import SystemClock
from perdure.errors import ArtifactNotFound, StoreDamaged, StoreUnavailable
from perdure.store.commands import RegisterWorker, StopWorker
from perdure.store.interface import Batch
from perdure.store.postgres.blob_table import PostgresBlobTable
from perdure.store.postgres.signals import PostgresSignals
from perdure.store.postgres.store import PostgresStore
from perdure.store.postgres.url import Address, parse_url
from perdure.store.records import WorkerRecord
from perdure.store.sharing import Hint
from perdure.store.statements import library
from tests.store.databases import fresh_url

PATIENCE_S = 20
ID = bytes(range(16))


@pytest.fixture
def address() -> Address:
    return parse_url(fresh_url())


class Ear:
    """What a process heard."""

    def __init__(self) -> None:
        self.hints: list[Hint] = []
        self._more = asyncio.Event()

    def __call__(self, hint: Hint) -> None:
        self.hints.append(hint)
        self._more.set()

    async def until(self, wanted: Callable[[Hint], object]) -> Hint:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for hint in self.hints:
                    if wanted(hint):
                        return hint
                self._more.clear()
                await self._more.wait()


@asynccontextmanager
async def _listening(address: Address) -> AsyncIterator[tuple[PostgresSignals, Ear]]:
    """A process that has heard that it is to look at everything, once."""
    signals, ear = PostgresSignals(address), Ear()
    await signals.start(ear)
    try:
        await ear.until(lambda hint: hint.everything)
        ear.hints.clear()
        yield signals, ear
    finally:
        await signals.close()


async def test_hints_reach_the_others_and_not_oneself(address: Address) -> None:
    async with _listening(address) as (one, own), _listening(address) as (two, other):
        assert one.is_live
        one.send(Hint(deliveries=[("w", ID)], lines=["default"], feed={7: 3}))
        heard = await other.until(lambda hint: hint.feed)
        assert (heard.deliveries, heard.lines, heard.feed) == ([("w", ID)], ["default"], {7: 3})
        two.send(Hint(lines=["back"]))
        await own.until(lambda hint: hint.lines == ["back"])
        assert len(own.hints) == 1


async def test_more_than_one_payload_holds_arrives_whole(address: Address) -> None:
    ids = [hashlib.sha256(bytes([n % 256, n // 256])).digest()[:16] for n in range(1_000)]
    async with _listening(address) as (one, _), _listening(address) as (_, other):
        one.send(Hint(deliveries=[(f"worker-{n % 3}", id_) for n, id_ in enumerate(ids)]))
        left = set(ids)

        def took(hint: Hint) -> bool:
            left.difference_update(id_ for _, id_ in hint.deliveries)
            return not left

        await other.until(took)
        assert len(other.hints) > 1


async def test_what_no_payload_can_hold_becomes_a_look_at_everything(address: Address) -> None:
    async with _listening(address) as (one, _), _listening(address) as (_, other):
        one.send(Hint(lines=["x" * 9_000]))
        await other.until(lambda hint: hint.everything)


async def test_after_a_lost_connection_everything_is_looked_at(address: Address) -> None:
    async with _listening(address) as (_, ear):
        connection = await asyncpg.connect(address.dsn)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'perdure signals'"
        )
        await connection.close()
        await ear.until(lambda hint: hint.everything)


async def test_without_listening_nothing_is_live_and_sending_is_no_error() -> None:
    signals = PostgresSignals(parse_url(fresh_url(listen="false")))
    await signals.start(Ear())
    signals.send(Hint(everything=True))
    assert not signals.is_live
    await signals.close()


def _worker() -> WorkerRecord:
    now = SystemClock().now()
    return WorkerRecord(id="w", number=0, name="w", host="h", pid=1, started_at=now, heartbeat_at=now)


async def test_a_pulse_is_good_until_the_worker_is_declared_dead() -> None:
    url = fresh_url()
    store = await PostgresStore.open(url)
    pulse = store.sharing.pulse()
    try:
        await store.write(Batch(advances=[], commands=[RegisterWorker(at=1, worker=_worker())]))
        (before,) = await store.workers.list()
        assert await asyncio.to_thread(pulse.beat, "w", within_s=PATIENCE_S)
        (after,) = await store.workers.list()
        assert after.heartbeat_at > before.heartbeat_at
        assert not await asyncio.to_thread(pulse.beat, "nobody", within_s=PATIENCE_S)
        await store.write(Batch(advances=[], commands=[StopWorker(at=2, worker="w")]))
        assert not await asyncio.to_thread(pulse.beat, "w", within_s=PATIENCE_S)
    finally:
        await asyncio.to_thread(pulse.close)
        await store.close()


async def test_a_pulse_that_gets_no_answer_says_so_in_time() -> None:
    async def be_silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked.wait()
        writer.close()

    asked = asyncio.Event()
    server = await asyncio.start_server(be_silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store_url = f"postgresql://nobody@127.0.0.1:{port}/nowhere"
    from_nowhere = PostgresStore(parse_url(store_url), library("postgres")).sharing.pulse()
    try:
        with pytest.raises(StoreUnavailable, match="no answer within"):
            await asyncio.to_thread(from_nowhere.beat, "w", within_s=0.2)
    finally:
        asked.set()
        await asyncio.to_thread(from_nowhere.close)
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def _storages(folder: Path, count: int = 2) -> AsyncIterator[tuple[PostgresBlobTable, list[SharedStorage]]]:
    """As many machines, each with a folder of its own."""
    store = await PostgresStore.open(fresh_url())
    table = PostgresBlobTable(store.address)
    try:
        yield table, [SharedStorage(LocalStorage(folder / str(n)), table) for n in range(count)]
    finally:
        table.close()
        await store.close()


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 7])
async def test_a_content_put_on_one_machine_is_read_on_another(tmp_path: Path, size: int) -> None:
    data = bytes(n * 31 % 251 for n in range(size))
    async with _storages(tmp_path) as (_, (here, there)):
        stored = await here.put_bytes(data)
        assert await there.exists(stored.sha256)
        assert await there.size(stored.sha256) == size
        for start, end in ((0, None), (size // 2, None), (size // 3, size // 2 + 1), (size, None)):
            found = b"".join([piece async for piece in there.open(stored.sha256, start=start, end=end)])
            assert found == data[start:end]
        assert await there.read(stored.sha256) == data
        assert await here.put_bytes(data) == stored


async def test_what_a_node_left_in_the_folder_is_brought_to_all(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * (CHUNK_BYTES + 1))
    async with _storages(tmp_path) as (_, (here, there)):
        stored = LocalStorage(tmp_path / "0").store_file(file)
        with pytest.raises(ArtifactNotFound):
            await there.read(stored.sha256)
        await here.keep(stored.sha256)
        assert await there.read(stored.sha256) == file.read_bytes()


async def test_half_a_content_is_not_there_and_a_changed_one_is_refused(tmp_path: Path) -> None:
    data = b"y" * (2 * CHUNK_BYTES)
    sha256 = hashlib.sha256(data).digest()
    async with _storages(tmp_path) as (table, (here, there)):
        await table.write(sha256, 0, b"z" * CHUNK_BYTES)
        assert not await there.exists(sha256)
        # A chunk that is there stays, whoever wrote it.
        await here.put_bytes(data)
        with pytest.raises(StoreDamaged, match="was changed"):
            await there.read(sha256)


async def test_the_cache_is_bounded_and_holds_what_only_it_has(tmp_path: Path) -> None:
    async with _storages(tmp_path) as (table, _):
        local = LocalStorage(tmp_path / "0")
        here = SharedStorage(local, table, cache_bytes=250)
        stored = [await here.put_bytes(bytes([n]) * 100) for n in range(4)]
        for age, one in enumerate(stored):
            assert await here.read(one.sha256)
            os.utime(local.path_of(one.sha256), (1_000 + age, 1_000 + age))
        only_here = local.store_bytes(b"just left by a node" * 10)
        hour_ago = time.time() - 3_600
        os.utime(local.path_of(only_here.sha256), (hour_ago, hour_ago))
        assert await here.tidy() == 4
        assert [sha256 for _, _, sha256 in local.contents()] == [only_here.sha256]
        assert b"".join([piece async for piece in here.open(stored[0].sha256)]) == b"\x00" * 100
        assert await here.read(stored[3].sha256) == b"\x03" * 100
        await here.keep(only_here.sha256)
        assert await here.tidy() == 1
