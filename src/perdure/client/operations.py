"""Operations: one action on many executions, followed to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from perdure.client.errors import WaitTimedOut
from perdure.client.filters import TextFilters, filter_params
from perdure.client.paging import all_pages
from perdure.client.transport import Transport, segment
from perdure.wire.operations import BulkPlan, Operation, OperationItem, OperationItemList, OperationList

OPEN = frozenset({"collecting", "running"})
LOOK_FIRST_S = 0.05
LOOK_MOST_S = 1.0
"""Between two looks at how far it is."""


class AsyncOperations:
    """`client.operations`: each execution is done exactly once, whatever happens to the server; a refusal is the outcome of
    that one alone."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def start(
        self,
        action: str,
        *,
        ids: Sequence[str] | None = None,
        filter: TextFilters | None = None,
        arguments: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Operation:
        """Cancel, retry, replay, tag or delete many executions. Durable when it returns; see `wait`.

        Args:
            action: cancel, retry, replay, tag or delete.
            ids: of at most 10,000 executions; or `filter`, with the conditions of `executions.list`, one at least.
            arguments: what the single call takes: `reason`, `force`; `set`, `remove`; `from`, `input`, `outputs`,
                `version`, `reuse`.
            idempotency_key: asked again with the same one, it is the same operation; one is made up where there is none.

        Raises InvalidRequest, IdempotencyConflict.
        """
        body = _body(action, ids, filter, arguments)
        body["idempotency_key"] = idempotency_key or str(uuid4())
        return await self._transport.call("POST", "/executions/bulk", Operation, body=body, idempotent=True)

    async def plan(
        self,
        action: str,
        *,
        ids: Sequence[str] | None = None,
        filter: TextFilters | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> BulkPlan:
        """How many executions of which status that would be now; nothing is done. As `start` otherwise."""
        body = {**_body(action, ids, filter, arguments), "dry_run": True}
        return await self._transport.call("POST", "/executions/bulk", BulkPlan, body=body, idempotent=True)

    async def get(self, id: str) -> Operation:
        """How far one is. Raises OperationNotFound."""
        return await self._transport.call("GET", f"/operations/{segment(id)}", Operation)

    async def wait(
        self, id: str, timeout: float | None = None, *, on_progress: Callable[[Operation], object] | None = None
    ) -> Operation:
        """Return when it is over; `on_progress` is told now and then how far it is. Raises WaitTimedOut after `timeout`
        seconds, OperationNotFound."""
        pause_s = LOOK_FIRST_S
        found = await self.get(id)
        try:
            async with asyncio.timeout(timeout):
                while True:
                    if on_progress is not None:
                        on_progress(found)
                    if found.status not in OPEN:
                        return found
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, LOOK_MOST_S)
                    found = await self.get(id)
        except TimeoutError:
            raise WaitTimedOut(id, status=found.status, timeout_s=timeout or 0.0, kind="operation") from None

    async def cancel(self, id: str) -> Operation:
        """Do no more of it; what was done stays. Raises OperationNotFound, OperationEnded."""
        return await self._transport.call("POST", f"/operations/{segment(id)}/cancel", Operation)

    async def items(
        self, id: str, *, outcome: str | None = None, limit: int | None = None
    ) -> AsyncIterator[OperationItem]:
        """What became of each execution, fetched page by page while you iterate.

        Args:
            outcome: waiting, asked, succeeded, refused or skipped alone.
        """
        path = f"/operations/{segment(id)}/items"
        async for item in all_pages(
            self._transport, path, OperationItemList, params={"outcome": outcome}, limit=limit, page_size=1_000
        ):
            yield item

    async def list(
        self,
        *,
        status: str | Sequence[str] | None = None,
        action: str | Sequence[str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Operation]:
        """The newest first, fetched page by page while you iterate. All conditions hold together.

        Args:
            status: any of these: collecting, running, completed, cancelled, failed.
            action: any of these: cancel, retry, replay, tag, delete.
            created_after: with a time zone, as `created_before`, which is exclusive.
        """
        params = {
            "status": status,
            "action": action,
            "created_after": None if created_after is None else created_after.isoformat(),
            "created_before": None if created_before is None else created_before.isoformat(),
        }
        async for one in all_pages(self._transport, "/operations", OperationList, params=params, limit=limit):
            yield one


def _body(
    action: str, ids: Sequence[str] | None, filter: TextFilters | None, arguments: Mapping[str, Any] | None
) -> dict[str, Any]:
    body: dict[str, Any] = {"action": action, "arguments": dict(arguments or {})}
    if ids is not None:
        body["ids"] = list(ids)
    if filter is not None:
        body["filter"] = filter_params(filter)
    return body
