"""Flows: list, look at, put, delete, validate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from perdure.client.paging import all_pages
from perdure.client.transport import Transport, segment
from perdure.wire.flows import (
    Flow,
    FlowBatch,
    FlowChange,
    FlowChangeList,
    FlowDetail,
    FlowDocument,
    FlowList,
    FlowVersion,
    FlowVersionDetail,
    FlowVersionList,
    Validation,
)
from perdure.wire.nodes import FlowGraph


class AsyncFlows:
    """`client.flows`. A flow is addressed `namespace/name`, or by its bare name in the namespace `default`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(self, *, namespace: str | None = None, limit: int | None = None) -> AsyncIterator[Flow]:
        """All flows, by id."""
        async for flow in all_pages(self._transport, "/flows", FlowList, params={"namespace": namespace}, limit=limit):
            yield flow

    async def get(self, id: str) -> FlowDetail:
        """A flow with its latest definition. Raises FlowNotFound."""
        return await self._transport.call("GET", _path(id), FlowDetail)

    async def put(self, id: str, document: str | bytes, *, media_type: str = "application/yaml") -> FlowDetail:
        """Make a document (YAML or JSON) the flow's latest version; its `id` must be the same.

        Raises InvalidFlow with everything that is wrong with it, Conflict when a folder manages the flow.
        """
        return await self._transport.call(
            "PUT",
            _path(id),
            FlowDetail,
            content=document.encode() if isinstance(document, str) else document,
            headers={"Content-Type": media_type},
        )

    async def put_batch(self, documents: Sequence[FlowDocument], *, dry_run: bool = False) -> Sequence[FlowChange]:
        """Put at most 1,000 definitions in one transaction: all of them, or none and an error. With `dry_run` nothing is put.

        Raises InvalidFlow with everything that is wrong with any, Conflict when a folder manages one of the flows; each
        of the error's `errors` has a `pointer` such as `/documents/3`.
        """
        batch = FlowBatch(documents=[*documents], dry_run=dry_run)
        return (await self._transport.call("POST", "/flows/batch", FlowChangeList, body=batch, idempotent=True)).data

    async def delete(self, id: str) -> None:
        """Raises FlowNotFound, Conflict when it has executions that are not finished, or a folder manages it."""
        await self._transport.request("DELETE", _path(id))

    async def versions(self, id: str, *, limit: int | None = None) -> AsyncIterator[FlowVersion]:
        """Its versions, newest first."""
        path = f"{_path(id)}/versions"
        async for version in all_pages(self._transport, path, FlowVersionList, params={}, limit=limit):
            yield version

    async def version(self, id: str, number: int) -> FlowVersionDetail:
        """One version with its definition and the text it was given as."""
        return await self._transport.call("GET", f"{_path(id)}/versions/{number}", FlowVersionDetail)

    async def graph(self, id: str) -> FlowGraph:
        """Nodes and edges of the latest version."""
        return await self._transport.call("GET", f"{_path(id)}/dag", FlowGraph)

    async def validate(self, document: str | bytes, *, media_type: str = "application/yaml") -> Validation:
        """What is wrong with a document, everything at once; nothing is stored."""
        return await self._transport.call(
            "POST",
            "/flows/validate",
            Validation,
            content=document.encode() if isinstance(document, str) else document,
            headers={"Content-Type": media_type},
            idempotent=True,
        )


def _path(id: str) -> str:
    namespace, slash, name = id.partition("/")
    return f"/flows/{segment(namespace)}/{segment(name)}" if slash else f"/flows/default/{segment(id)}"
