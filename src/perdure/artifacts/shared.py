"""Artifact storage for processes that share a store but no folder: contents in a table, a folder here as their cache.

A content is in the table, whole and for good, before anything that refers to it is recorded. Processes of nodes
write to the folder alone; `keep` brings into the table what they left there.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from perdure.artifacts.interface import Stored
from perdure.artifacts.local import LocalStorage
from perdure.errors import ArtifactNotFound, StoreDamaged, StoreError

CHUNK_BYTES = 256 * 1024
CACHED_WHOLE_BYTES = 64 * 1024 * 1024
"""What is read whole and is not larger stays in the folder here."""
CACHE_BYTES = 1024 * 1024 * 1024
"""Of contents in the folder here, which are all in the table too."""
_LEFT_HERE_S = 24 * 3600
"""Age at which a file that is not in the table is surely nobody's: it was removed there, or never recorded."""
_ASKED_AT_ONCE = 500


class BlobTable(Protocol):
    """Contents in chunks of `CHUNK_BYTES`, numbered from 0. All methods raise `StoreError`."""

    async def find(self, sha256: bytes) -> tuple[int, int] | None:
        """(bytes, chunks) of a whole content."""
        ...

    async def read(self, sha256: bytes, n: int) -> bytes | None: ...

    async def write(self, sha256: bytes, n: int, data: bytes) -> None:
        """One that is there already stays, and counts as written now."""
        ...

    async def finish(self, sha256: bytes, *, size_bytes: int, chunks: int) -> None:
        """All chunks are written: from now on the content is there, until it is removed."""
        ...

    async def hold(self, sha256: bytes) -> bool:
        """Whether it is there, whole; then it counts as put now."""
        ...

    async def among(self, sha256s: Sequence[bytes]) -> set[bytes]:
        """Those of them that are there."""
        ...

    async def old(self, after: bytes, *, age_s: float) -> list[bytes]:
        """Some contents behind a hash, in order, that were not put for so long; those begun and never finished, too."""
        ...

    async def remove(self, sha256s: Sequence[bytes], *, age_s: float) -> int: ...


class SharedStorage:
    """`perdure.artifacts.interface.ArtifactStorage`."""

    is_shared = True

    def __init__(self, local: LocalStorage, table: BlobTable, *, cache_bytes: int = CACHE_BYTES) -> None:
        """`cache_bytes`: what `tidy` leaves in the folder at most."""
        self._local = local
        self._table = table
        self._cache_bytes = cache_bytes

    async def put_bytes(self, data: bytes) -> Stored:
        stored = Stored(sha256=hashlib.sha256(data).digest(), size_bytes=len(data))
        if not await self._table.hold(stored.sha256):
            count = 0
            for start in range(0, len(data), CHUNK_BYTES):
                await self._table.write(stored.sha256, count, data[start : start + CHUNK_BYTES])
                count += 1
            await self._table.finish(stored.sha256, size_bytes=len(data), chunks=count)
        return stored

    async def put_file(self, path: str | os.PathLike[str]) -> Stored:
        stored = await self._local.put_file(path)
        await self.keep(stored.sha256)
        return stored

    async def keep(self, sha256: bytes) -> None:
        """Bring what lies in the folder here into the table. Raises `ArtifactNotFound` when it does not."""
        if await self._table.hold(sha256):
            return
        size = await self._local.size(sha256)
        count = 0
        rest = b""
        async for piece in self._local.open(sha256):
            rest += piece
            while len(rest) >= CHUNK_BYTES:
                await self._table.write(sha256, count, rest[:CHUNK_BYTES])
                count, rest = count + 1, rest[CHUNK_BYTES:]
        if rest:
            await self._table.write(sha256, count, rest)
            count += 1
        await self._table.finish(sha256, size_bytes=size, chunks=count)

    async def tidy(self) -> int:
        """Half-written files, and of cached contents the oldest while they are too many.

        What is not in the table stays for a day: a node has just left it here.
        """
        removed = await self._local.tidy()
        contents = await asyncio.to_thread(self._local.contents)
        left = sum(size for _, size, _ in contents)
        fresh_since = time.time() - _LEFT_HERE_S
        for first in range(0, len(contents), _ASKED_AT_ONCE):
            some = contents[first : first + _ASKED_AT_ONCE]
            if left <= self._cache_bytes and some[0][0] >= fresh_since:
                break
            there = await self._table.among([sha256 for _, _, sha256 in some])
            for put_at, size, sha256 in some:
                if (left > self._cache_bytes) if sha256 in there else (put_at < fresh_since):
                    await asyncio.to_thread(self._local.forget, sha256)
                    left, removed = left - size, removed + 1
        return removed

    async def claim(self, store: int, *, in_advance: bool = False) -> list[str]:
        """The table is the store's own."""
        return []

    async def old(self, after: bytes, *, age_s: float) -> list[bytes]:
        return await self._table.old(after, age_s=age_s)

    async def remove(self, sha256s: Sequence[bytes], *, age_s: float) -> int:
        return await self._table.remove(sha256s, age_s=age_s)

    async def exists(self, sha256: bytes) -> bool:
        return await self._table.find(sha256) is not None

    async def size(self, sha256: bytes) -> int:
        return (await self._found(sha256))[0]

    async def read(self, sha256: bytes) -> bytes:
        with contextlib.suppress(ArtifactNotFound):
            return await self._local.read(sha256)
        data = b"".join([piece async for piece in self._from_table(sha256, 0, None)])
        if len(data) <= CACHED_WHOLE_BYTES:
            # A full disk here is no reason to fail: the table has it.
            with contextlib.suppress(StoreError):
                await self._local.put_bytes(data)
        return data

    async def open(self, sha256: bytes, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        # Once it is open it can be read to its end, whoever removes it meanwhile.
        with contextlib.suppress(ArtifactNotFound):
            async for piece in self._local.open(sha256, start=start, end=end):
                yield piece
            return
        async for piece in self._from_table(sha256, start, end):
            yield piece

    async def _from_table(self, sha256: bytes, start: int, end: int | None) -> AsyncIterator[bytes]:
        size, chunks = await self._found(sha256)
        end = size if end is None else min(end, size)
        digest = hashlib.sha256() if (start, end) == (0, size) else None
        for n in range(start // CHUNK_BYTES, chunks):
            first = n * CHUNK_BYTES
            if first >= end:
                break
            data = await self._table.read(sha256, n)
            if data is None:
                await self._found(sha256)
                raise StoreDamaged(f"chunk {n} of the content with sha-256 {sha256.hex()} is missing in the database")
            if digest is not None:
                await asyncio.to_thread(digest.update, data)
            yield data[max(start - first, 0) : end - first]
        if digest is not None and digest.digest() != sha256:
            raise StoreDamaged(f"the content with sha-256 {sha256.hex()} was changed in the database")

    async def _found(self, sha256: bytes) -> tuple[int, int]:
        found = await self._table.find(sha256)
        if found is None:
            raise ArtifactNotFound(f"there is no content with sha-256 {sha256.hex()}")
        return found
