"""Carries out operations: one after the other in turns, each in steps that hold up nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import msgspec
import structlog

from perdure.base.clock import SECOND, Clock
from perdure.base.ids import id_text
from perdure.engine.eraser import Eraser
from perdure.engine.operations import Plan
from perdure.engine.pace import Pace
from perdure.engine.replays import Replays
from perdure.engine.searching import Searcher
from perdure.errors import CallerError, RowRefused, StoreError
from perdure.model.event import EventChunk
from perdure.model.operation import OPEN, REPLAYS, Action, ItemOutcome, OperationStatus
from perdure.model.states import TERMINAL, ExecutionStatus
from perdure.store.commands import ClaimOperation, CollectOperation, Command, ReleaseOperation, StepOperation
from perdure.store.interface import ExecutionFilter, Page, Store
from perdure.store.operation_records import OperationItem, OperationRecord, Refusal, Step
from perdure.store.recorder import Recorder

MOST = 200
MOST_REPLAYS = 50
"""Each has been read, planned and written whole."""
LEAST = 10
LONGEST_US = 50_000
"""Of a step, its wait for the writer included: a longer one makes the next smaller."""
PAGE = 1_000
TURN_US = SECOND
"""Then the next operation has its turn."""
REST_S = 10.0
"""Behind the wake-up by a new operation stands a look for those of dead processes."""
ASKED_FIRST_S = 0.05
ASKED_MOST_S = 1.0
"""Between two looks at what owners elsewhere made of cancellations; those here are heard."""
BEHIND_S = 0.5
"""Between two looks whether the text index has followed to where the operation began."""
_SETTLED = TERMINAL | {ExecutionStatus.CANCELLING}
_log = structlog.get_logger(__name__)
_plan = msgspec.json.Decoder(Plan).decode


class _Behind(Exception):
    """The text index has not followed to where the operation began."""


class Operator:
    """The work of a `Loop`. On a shared store each operation belongs to one process for the time of a lease."""

    def __init__(
        self,
        *,
        store: Store,
        recorder: Recorder,
        clock: Clock,
        replays: Replays,
        searcher: Searcher,
        eraser: Eraser,
        holder: str,
        lease: int,
        pace: Pace,
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._clock = clock
        self._replays = replays
        self._searcher = searcher
        self._eraser = eraser
        self._holder = holder
        # Nobody else is there to whom one could belong.
        self._lease = 0 if store.sharing is None else lease
        self._pace = pace
        self._size = LEAST
        self._held: OperationRecord | None = None
        self._claim: asyncio.Future[OperationRecord | None] | None = None
        self._awaited: Collection[bytes] = frozenset()
        self._heard = asyncio.Event()
        self._asked_pause_s = ASKED_FIRST_S

    async def work(self) -> float:
        while (operation := await self._next()) is not None:
            self._held = operation
            is_behind = await self._turn(operation)
            self._held = None
            if is_behind:
                return BEHIND_S
        return self._pace.chore(REST_S)

    async def stop(self) -> None:
        """Let others have what it has not finished. Raises StoreError."""
        if self._claim is not None:
            # Whoever was cancelled while he claimed one may have it all the same.
            self._held, self._claim = await self._claim, None
        if self._held is not None:
            await self._execute(ReleaseOperation(at=self._clock.now(), id=self._held.id, holder=self._holder))
            self._held = None

    def heard(self, chunks: Sequence[EventChunk]) -> None:
        """These events were committed here."""
        if self._awaited and any(chunk.execution_id in self._awaited for chunk in chunks):
            self._heard.set()

    async def _next(self) -> OperationRecord | None:
        held, self._held = self._held, None
        if held is not None:
            # The store failed in its turn.
            known = await self._store.operations.get(held.workspace, held.id)
            if known is not None and known.holder == self._holder and known.status in OPEN:
                return known
        # A look costs an idle server less than a command.
        if not await self._store.operations.is_any_free(self._clock.now()):
            return None
        self._claim = self._recorder.submit(
            ClaimOperation(at=self._clock.now(), holder=self._holder, free_at=self._free_at())
        )
        try:
            claimed = await asyncio.shield(self._claim)
        except StoreError:
            self._claim = None
            raise
        self._claim = None
        return claimed

    async def _turn(self, operation: OperationRecord) -> bool:
        """Whether it has to wait for the text index."""
        is_behind = False
        until = self._clock.monotonic() + TURN_US
        error: Refusal | None = None
        current: OperationRecord | None = operation
        try:
            plan = _plan(operation.plan)
            while current is not None and current.status in OPEN and self._clock.monotonic() < until:
                if current.status is OperationStatus.COLLECTING:
                    current = await self._collect(current, plan)
                else:
                    current = await self._go_on(current, plan)
        except StoreError:
            raise
        except _Behind:
            is_behind = True
        except CallerError as refused:
            error = Refusal(refused.code, refused.message)
        except Exception as failure:
            _log.exception("an operation failed", operation=id_text(operation.id))
            error = Refusal("internal_error", f"{type(failure).__name__}: {failure}"[:1_000])
        if current is not None and current.status in OPEN:
            await self._execute(
                ReleaseOperation(at=self._clock.now(), id=operation.id, holder=self._holder, error=error)
            )
        return is_behind

    async def _collect(self, operation: OperationRecord, plan: Plan) -> OperationRecord | None:
        """Write down the next page of the executions that its filter chooses, the oldest first."""
        filter = plan.filter or ExecutionFilter()
        page = Page(limit=PAGE, after=operation.collected_to, until=operation.until, newest_first=False)
        if plan.texts is None:
            records, rest_after = await self._store.executions.page(operation.workspace, filter, page)
        else:
            records, rest_after, until = await self._searcher.page(operation.workspace, filter, plan.texts, page)
            if until < operation.created_at:
                # What was committed since may hold the text, and is not found before the index has followed.
                raise _Behind
        ids = [record.id for record in records if record.id <= operation.until]
        is_last = rest_after is None or rest_after >= operation.until
        collected: OperationRecord | None = await self._execute(
            CollectOperation(
                at=self._clock.now(), id=operation.id, holder=self._holder, free_at=self._free_at(), ids=ids,
                collected_to=None if is_last else rest_after,
            )
        )  # fmt: skip
        return collected

    async def _go_on(self, operation: OperationRecord, plan: Plan) -> OperationRecord | None:
        makes_replays = operation.action in REPLAYS
        size = min(self._size, MOST_REPLAYS) if makes_replays else self._size
        waiting = await self._store.operations.items(operation.id, outcome=ItemOutcome.WAITING, limit=size)
        if not waiting:
            return await self._settle(operation)
        if makes_replays:
            steps = [await self._replay(operation, plan, item.execution_id, item.n) for item in waiting]
        else:
            steps = [Step(n=item.n, execution_id=item.execution_id) for item in waiting]
        if operation.action is Action.DELETE:
            await self._eraser.thin(
                operation.workspace,
                [item.execution_id for item in waiting],
                operation=(operation.id, self._holder),
            )
        began = self._clock.monotonic()
        after = await self._step(operation, steps)
        took = self._clock.monotonic() - began
        self._size = max(self._size // 2, LEAST) if took > LONGEST_US else min(self._size + LEAST, MOST)
        self._asked_pause_s = ASKED_FIRST_S
        # As long as the step took, others have the writer for themselves.
        await asyncio.sleep(took / SECOND)
        return after

    async def _replay(self, operation: OperationRecord, plan: Plan, id: bytes, n: int) -> Step:
        try:
            return Step(n=n, execution_id=id, start=await self._replays.build(plan.replay(operation, id)))
        except CallerError as error:
            return Step(n=n, execution_id=id, refusal=Refusal(error.code, error.message))

    async def _step(self, operation: OperationRecord, steps: Sequence[Step]) -> OperationRecord | None:
        """What the database refuses is found one by one, and noted as refused."""
        command = StepOperation(
            at=self._clock.now(), id=operation.id, holder=self._holder, free_at=self._free_at(), steps=list(steps)
        )
        try:
            stepped: OperationRecord | None = await self._execute(command)
        except RowRefused as error:
            if len(steps) == 1 and steps[0].refusal is not None:
                raise
            after: OperationRecord | None = operation
            for one in steps:
                alone = one
                if len(steps) == 1:
                    alone = Step(n=one.n, execution_id=one.execution_id, refusal=Refusal(error.code, error.message))
                after = await self._step(operation, [alone])
            return after
        return stepped

    async def _settle(self, operation: OperationRecord) -> OperationRecord | None:
        """Look what owners made of their cancellations; where nothing is new, wait until something is heard of one."""
        asked: list[OperationItem] = []
        while page := await self._store.operations.items(
            operation.id, outcome=ItemOutcome.ASKED, after=asked[-1].n if asked else 0, limit=PAGE
        ):
            asked += page
        if not asked:
            # Somebody else took steps.
            return await self._store.operations.get(operation.workspace, operation.id)
        self._heard.clear()
        self._awaited = frozenset(item.execution_id for item in asked)
        try:
            after: OperationRecord | None = operation
            news = await self._news(operation, asked)
            for first in range(0, len(news), MOST):
                after = await self._step(operation, news[first : first + MOST])
            if news:
                self._asked_pause_s = ASKED_FIRST_S
            else:
                await self._hear()
            return after
        finally:
            self._awaited = frozenset()

    async def _news(self, operation: OperationRecord, asked: Sequence[OperationItem]) -> list[Step]:
        """Those that have ended, are about to, or have lost their owner."""
        found: list[Step] = []
        for first in range(0, len(asked), PAGE):
            part = asked[first : first + PAGE]
            records = await self._store.executions.several(operation.workspace, [item.execution_id for item in part])
            going_on = {record.id for record in records if record.status not in _SETTLED and record.worker is not None}
            found += [
                Step(n=item.n, execution_id=item.execution_id) for item in part if item.execution_id not in going_on
            ]
        return found

    async def _hear(self) -> None:
        try:
            await asyncio.wait_for(self._heard.wait(), self._pace.pause(self._asked_pause_s))
        except TimeoutError:
            self._asked_pause_s = min(2 * self._asked_pause_s, ASKED_MOST_S)

    async def _execute(self, command: Command) -> OperationRecord | None:
        answer: OperationRecord | None = await self._recorder.execute(command)
        return answer

    def _free_at(self) -> int:
        return self._clock.now() + self._lease
