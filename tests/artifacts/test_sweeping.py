"""Removing contents from a folder: only what nobody has put for long, never what somebody puts just now."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from pathlib import Path

import pytest

from perdure.artifacts.local import LocalStorage
from perdure.errors import StoreBusy

DAY_S = 24 * 3600
ROUNDS = 100


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "artifacts")


def put(storage: LocalStorage, data: bytes, *, is_old: bool = True) -> bytes:
    sha256 = storage.store_bytes(data).sha256
    if is_old:
        os.utime(storage.path_of(sha256), (1, 1))
    return sha256


async def found(storage: LocalStorage) -> list[bytes]:
    seen: list[bytes] = []
    while page := await storage.old(seen[-1] if seen else b"", age_s=DAY_S):
        seen += page
    return seen


async def test_old_contents_are_found_in_order_whole_folders_at_a_time(storage: LocalStorage) -> None:
    assert await found(storage) == []
    old = [hashlib.sha256(b"%d" % n).digest() for n in range(700)]
    for sha256 in old:
        path = storage.path_of(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (1, 1))
    put(storage, b"fresh", is_old=False)
    assert await found(storage) == sorted(old)
    assert 500 <= len(await storage.old(b"", age_s=DAY_S)) < 700


async def test_only_what_is_old_is_removed_and_a_put_makes_it_young(storage: LocalStorage) -> None:
    old, again = put(storage, b"old"), put(storage, b"again")
    fresh = put(storage, b"fresh", is_old=False)
    put(storage, b"again", is_old=False)
    assert await storage.remove([old, again, fresh, bytes(32)], age_s=DAY_S) == 1
    assert [await storage.exists(one) for one in (old, again, fresh)] == [False, True, True]


async def test_nothing_is_removed_while_a_backup_holds_the_folder(storage: LocalStorage) -> None:
    old = put(storage, b"old")
    with storage.held(), LocalStorage(storage.root).held():
        with pytest.raises(StoreBusy, match="backup"):
            await storage.remove([old], age_s=DAY_S)
        put(storage, b"others go on", is_old=False)
    assert await storage.remove([old], age_s=DAY_S) == 1


async def test_a_folder_that_is_not_there_has_nothing_to_hold_or_to_mark(tmp_path: Path) -> None:
    nowhere = LocalStorage(tmp_path / "nowhere")
    with nowhere.held():
        assert (await nowhere.claim(7), await found(nowhere)) == ([], [])
    assert not nowhere.root.exists()


async def test_a_folder_that_another_store_uses_is_known_as_such(storage: LocalStorage) -> None:
    put(storage, b"content")
    assert await storage.claim(7) == await storage.claim(7) == []
    assert await storage.claim(8) == ["store-0000000000000007"]
    assert await storage.claim(7) == ["store-0000000000000008"]
    (storage.root / "store-0000000000000008").unlink()
    assert await storage.claim(7) == []


async def test_what_is_put_while_it_is_removed_is_there(storage: LocalStorage) -> None:
    """The put and the removal of the same old content, at the same time: whoever has put it has it."""
    for number in range(ROUNDS):
        data = b"%d" % (number % 7)
        sha256 = put(storage, data)
        ready = threading.Barrier(2)

        def putting(ready: threading.Barrier = ready, data: bytes = data) -> None:
            ready.wait()
            storage.store_bytes(data)

        def removing(ready: threading.Barrier = ready, sha256: bytes = sha256) -> None:
            ready.wait()
            asyncio.run(LocalStorage(storage.root).remove([sha256], age_s=DAY_S))

        await asyncio.gather(asyncio.to_thread(putting), asyncio.to_thread(removing))
        assert await storage.read(sha256) == data
