"""Operations on many executions: asked for, weighed beforehand, looked up, cancelled. The loop `operator` carries them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from perdure.base.clock import Clock
from perdure.base.codec import INLINE_LIMIT, Json, encode, encode_text
from perdure.base.ids import id_text, new_id
from perdure.engine.requests import ReplayRequest
from perdure.engine.searching import Searcher, TextFilter
from perdure.errors import LimitExceeded, OperationNotFound, StoreBusy
from perdure.model.operation import Action, OperationStatus, is_refused
from perdure.model.replay import FAILED, Reach
from perdure.model.states import ExecutionStatus
from perdure.store.commands import CancelOperation, CreateOperation
from perdure.store.interface import ExecutionFilter, Page, Store
from perdure.store.operation_records import Created, OperationRecord, Wishes
from perdure.store.recorder import Recorder
from perdure.store.records import ExecutionRecord

COUNTED = 10_000
"""Executions that hold a text are counted one by one, and no further."""
SHOWN = 20
_PAGE = 1_000


class Plan(Wishes, kw_only=True, omit_defaults=True):
    """How an operation is carried out: which executions it concerns where these are not named, and what its action takes.

    `token` is the name of the caller's, if he has one; `may_decide` as of a `ReplayRequest`.
    """

    filter: ExecutionFilter | None = None
    texts: TextFilter | None = None
    token: str | None = None
    begin: list[str] | str | None = None
    input: Json | msgspec.UnsetType = msgspec.UNSET
    outputs: dict[str, Json] = msgspec.field(default_factory=dict)
    version: int | str = "same"
    reach: Reach = Reach.INDEPENDENT
    may_decide: bool = True

    def replay(self, operation: OperationRecord, id: bytes) -> ReplayRequest:
        """What is asked for one of its executions."""
        return ReplayRequest(
            workspace=operation.workspace,
            id=id,
            begin=FAILED if operation.action is Action.RETRY else self.begin,
            input=self.input,
            outputs=self.outputs,
            version=self.version,
            reach=self.reach,
            may_decide=self.may_decide,
            asked_by=self.token,
        )


class OperationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An action on executions, by their `ids` or by the plan's filter. `told` is what it says of itself: `{arguments, filter}`."""

    workspace: str
    action: Action
    ids: list[bytes] | None
    plan: Plan
    told: Mapping[str, Any]
    asked_by: str
    idempotency_key: str | None = None
    request_hash: bytes | None = None


class Preview(NamedTuple):
    """Which executions an operation would concern, by status; `is_capped`: at least these. So many are `refused` as they
    are now, those among them that are named and not there; `sample` are the first few of the others."""

    total: int
    refused: int
    is_capped: bool
    by_status: dict[str, int]
    sample: list[bytes]


class Operations:
    """Of one engine. `wake` has its loop look for work."""

    def __init__(
        self, *, store: Store, recorder: Recorder, searcher: Searcher, clock: Clock, wake: Callable[[], object]
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._searcher = searcher
        self._clock = clock
        self._wake = wake

    async def create(self, request: OperationRequest) -> Created:
        """Durable when it returns; carried out from then on. Raises IdempotencyConflict, LimitExceeded, StoreError."""
        plan = encode(request.plan)
        if len(plan) > INLINE_LIMIT:
            raise LimitExceeded(
                f"what is asked for has {len(plan)} bytes as JSON; for many executions at most {INLINE_LIMIT} are allowed"
            )
        now = self._clock.now()
        ids = list(dict.fromkeys(request.ids or ()))
        id = new_id(now)
        operation = OperationRecord(
            id=id,
            workspace=request.workspace,
            action=request.action,
            status=OperationStatus.COLLECTING if request.ids is None else OperationStatus.RUNNING,
            request=encode_text(request.told),
            plan=plan.decode(),
            asked_by=request.asked_by,
            idempotency_key=request.idempotency_key,
            request_hash=request.request_hash,
            # What is created from now on does not belong to it, its own replays least of all.
            until=id,
            total=len(ids),
            created_at=now,
            updated_at=now,
        )
        created: Created = await self._recorder.execute(CreateOperation(at=now, operation=operation, ids=ids))
        self._wake()
        return created

    async def preview(self, request: OperationRequest) -> Preview:
        """Which executions it would concern now. Raises InvalidRequest, StoreError."""
        if request.ids is not None:
            ids = list(dict.fromkeys(request.ids))
            found = [
                record
                for first in range(0, len(ids), _PAGE)
                for record in await self._store.executions.several(request.workspace, ids[first : first + _PAGE])
            ]
            return _counted(request.action, found, missing=len(ids) - len(found))
        filter = request.plan.filter or ExecutionFilter()
        if request.plan.texts is not None:
            return await self._searched(request, filter, request.plan.texts)
        executions = self._store.executions
        try:
            rows, is_exact = await executions.statistics(request.workspace, filter, ["status"])
        except StoreBusy:
            # There are too many to look at each; of the newest it can be said.
            rows, is_exact = await executions.statistics(request.workspace, filter, ["status"], exact=False)
        by_status = {str(row["status"]): int(row["count"]) for row in rows if row["count"]}
        taken = [status for status in map(ExecutionStatus, by_status) if not is_refused(request.action, status)]
        records: list[ExecutionRecord] = []
        if taken:
            narrowed = msgspec.structs.replace(filter, statuses=tuple(taken))
            records, _ = await executions.page(request.workspace, narrowed, Page(limit=SHOWN, newest_first=False))
        total = sum(by_status.values())
        return Preview(
            total=total,
            refused=total - sum(by_status[status] for status in taken),
            is_capped=not is_exact,
            by_status=by_status,
            sample=[record.id for record in records],
        )

    async def get(self, workspace: str, id: bytes) -> OperationRecord:
        """Raises OperationNotFound."""
        found = await self._store.operations.get(workspace, id)
        if found is None:
            raise OperationNotFound(f"there is no operation {id_text(id)}", id=id_text(id))
        return found

    async def cancel(self, workspace: str, id: bytes) -> OperationRecord:
        """Nothing more is done once it returns; what was done stays. Raises OperationNotFound, OperationEnded, StoreError."""
        command = CancelOperation(at=self._clock.now(), workspace=workspace, id=id)
        cancelled: OperationRecord = await self._recorder.execute(command)
        return cancelled

    async def _searched(self, request: OperationRequest, filter: ExecutionFilter, texts: TextFilter) -> Preview:
        found: list[ExecutionRecord] = []
        async for records in self._pages(request.workspace, filter, texts):
            found += records
            if len(found) >= COUNTED:
                return _counted(request.action, found[:COUNTED], is_capped=True)
        return _counted(request.action, found)

    async def _pages(
        self, workspace: str, filter: ExecutionFilter, texts: TextFilter
    ) -> AsyncIterator[list[ExecutionRecord]]:
        after: bytes | None = None
        while True:
            page = Page(limit=_PAGE, after=after, newest_first=False)
            records, after, _ = await self._searcher.page(workspace, filter, texts, page)
            yield records
            if after is None:
                return


def _counted(
    action: Action, records: Sequence[ExecutionRecord], *, missing: int = 0, is_capped: bool = False
) -> Preview:
    taken = [record for record in records if not is_refused(action, record.status)]
    return Preview(
        total=len(records) + missing,
        refused=len(records) - len(taken) + missing,
        is_capped=is_capped,
        by_status=dict(Counter(str(record.status) for record in records)),
        sample=[record.id for record in taken[:SHOWN]],
    )
