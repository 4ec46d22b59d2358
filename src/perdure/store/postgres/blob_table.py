"""Contents of blobs in chunks, for `perdure.artifacts.shared`."""

from __future__ import annotations

import asyncio
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
_SETTINGS = WRITING | {"lock_timeout": "10000", "enable_bitmapscan": "on"}


class PostgresBlobTable:
    """On connections of its own, so that large files hold up neither the writer nor readers; used from one loop."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._calls = Calls(address, _SETTINGS, "content", "content_chunk", "content_chunk_put", "content_put")
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
