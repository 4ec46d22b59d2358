"""The server itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from perdure.client.streams import OnReconnect, OnReset, event_messages
from perdure.client.transport import Transport
from perdure.wire.events import Event
from perdure.wire.system import Health, SystemInfo, Worker, WorkerList


class AsyncSystem:
    """`client.system`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def info(self) -> SystemInfo:
        """Version, store, engine, flow folders."""
        return await self._transport.call("GET", "//system/info", SystemInfo)

    async def ready(self) -> Health:
        """Whether it takes work. Raises ServerBusy when it does not."""
        return await self._transport.call("GET", "//health/ready", Health)

    async def workers(self) -> list[Worker]:
        """The processes that run executions."""
        return (await self._transport.call("GET", "/workers", WorkerList)).data

    async def openapi(self) -> dict[str, Any]:
        """The OpenAPI 3.1 document of the server."""
        return await self._transport.call("GET", "//openapi.json", dict[str, Any])

    async def events(
        self,
        *,
        cursor: str | None = None,
        on_reconnect: OnReconnect | None = None,
        on_reset: OnReset | None = None,
    ) -> AsyncIterator[Event]:
        """Events of all executions of the workspace from now on, or behind a cursor. Never ends by itself.

        Events are kept for a time: `on_reset` is told when some behind the cursor were no longer there, before
        the first that follows the gap.
        """
        stream = event_messages(
            self._transport,
            "/events",
            Event,
            params={},
            cursor=cursor,
            on_reconnect=on_reconnect,
            on_reset=on_reset,
        )
        async for _, event in stream:
            yield event
