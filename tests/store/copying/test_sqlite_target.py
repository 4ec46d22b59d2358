"""A SQLite file as the target of a copy: what is at its place already."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.artifacts.local import LocalStorage
from perdure.errors import StoreMoved, StoreNotEmpty
from perdure.store.copying.sqlite_target import SqliteTarget
from perdure.store.sqlite.lock import OwnerLock
from perdure.store.sqlite.moved import retire
from tests.store.portal import call


@pytest.mark.parametrize("suffix", ["", "-wal", "-journal"])
def test_nothing_is_made_beside_what_a_former_store_left(tmp_path: Path, suffix: str) -> None:
    """SQLite would take the pages of a log that a crash left behind into the new file."""
    path = tmp_path / "perdure.db"
    left = tmp_path / f"perdure.db{suffix}"
    left.write_bytes(b"pages")
    with pytest.raises(StoreNotEmpty, match="is there"):
        call(SqliteTarget.open, path, LocalStorage(tmp_path / "artifacts"))
    assert (left.read_bytes(), path.exists()) == (b"pages", suffix == "")
    OwnerLock(path).release()


def test_a_place_that_was_retired_is_refused_before_anything_is_copied(tmp_path: Path) -> None:
    path = tmp_path / "perdure.db"
    retire(path, to="another place")
    with pytest.raises(StoreMoved, match="another place"):
        call(SqliteTarget.open, path, LocalStorage(tmp_path / "artifacts"))
