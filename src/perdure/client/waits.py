"""The inbox: what waits for somebody from outside, in all executions of the workspace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from perdure.client.paging import all_pages
from perdure.client.transport import Params, Transport
from perdure.wire.waits import Inbox, Wait


class AsyncWaits:
    """`client.waits`; answer one by the handle of its execution."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(
        self,
        *,
        kind: Sequence[str] = (),
        flow: str | None = None,
        approver: str | None = None,
        due_before: datetime | None = None,
        by_due: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[Wait]:
        """Open waits, the oldest first, fetched page by page while you iterate.

        Args:
            kind: approval, ask, signal, pause; without it all but pauses.
            approver: a name as flows write it, or `me`: what the caller may answer.
            by_due: those that expire, the next one first.
        """
        params: Params = {
            "kind": ",".join(kind) or None,
            "flow": flow,
            "approver": approver,
            "due_before": due_before.isoformat() if due_before else None,
            "order": "due" if by_due else None,
        }
        async for entry in all_pages(self._transport, "/waits", Inbox, params=params, limit=limit):
            yield entry
