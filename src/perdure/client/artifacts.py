"""Artifacts: files that nodes published."""

from __future__ import annotations

from collections.abc import AsyncIterator

from perdure.client.transport import Transport, segment


class AsyncArtifacts:
    """`client.artifacts`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def read(self, id: str) -> bytes:
        """All bytes of an artifact. Raises NotFound."""
        return (await self._transport.request("GET", f"/artifacts/{segment(id)}")).content

    async def chunks(self, id: str) -> AsyncIterator[bytes]:
        """Its bytes as they come, for large ones. Raises NotFound."""
        async with self._transport.stream("GET", f"/artifacts/{segment(id)}") as response:
            async for chunk in response.aiter_bytes():
                yield chunk
