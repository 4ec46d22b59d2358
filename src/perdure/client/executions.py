"""Executions: start, find, look into, follow, cancel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack
from uuid import uuid4

import msgspec

from perdure.client.execution import AsyncExecutionHandle
from perdure.client.filters import Filters, TextFilters, filter_params
from perdure.client.paging import all_pages
from perdure.client.transport import Params, Transport, segment
from perdure.wire.executions import (
    Execution,
    ExecutionBatch,
    ExecutionList,
    ExecutionStats,
    ExecutionSummary,
    StartBatch,
    StartExecution,
)

EXPORT_SILENCE_S = 900.0
"""Of a long history little may fit, and so long may pass until the next that does."""


class AsyncExecutions:
    """`client.executions`. Ids are UUIDs as text; times are `datetime` with a time zone."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def start(
        self,
        flow: str,
        *,
        input: Any = None,
        version: int | None = None,
        tags: Mapping[str, str] | None = None,
        trigger_context: Any = None,
        idempotency_key: str | None = None,
        start_at: datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
        timeout: str | float | None = None,
        wait_s: int | None = None,
    ) -> AsyncExecutionHandle:
        """Start an execution; it is durable when this returns.

        Args:
            flow: `namespace/name`, or a bare name in the namespace `default`.
            idempotency_key: the same key and request within 24 h give the first execution again. Without
                one a fresh key is sent, so that the call can be tried again without starting twice.
            timeout: `10m`, or seconds; the flow's own when None.
            wait_s: how long (at most 300) the server may hold the answer back until the execution has ended.

        Raises FlowNotFound, InvalidInput, ConcurrencyLimitReached, ….
        """
        request = StartExecution(
            flow=flow,
            input={} if input is None else input,
            version=version,
            tags=dict(tags or {}),
            trigger_context=trigger_context,
            idempotency_key=idempotency_key or str(uuid4()),
            start_at=start_at,
            priority=priority,
            queue=queue,
            timeout=timeout,
        )
        record = await self._transport.call(
            "POST",
            "/executions",
            Execution,
            body=request,
            headers={} if wait_s is None else {"Prefer": f"wait={wait_s}"},
            timeout_s=wait_s,
            idempotent=True,
        )
        return AsyncExecutionHandle(self._transport, record)

    async def start_batch(self, requests: Sequence[StartExecution]) -> list[ExecutionSummary]:
        """Start at most 1,000 executions in one transaction: all of them, or none and an error."""
        keyed = [
            msgspec.structs.replace(request, idempotency_key=request.idempotency_key or str(uuid4()))
            for request in requests
        ]
        batch = StartBatch(executions=keyed)
        return (
            await self._transport.call("POST", "/executions/batch", ExecutionBatch, body=batch, idempotent=True)
        ).data

    async def get(self, id: str | int, *, include: Sequence[str] = ()) -> Execution:
        """One execution by its id or number; `include` may name nodes, waits, artifacts, config. Raises ExecutionNotFound."""
        return await self._transport.call(
            "GET", f"/executions/{segment(str(id))}", Execution, params={"include": ",".join(include) or None}
        )

    async def handle(self, id: str | int) -> AsyncExecutionHandle:
        """One execution, by its id or number, as something to wait for and to follow. Raises ExecutionNotFound."""
        return AsyncExecutionHandle(self._transport, await self.get(id))

    async def list(
        self, *, oldest_first: bool = False, limit: int | None = None, **filters: Unpack[TextFilters]
    ) -> AsyncIterator[ExecutionSummary]:
        """Executions that fit all conditions (`perdure.client.filters`), newest first, fetched page by page while you iterate.

        Units, the parts of executions that run elsewhere, are among them where `kind` is unit or any.
        """
        params: Params = {**filter_params(filters), "order": "oldest" if oldest_first else None}
        async for entry in all_pages(self._transport, "/executions", ExecutionList, params=params, limit=limit):
            yield entry

    async def count(self, **filters: Unpack[Filters]) -> int:
        """How many executions fit all conditions, exactly."""
        params: Params = {**filter_params(filters), "count": "exact", "limit": 1}
        return (await self._transport.call("GET", "/executions", ExecutionList, params=params)).total or 0

    async def export(
        self,
        *,
        format: str = "ndjson",
        fields: Sequence[str] = (),
        oldest_first: bool = False,
        **filters: Unpack[TextFilters],
    ) -> AsyncIterator[bytes]:
        """All executions that fit, with their values, as one stream of bytes; its pieces are whole lines or not.

        Args:
            format: ndjson, csv, json, or parquet where the server has the extra for it.
            fields: of an execution; all of them where none is named.

        Raises ServerUnreachable when the stream is cut off: what came so far is not all.
        """
        order = "oldest" if oldest_first else None
        params: Params = {**filter_params(filters), "format": format, "fields": list(fields), "order": order}
        opened = self._transport.stream("GET", "/executions/export", params=params, silence_s=EXPORT_SILENCE_S)
        async with opened as response:
            async for piece in response.aiter_bytes():
                yield piece

    async def stats(
        self,
        *,
        group_by: Sequence[str] = ("status",),
        durations: bool = False,
        exact: bool = True,
        **filters: Unpack[Filters],
    ) -> ExecutionStats:
        """Counts by status, flow, namespace, trigger, hour or day.

        Args:
            durations: with `duration_ms: {p50, p95, p99}`, within 2 %.
            exact: False looks at the newest 50,000 only where no counter knows the answer.
        """
        params: Params = {
            **filter_params(filters), "group_by": ",".join(group_by), "durations": durations, "exact": exact,
        }  # fmt: skip
        return await self._transport.call("GET", "/executions/stats", ExecutionStats, params=params)
