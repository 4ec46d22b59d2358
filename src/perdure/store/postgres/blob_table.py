"""Contents of blobs in chunks, for `perdure.artifacts.shared`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from perdure.errors import StoreBusy
from perdure.store.postgres.calls import Calls
from perdure.store.postgres.connection import WRITING, Connection, connect
from perdure.store.postgres.failures import translated
from perdure.store.postgres.url import Address

_CONNECTIONS = 2
_PATIENCE_S = 30.0
"""For one chunk."""
_TURN_PATIENCE_S = 60.0
_SECOND = 1_000_000
_CHUNKS_AT_ONCE = 200
"""That are removed in one transaction."""
_NAMES = (
    "content", "content_chunk", "content_chunk_put", "content_put", "content_hold", "contents_among", "contents_old",
    "contents_remove", "content_chunks_remove",
)  # fmt: skip
_SETTINGS = WRITING | {"lock_timeout": "10000", "enable_bitmapscan": "on"}


class PostgresBlobTable:
    """On connections of its own, so that large files hold up neither the writer nor readers; used from one loop."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._calls = Calls(address, _SETTINGS, *_NAMES)
        self._turns = asyncio.Semaphore(_CONNECTIONS)
        self._free: list[Connection] = []

    async def find(self, sha256: bytes) -> tuple[int, int] | None:
        """(bytes, chunks) of a whole content."""
        rows = await self._call("content", sha256=sha256)
        return (rows[0][0], rows[0][1]) if rows else None

    async def read(self, sha256: bytes, n: int) -> bytes | None:
        rows = await self._call("content_chunk", sha256=sha256, n=n)
        return rows[0][0] if rows else None

    async def write(self, sha256: bytes, n: int, data: bytes) -> None:
        """Lasting once `finish` was called: its commit brings all before it to the disk."""
        await self._call("content_chunk_put", synchronous_commit="off", sha256=sha256, n=n, data=data)

    async def finish(self, sha256: bytes, *, size_bytes: int, chunks: int) -> None:
        """All chunks are written: the content is whole, for good."""
        await self._call("content_put", synchronous_commit="on", sha256=sha256, size_bytes=size_bytes, chunks=chunks)

    async def hold(self, sha256: bytes) -> bool:
        """Whether it is there, whole; then it counts as put now."""
        return bool(await self._call("content_hold", sha256=sha256))

    async def among(self, sha256s: Sequence[bytes]) -> set[bytes]:
        return {found for (found,) in await self._call("contents_among", sha256s=list(sha256s))}

    async def old(self, after: bytes, *, age_s: float) -> list[bytes]:
        """Some contents behind a hash, in order, that were not put for so long; those begun and never finished, too."""
        rows = await self._call("contents_old", after=after, age=int(age_s * _SECOND))
        return [sha256 for (sha256,) in rows]

    async def remove(self, sha256s: Sequence[bytes], *, age_s: float) -> int:
        """A content first, then its chunks; those that are left where that was cut off are found as begun contents."""
        age = int(age_s * _SECOND)
        # Its commit need not wait for the disk: what comes back after a crash is removed again.
        rows = await self._call("contents_remove", synchronous_commit="off", sha256s=list(sha256s), age=age)
        removed = {sha256 for (sha256,) in rows}
        for sha256 in sha256s:
            while chunks := await self._call(
                "content_chunks_remove", synchronous_commit="off", sha256=sha256, age=age, limit=_CHUNKS_AT_ONCE
            ):
                removed.add(sha256)
                if len(chunks) < _CHUNKS_AT_ONCE:
                    break
        return len(removed)

    def close(self) -> None:
        while self._free:
            self._free.pop().terminate()

    async def _call(self, name: str, **params: Any) -> list[Any]:
        try:
            async with asyncio.timeout(_TURN_PATIENCE_S):
                await self._turns.acquire()
        except TimeoutError:
            raise StoreBusy(f"contents of artifacts wait too long for {self._address.place}") from None
        connection: Connection | None = None
        try:
            async with asyncio.timeout(_PATIENCE_S):
                connection = self._free.pop() if self._free else None
                if connection is None or connection.is_closed():
                    connection = await connect(self._address, _SETTINGS, name="perdure contents")
                rows = await self._calls.fetch(connection, name, **params)
            self._free.append(connection)
            return rows
        except BaseException as error:
            if connection is not None:
                connection.terminate()
            raise translated(error, self._address.place) or error from error
        finally:
            self._turns.release()
