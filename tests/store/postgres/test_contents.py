"""Contents in the table are removed when they are old, and never while somebody puts them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from perdure.artifacts.local import LocalStorage
from perdure.artifacts.shared import CHUNK_BYTES, SharedStorage
from perdure.errors import ArtifactNotFound
from perdure.store.postgres.blob_table import PostgresBlobTable
from perdure.store.postgres.connection import MIGRATING, connect
from perdure.store.postgres.url import Address
from tests.store.databases import fresh_url, opened

_DAY_S = 24 * 3600


@asynccontextmanager
async def _storages(folder: Path) -> AsyncIterator[tuple[Address, PostgresBlobTable, list[SharedStorage]]]:
    """Two machines, each with a folder of its own."""
    async with opened(fresh_url()) as store:
        table = PostgresBlobTable(store.address)
        try:
            yield store.address, table, [SharedStorage(LocalStorage(folder / str(n)), table) for n in range(2)]
        finally:
            table.close()


async def _age(address: Address, which: str, sha256: bytes) -> None:
    for name in ("blob_contents", "blob_chunks"):
        await _run(address, f"UPDATE {name} SET put_at = put_at - 172800000000 WHERE {which}", sha256)


async def _run(address: Address, sql: str, *params: object) -> None:
    connection = await connect(address, MIGRATING, name="perdure test")
    try:
        await connection.fetch(sql, *params)
    finally:
        connection.terminate()


async def test_what_was_removed_from_the_table_or_never_recorded_leaves_the_cache_after_a_day(tmp_path: Path) -> None:
    async with _storages(tmp_path) as (_, _, (here, _)):
        local = LocalStorage(tmp_path / "0")
        kept = await here.put_bytes(b"kept")
        assert await here.read(kept.sha256) == b"kept"
        left = local.store_bytes(b"left by a node")
        assert await here.tidy() == 0
        for one in (kept, left):
            os.utime(local.path_of(one.sha256), (1, 1))
        assert await here.tidy() == 1
        assert [sha256 for _, _, sha256 in local.contents()] == [kept.sha256]


async def test_only_old_contents_are_removed_from_the_table(tmp_path: Path) -> None:
    async with _storages(tmp_path) as (address, table, (here, there)):
        stored = [await here.put_bytes(bytes([n]) * (2 * CHUNK_BYTES + n)) for n in range(4)]
        old, again, fresh, used = (one.sha256 for one in stored)
        begun = hashlib.sha256(b"never finished").digest()
        await table.write(begun, 0, b"never")
        await _age(address, "sha256 <> $1", fresh)
        assert await here.old(b"", age_s=_DAY_S) == sorted([old, again, used, begun])
        assert await here.old(sorted([old, again, used, begun])[2], age_s=_DAY_S) == [max(old, again, used, begun)]
        await there.put_bytes(b"\x01" * (2 * CHUNK_BYTES + 1))
        assert await here.remove([old, again, fresh, begun], age_s=_DAY_S) == 2
        assert [await here.exists(sha256) for sha256 in (old, again, fresh, used)] == [False, True, True, True]
        assert await here.old(b"", age_s=0) == sorted([again, fresh, used])
        assert (await table.read(old, 0), await table.read(begun, 0)) == (None, None)
        with pytest.raises(ArtifactNotFound):
            await there.read(old)


async def test_what_is_put_while_it_is_removed_is_in_the_table(tmp_path: Path) -> None:
    """Whole, begun before and not finished, or cut off in its removal: whoever has put it has it."""
    async with _storages(tmp_path) as (address, _, (here, there)):
        for number in range(24):
            data = bytes([number % 3]) * (CHUNK_BYTES + 5)
            sha256 = (await here.put_bytes(data)).sha256
            if number % 4 == 3:
                await _run(address, "DELETE FROM blob_contents")
            await _age(address, "sha256 = $1", sha256)
            await asyncio.gather(there.put_bytes(data), here.remove([sha256], age_s=_DAY_S))
            assert await there.read(sha256) == data
            shutil.rmtree(tmp_path / "1", ignore_errors=True)
            assert await there.remove([sha256], age_s=_DAY_S) == 0
