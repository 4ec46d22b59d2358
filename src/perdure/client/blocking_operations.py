"""The sync resources. Made by `scripts/generate_sync_client.py` from the async ones; change those."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from perdure.client.filters import TextFilters
from perdure.client.operations import AsyncOperations
from perdure.client.portal import Portal
from perdure.wire.operations import BulkPlan, Operation, OperationItem


class Operations:
    """`client.operations`: each execution is done exactly once, whatever happens to the server; a refusal is the outcome of
    that one alone."""

    def __init__(self, portal: Portal, source: AsyncOperations) -> None:
        self._portal = portal
        self._source = source

    def start(
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
        return self._portal.call(
            self._source.start(action, ids=ids, filter=filter, arguments=arguments, idempotency_key=idempotency_key)
        )

    def plan(
        self,
        action: str,
        *,
        ids: Sequence[str] | None = None,
        filter: TextFilters | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> BulkPlan:
        """How many executions of which status that would be now; nothing is done. As `start` otherwise."""
        return self._portal.call(self._source.plan(action, ids=ids, filter=filter, arguments=arguments))

    def get(self, id: str) -> Operation:
        """How far one is. Raises OperationNotFound."""
        return self._portal.call(self._source.get(id))

    def wait(
        self, id: str, timeout: float | None = None, *, on_progress: Callable[[Operation], object] | None = None
    ) -> Operation:
        """Return when it is over; `on_progress` is told now and then how far it is. Raises WaitTimedOut after `timeout`
        seconds, OperationNotFound."""
        return self._portal.call(self._source.wait(id, timeout, on_progress=on_progress))

    def cancel(self, id: str) -> Operation:
        """Do no more of it; what was done stays. Raises OperationNotFound, OperationEnded."""
        return self._portal.call(self._source.cancel(id))

    def items(self, id: str, *, outcome: str | None = None, limit: int | None = None) -> Iterator[OperationItem]:
        """What became of each execution, fetched page by page while you iterate.

        Args:
            outcome: waiting, asked, succeeded, refused or skipped alone.
        """
        return self._portal.iterate(self._source.items(id, outcome=outcome, limit=limit))

    def list(
        self,
        *,
        status: str | Sequence[str] | None = None,
        action: str | Sequence[str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[Operation]:
        """The newest first, fetched page by page while you iterate. All conditions hold together.

        Args:
            status: any of these: collecting, running, completed, cancelled, failed.
            action: any of these: cancel, retry, replay, tag, delete.
            created_after: with a time zone, as `created_before`, which is exclusive.
        """
        return self._portal.iterate(
            self._source.list(
                status=status, action=action, created_after=created_after, created_before=created_before, limit=limit
            )
        )
