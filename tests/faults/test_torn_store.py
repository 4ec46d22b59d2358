"""Fault 16: a torn write-ahead log opens at a commit; flipped bytes do so too, or are refused by name."""

import asyncio
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from perdure.errors import StoreDamaged, StoreError
from perdure.store.sqlite.store import SqliteStore
from tests.faults.harness.checker import Evidence, check
from tests.faults.harness.load import Load
from tests.faults.harness.scene import Scene
from tests.faults.harness.server import ServerDied
from tests.faults.harness.store import database, open_beside, read_facts
from tests.faults.harness.wal import HEADER, Wal, read_wal


class Remains(NamedTuple):
    """A store as a crash left it: the database and its log."""

    database: bytes
    log: bytes
    wal: Wal


@pytest.fixture(scope="module")
def remains(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remains]:
    scene = Scene(tmp_path_factory.mktemp("torn"))
    try:
        scene.server.start()
        load = Load(lambda: scene.server.url, scene.acknowledgements, seed=16, threads=2, ledger=scene.ledger)
        load.wait_for(60)
        load.stop()
        scene.server.kill()
        path = database(scene.home)
        log = path.with_name(path.name + "-wal").read_bytes()
        wal = read_wal(log)
        assert len(wal.commits) > 50
        yield Remains(path.read_bytes(), log, wal)
    finally:
        scene.close()


def open_and_close(path: Path) -> None:
    """Open as a server would. Raises `StoreError`."""

    async def work() -> None:
        await SqliteStore(path).close()

    asyncio.run(work())


def content(path: Path) -> str:
    """A digest of every row of every table, but for the store's own number, drawn wherever a store is made anew."""
    digest = hashlib.sha256()
    with closing(open_beside(path)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        for table in sorted(tables):
            digest.update(table.encode())
            for row in sorted(map(repr, connection.execute(f'SELECT * FROM "{table}"'))):
                if not row.startswith("('store_id', "):
                    digest.update(row.encode())
    return digest.hexdigest()


class Bench:
    """Opens variants of one store, each from a fresh copy."""

    def __init__(self, folder: Path, remains: Remains) -> None:
        self._folder = folder
        self._remains = remains
        self._prefixes: dict[int, str] = {}
        self._count = 0

    def opened(self, *, log: bytes, data: bytes | None = None) -> Path:
        """The database's path, after it was opened and closed. Raises `StoreError`."""
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        path = folder / "perdure.db"
        path.write_bytes(self._remains.database if data is None else data)
        path.with_name("perdure.db-wal").write_bytes(log)
        open_and_close(path)
        return path

    def tried(self, data: bytes) -> Path | StoreError:
        """The database's path, or why it was refused; nothing else may come out of opening."""
        try:
            return self.opened(log=b"", data=data)
        except StoreError as error:
            return error

    def prefix(self, end: int) -> str:
        """The content with the log up to that commit."""
        if end not in self._prefixes:
            path = self.opened(log=self._remains.log[:end])
            self._prefixes[end] = content(path)
            shutil.rmtree(path.parent)
        return self._prefixes[end]


@pytest.fixture
def bench(tmp_path: Path, remains: Remains) -> Bench:
    return Bench(tmp_path, remains)


def test_a_log_cut_anywhere_opens_at_the_commit_before_the_cut(bench: Bench, remains: Remains) -> None:
    random = Random(16)
    wal = remains.wal
    cuts = {0, 1, HEADER - 1, HEADER, wal.size}
    for frame in random.sample(wal.frames, 40):
        cuts |= {frame, frame + random.randrange(1, wal.frame_size)}
    for end in random.sample(wal.commits, 15):
        cuts |= {end - 1, end, end + 1}
    for cut in sorted(cuts):
        path = bench.opened(log=remains.log[:cut])
        assert content(path) == bench.prefix(wal.committed_before(cut)), f"cut at {cut}"
        shutil.rmtree(path.parent)


def test_every_commit_is_a_consistent_whole(bench: Bench, remains: Remains) -> None:
    """Events, states, counters, queue and slots change together: no commit shows one without the others."""
    for end in remains.wal.commits[:: max(len(remains.wal.commits) // 60, 1)]:
        path = bench.opened(log=remains.log[:end])
        findings = [one for one in check(Evidence(facts=read_facts(path))) if not one.endswith("not terminal")]
        assert not findings, f"at {end}: {findings}"
        shutil.rmtree(path.parent)


def test_a_flipped_byte_in_the_log_takes_what_comes_after_it_only(bench: Bench, remains: Remains) -> None:
    random = Random(61)
    wal = remains.wal
    for _ in range(40):
        place = random.randrange(HEADER, wal.frames[-1] + wal.frame_size)
        log = bytearray(remains.log)
        log[place] ^= 1 << random.randrange(8)
        path = bench.opened(log=bytes(log))
        assert content(path) == bench.prefix(wal.committed_before(place)), f"flipped at {place}"
        shutil.rmtree(path.parent)


def test_flipped_bytes_in_the_database_are_refused_by_name_or_harm_nothing(bench: Bench, remains: Remains) -> None:
    whole = bench.opened(log=remains.log)
    sound, good = whole.read_bytes(), content(whole)
    page_size = int.from_bytes(sound[16:18]) or 65536
    random = Random(116)
    # The head of every page (its type, its cells), the file's own header, and anything.
    places = [page + random.randrange(12) for page in range(page_size, len(sound), page_size)]
    places += [*range(0, 100, 3), 100, 101, 103, 105] + [random.randrange(len(sound)) for _ in range(60)]
    refused = 0
    for place in random.sample(places, min(len(places), 160)):
        data = bytearray(sound)
        data[place] ^= 0xFF
        outcome = bench.tried(bytes(data))
        if isinstance(outcome, StoreError):
            assert "perdure.db" in outcome.message, f"at {place}"
            assert "restore" in outcome.message or not isinstance(outcome, StoreDamaged), f"at {place}"
            refused += 1
        else:
            facts = read_facts(outcome)
            assert facts.integrity == ["ok"], f"at {place}: opened, though {facts.integrity}"
            shutil.rmtree(outcome.parent)
    assert refused > 30
    assert good == content(whole)


def test_a_server_refuses_a_damaged_file_and_says_what_to_do(scene: Scene) -> None:
    scene.api.start("faults/chain", wait_s=20)
    assert scene.server.stop() == 0
    path = database(scene.home)
    sound = path.read_bytes()
    data = bytearray(sound)
    for page in range(4096, len(data), 4096):
        data[page : page + 8] = b"\xff" * 8
    path.write_bytes(data)
    with pytest.raises(ServerDied) as died:
        scene.server.start()
    told = died.value.log.splitlines()[-30:]
    assert died.value.status != 0
    assert any(str(path) in line and "restore" in line for line in told), told
    assert "Traceback" not in "\n".join(told)
    path.write_bytes(sound)
    scene.server.start()
    scene.verdict()
