"""Full disks, foreign locks, second processes: a clear error, and work goes on when it is over."""

import asyncio
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from perdure.errors import StoreBusy, StoreFull, StoreIncompatible, StoreLocked, StoreUnavailable
from perdure.model.states import ExecutionStatus
from perdure.store.commands import StartExecutions
from perdure.store.interface import Advanced, Lost
from perdure.store.recorder import Recorder
from perdure.store.records import Advance, Value
from perdure.store.sqlite import connection as connection_settings
from perdure.store.sqlite.lock import owner_of
from perdure.store.sqlite.readers import PATIENCE_S, Readers
from perdure.store.sqlite.store import SqliteStore
from perdure.store.statements import Column, Procedure, Query, library
from tests.store.programs import beside
from tests.store.world import WORKSPACE, World, value

BIG = '"' + "x" * 60_000 + '"'


class Owner:
    """A source with one advance at a time."""

    def __init__(self, advance: Advance) -> None:
        self.next: Advance | None = advance
        self.outcome: asyncio.Future[Advanced | Lost | Exception] = asyncio.get_running_loop().create_future()

    def drain(self) -> Advance | None:
        found, self.next = self.next, None
        return found

    def committed(self, outcome: Advanced | Lost | Exception) -> None:
        self.outcome.set_result(outcome)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "perdure.db"


def limit_pages(store: SqliteStore, count: int) -> None:
    """As many pages as a disk has room for."""
    store._writer._writer._connection.pragma("max_page_count", count)


async def fill(recorder: Recorder, world: World) -> None:
    """Start executions until one is refused."""
    for _ in range(1000):
        new = world.new(input=Value(BIG, None, len(BIG)))
        try:
            await recorder.execute(StartExecutions(at=world.now, executions=[new]))
        except StoreFull:
            return
    pytest.fail("the store was never full")


async def test_a_full_store_refuses_starts_keeps_advances_and_heals(path: Path) -> None:
    store = SqliteStore(path)
    world = World(store)
    recorder = Recorder(store)
    started = world.started()
    limit_pages(store, 140)
    await fill(recorder, world)
    owner = Owner(world.advancing(started, ExecutionStatus.COMPLETED, output=value(BIG)))
    recorder.advance(owner)
    for _ in range(3):
        with pytest.raises(StoreFull) as caught:
            await recorder.execute(StartExecutions(at=world.now, executions=[world.new(input=value(BIG))]))
        assert caught.value.status == 507
        assert (await world.get(started.id)).status == ExecutionStatus.RUNNING
    assert not owner.outcome.done()
    assert isinstance(recorder.trouble, StoreFull)
    limit_pages(store, 1_000_000)
    assert isinstance(await owner.outcome, Advanced)
    assert (await world.get(started.id)).status == ExecutionStatus.COMPLETED
    await recorder.execute(StartExecutions(at=world.now, executions=[world.new(input=value(BIG))]))
    assert recorder.trouble is None
    await recorder.close()
    await store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, bool]]:
    """A real file system of 2 MB and True, where we may mount one; elsewhere a folder, and the test limits the file."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    yield folder, mounted.returncode == 0
    if mounted.returncode == 0:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_full_disk_is_survived(small_disk: tuple[Path, bool]) -> None:
    folder, is_mounted = small_disk
    path = folder / "perdure.db"
    store = SqliteStore(path)
    world = World(store)
    recorder = Recorder(store)
    if not is_mounted:
        limit_pages(store, 400)
    started = world.started()
    ballast = folder / "ballast"
    ballast.write_bytes(b"x" * 500_000)
    await fill(recorder, world)
    assert (await world.get(started.id)).status == ExecutionStatus.RUNNING
    ballast.unlink()
    if not is_mounted:
        limit_pages(store, 1_000_000)
    owner = Owner(world.advancing(started, ExecutionStatus.COMPLETED))
    recorder.advance(owner)
    assert isinstance(await owner.outcome, Advanced)
    await recorder.close()
    await store.close()


HOLD = """
import sys, apsw
connection = apsw.Connection(sys.argv[1])
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
print("released", flush=True)
"""


async def test_a_foreign_lock_is_waited_for_and_then_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_settings, "BUSY_WAIT_MS", 200)
    store = SqliteStore(path)
    world = World(store)
    recorder = Recorder(store)
    started = world.started()
    with beside(HOLD, path) as holder:
        assert holder.next_line() == "held"
        owner = Owner(world.advancing(started, ExecutionStatus.COMPLETED))
        recorder.advance(owner)
        began = time.monotonic()
        with pytest.raises(StoreBusy) as caught:
            await recorder.execute(StartExecutions(at=world.now, executions=[world.new()]))
        assert time.monotonic() - began > 0.15
        assert (caught.value.status, caught.value.retry_after_s) == (503, 1)
        assert (await world.get(started.id)).status == ExecutionStatus.RUNNING
        holder.go_on()
        assert holder.next_line() == "released"
        assert isinstance(await owner.outcome, Advanced)
    await recorder.execute(StartExecutions(at=world.now, executions=[world.new()]))
    await recorder.close()
    await store.close()


OWN = """
import os, sys, pathlib
from perdure.store.sqlite.store import SqliteStore
store = SqliteStore(pathlib.Path(sys.argv[1]))
store.set_url("http://127.0.0.1:8000")
print(os.getpid(), flush=True)
sys.stdin.readline()
os.abort()
"""


def test_a_second_process_is_told_who_owns_the_store(path: Path) -> None:
    with beside(OWN, path) as owner:
        pid = int(owner.next_line())
        with pytest.raises(StoreLocked) as caught:
            SqliteStore(path)
        assert (caught.value.details["pid"], caught.value.details["url"]) == (pid, "http://127.0.0.1:8000")
        owner.go_on()
        assert owner.next_line() == ""
        known = owner_of(path)
        assert known is not None
        assert known.pid == pid
        asyncio.run(SqliteStore(path).close())


async def test_one_process_opens_a_store_once(path: Path) -> None:
    store = SqliteStore(path)
    with pytest.raises(StoreLocked):
        SqliteStore(path)
    await store.close()
    await SqliteStore(path).close()


async def test_a_store_that_could_not_be_opened_is_not_locked(path: Path) -> None:
    foreign = apsw.Connection(str(path))
    foreign.execute("CREATE TABLE theirs (a)")
    foreign.close()
    for _ in range(2):
        with pytest.raises(StoreIncompatible):
            SqliteStore(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="file"):
        SqliteStore(tmp_path / "file" / "perdure.db")


async def test_a_closed_store_says_so(path: Path) -> None:
    store = SqliteStore(path)
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.executions.get(WORKSPACE, b"\x00" * 16)


ENDLESS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


def asking(sql: str, begun: threading.Event | None = None) -> Procedure[int]:
    if begun is not None:
        begun.set()
    ((answer,),) = yield Query(sql, {}, (Column("answer", "bigint"),))
    return int(answer)


async def test_a_read_that_takes_too_long_ends_and_leaves_its_place_to_others(path: Path) -> None:
    readers = Readers(path, library("sqlite"), threads=1, patience_s=0.05)
    for consistent in (False, True):
        with pytest.raises(StoreBusy, match="took too long") as caught:
            await readers.read(asking(ENDLESS), consistent=consistent)
        assert (caught.value.status, caught.value.retry_after_s) == (503, 1)
        assert await readers.read(asking("SELECT 1"), consistent=consistent) == 1
    readers.close()


async def test_a_read_that_nobody_waits_for_any_more_leaves_its_place(path: Path) -> None:
    readers = Readers(path, library("sqlite"), threads=1)
    begun = threading.Event()
    read = asyncio.ensure_future(readers.read(asking(ENDLESS, begun)))
    assert await asyncio.to_thread(begun.wait, 10)
    read.cancel()
    async with asyncio.timeout(PATIENCE_S / 2):
        assert await readers.read(asking("SELECT 1")) == 1
    readers.close()
