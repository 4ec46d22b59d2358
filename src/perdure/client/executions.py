"""Executions: start, find, look into, follow, cancel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec

from perdure.client.execution import AsyncExecutionHandle
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

    async def get(self, id: str, *, include: Sequence[str] = ()) -> Execution:
        """One execution; `include` may name nodes, waits, artifacts, config. Raises ExecutionNotFound."""
        return await self._transport.call(
            "GET", f"/executions/{segment(id)}", Execution, params={"include": ",".join(include) or None}
        )

    async def handle(self, id: str) -> AsyncExecutionHandle:
        """One execution as something to wait for and to follow. Raises ExecutionNotFound."""
        return AsyncExecutionHandle(self._transport, await self.get(id))

    async def list(
        self,
        *,
        status: Sequence[str] = (),
        flow: str | None = None,
        namespace: str | None = None,
        tags: Mapping[str, str] | None = None,
        trigger: str | None = None,
        kind: str | None = None,
        parent: str | None = None,
        root: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        oldest_first: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[ExecutionSummary]:
        """Executions that fit all conditions, newest first, fetched page by page while you iterate.

        Units, the parts of executions that run elsewhere, are among them where `kind` is unit or any.
        """
        params: Params = {
            "status": list(status),
            "flow": flow,
            "namespace": namespace,
            "tag": [f"{key}:{value}" for key, value in (tags or {}).items()],
            "trigger": trigger,
            "kind": kind,
            "parent": parent,
            "root": root,
            "created_after": created_after.isoformat() if created_after else None,
            "created_before": created_before.isoformat() if created_before else None,
            "order": "oldest" if oldest_first else None,
        }
        async for entry in all_pages(self._transport, "/executions", ExecutionList, params=params, limit=limit):
            yield entry

    async def stats(
        self, *, group_by: Sequence[str] = ("status",), flow: str | None = None, namespace: str | None = None
    ) -> ExecutionStats:
        """Counts by status, flow, namespace, trigger, hour or day."""
        params: Params = {"group_by": ",".join(group_by), "flow": flow, "namespace": namespace}
        return await self._transport.call("GET", "/executions/stats", ExecutionStats, params=params)
