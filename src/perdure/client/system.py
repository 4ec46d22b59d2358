"""The server itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from perdure.client.live import OnLiveReset, live_events
from perdure.client.streams import OnReconnect, OnReset, event_messages
from perdure.client.transport import Transport
from perdure.wire.events import Event
from perdure.wire.live import Subscribe
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
        flow: str | None = None,
        namespace: str | None = None,
        execution: str | None = None,
        types: Sequence[str] = (),
        on_reconnect: OnReconnect | None = None,
        on_reset: OnReset | None = None,
    ) -> AsyncIterator[Event]:
        """Events of all executions of the workspace from now on, or behind a cursor. Never ends by itself.

        Only those that fit everything given: a flow, a namespace, an execution's id, one of the types.

        Events are kept for a time: `on_reset` is told when some behind the cursor were no longer there, before
        the first that follows the gap.
        """
        stream = event_messages(
            self._transport,
            "/events",
            Event,
            params={"flow": flow, "namespace": namespace, "execution": execution, "types": ",".join(types) or None},
            cursor=cursor,
            on_reconnect=on_reconnect,
            on_reset=on_reset,
        )
        async for _, event in stream:
            yield event

    async def live(
        self,
        subscriptions: Sequence[Subscribe],
        *,
        on_reconnect: OnReconnect | None = None,
        on_reset: OnLiveReset | None = None,
    ) -> AsyncIterator[tuple[str, Event]]:
        """(subscription's id, event) of several subscriptions over one connection, each without gap or double.

        Ends when all have ended: one of an execution does with it, one of a flow, of types or of all never does.
        A broken connection is taken up again; `on_reset` is told where a subscription's cursor was of no use.
        """
        stream = live_events(self._transport, subscriptions, on_reconnect=on_reconnect, on_reset=on_reset)
        async for item in stream:
            yield item
