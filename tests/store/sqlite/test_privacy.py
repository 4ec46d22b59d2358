"""What executions hold is nobody else's business on this machine."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.store.sqlite.store import SqliteStore
from tests.store.world import World

SUFFIXES = ("", "-wal", "-shm")


@pytest.fixture
def umask_022() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(database: Path) -> dict[str, int]:
    """The modes of the database's files that are there."""
    files = {suffix: database.with_name(database.name + suffix) for suffix in SUFFIXES}
    return {suffix: mode(file) for suffix, file in files.items() if file.exists()}


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.usefixtures("umask_022")
async def test_a_new_store_is_its_owners_alone(tmp_path: Path) -> None:
    database = tmp_path / "home" / "perdure.db"
    store = SqliteStore(database)
    World(store).start()
    assert modes(database) == dict.fromkeys(SUFFIXES, 0o600)
    assert mode(database.parent) == 0o700
    await store.close()


@pytest.mark.usefixtures("umask_022")
async def test_an_older_store_is_closed_to_others_and_its_folder_is_left_alone(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)
    database = tmp_path / "perdure.db"
    await SqliteStore(database).close()
    database.chmod(0o664)
    store = SqliteStore(database)
    World(store).start()
    assert modes(database) == dict.fromkeys(SUFFIXES, 0o660)
    assert mode(tmp_path) == 0o755
    await store.close()
