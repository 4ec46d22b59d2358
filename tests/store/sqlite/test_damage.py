"""A damaged file is refused by name or is whole; a torn log opens at a commit."""

import asyncio
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from perdure.errors import StoreDamaged, StoreError
from perdure.model.states import ExecutionStatus
from perdure.store.interface import ExecutionFilter, Page
from perdure.store.sqlite.connection import integrity_problems
from perdure.store.sqlite.store import SqliteStore
from tests.store.world import WORKSPACE, World, value


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A database whose log holds twenty commits, as a crash leaves it."""
    path = tmp_path / "live" / "perdure.db"
    store = SqliteStore(path)
    world = World(store)
    for _ in range(10):
        started = world.started(input=value('"' + "x" * 500 + '"'))
        world.end(started)
    copy = tmp_path / "perdure.db"
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    asyncio.run(store.close())
    return copy


def copies(written: Path, count: int) -> Iterator[Path]:
    for n in range(count):
        path = written.parent / f"copy-{n}" / "perdure.db"
        path.parent.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(f"{written}{suffix}", f"{path}{suffix}")
        yield path


def contents(path: Path) -> list[ExecutionStatus]:
    return asyncio.run(checked_contents(path))


async def checked_contents(path: Path) -> list[ExecutionStatus]:
    """What stands in a store that opens, checked for being the result of whole commits."""
    store = SqliteStore(path)
    world = World(store)
    try:
        records = await store.executions.list(WORKSPACE, ExecutionFilter(), Page(newest_first=False, limit=1000))
        for record in records:
            await world.events(record.id)
        end = (await store.events.feed_end()).get(1, 0)
        done = sum(record.status is ExecutionStatus.COMPLETED for record in records)
        assert end == len(records) + done
        world.started()
        return [record.status for record in records]
    finally:
        await store.close()


def test_a_torn_log_opens_at_a_commit(written: Path) -> None:
    log = Path(f"{written}-wal").read_bytes()
    cuts = sorted({0, 1, 31, 32, 33, len(log), *random.Random(3).sample(range(len(log)), 40)})
    seen = []
    for path, cut in zip(copies(written, len(cuts)), cuts, strict=True):
        wal = Path(f"{path}-wal")
        wal.write_bytes(log[:cut])
        seen.append(contents(path))
        assert integrity_problems(path) == []
    assert [len(found) for found in seen] == sorted(len(found) for found in seen)
    assert seen[-1] == [ExecutionStatus.COMPLETED] * 10
    assert len({len(found) for found in seen}) > 5


def test_a_flipped_bit_in_the_log_ends_it_there(written: Path) -> None:
    log = Path(f"{written}-wal").read_bytes()
    dice = random.Random(5)
    for path in copies(written, 25):
        torn = bytearray(log)
        torn[dice.randrange(len(torn))] ^= 1 << dice.randrange(8)
        Path(f"{path}-wal").write_bytes(torn)
        contents(path)


def test_a_flipped_bit_is_refused_by_name_wherever_it_is(written: Path) -> None:
    whole = apsw.Connection(str(written))
    whole.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    good = written.read_bytes()
    dice = random.Random(11)
    for path in copies(written, 60):
        torn = bytearray(good)
        torn[dice.randrange(len(torn))] ^= 1 << dice.randrange(8)
        path.write_bytes(torn)
        with pytest.raises(StoreError) as caught:
            contents(path)
        assert str(path) in caught.value.message
        assert integrity_problems(path) != []
    whole.close()


def test_damage_that_comes_later_is_named_by_whoever_reads_it(tmp_path: Path) -> None:
    asyncio.run(damaged_while_open(tmp_path / "perdure.db"))


async def damaged_while_open(path: Path) -> None:
    store = SqliteStore(path)
    world = World(store)
    started = [world.started(input=value('"' + "x" * 3000 + '"')) for _ in range(50)]
    with flipped_pages(path):
        with pytest.raises(StoreDamaged, match="checksum"):
            await store.executions.payloads(WORKSPACE, [one.id for one in started])
        # And in a transaction, which the damage ends. All have come to their end before the file is changed again.
        whole = (store.executions.whole(WORKSPACE, one.id) for one in started)
        found = [one for one in await asyncio.gather(*whole, return_exceptions=True) if isinstance(one, BaseException)]
        assert found
        assert all(isinstance(one, StoreDamaged) for one in found), found
    assert len(await store.executions.payloads(WORKSPACE, [one.id for one in started])) == 50
    await store.close()


@contextmanager
def flipped_pages(path: Path) -> Iterator[None]:
    """A bit of every page but the first is flipped, for a while."""
    beside = apsw.Connection(str(path))
    beside.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    beside.close()
    sound = path.read_bytes()
    torn = bytearray(sound)
    for page in range(4096, len(torn), 4096):
        torn[page + 4000] ^= 1
    path.write_bytes(torn)
    yield
    path.write_bytes(sound)


def test_what_is_no_database_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "perdure.db"
    path.write_text("this is a text, and a rather long one at that")
    with pytest.raises(StoreDamaged, match="restore the newest backup") as caught:
        SqliteStore(path)
    assert str(path) in caught.value.message
    assert integrity_problems(path) != []


async def test_an_empty_file_is_a_new_store(tmp_path: Path) -> None:
    path = tmp_path / "perdure.db"
    path.touch()
    store = SqliteStore(path)
    World(store).start()
    await store.close()
    assert integrity_problems(path) == []
