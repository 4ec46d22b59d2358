"""Carries out operations: one after the other in turns, each in steps that hold up nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import msgspec
import structlog

from perdure.base.backoff import Backoff
from perdure.base.clock import SECOND, Clock
from perdure.base.ids import id_text
from perdure.engine.eraser import Eraser
from perdure.engine.operations import Plan
from perdure.engine.pace import Pace
from perdure.engine.portion import Portion
from perdure.engine.replays import Replays
from perdure.engine.searching import Searcher
from perdure.errors import CallerError, RowRefused, StoreError
from perdure.model.event import EventChunk
from perdure.model.operation import OPEN, REPLAYS, Action, ItemOutcome, OperationStatus
from perdure.store.commands import ClaimOperation, CollectOperation, Command, ReleaseOperation, StepOperation
from perdure.store.interface import ExecutionFilter, Page, Store
from perdure.store.operation_records import OperationItem, OperationRecord, Refusal, Step
from perdure.store.recorder import Recorder

MOST = 200
MOST_REPLAYS = 50
"""Each has been read, planned and written whole."""
MOST_COPIED = 2_000
"""Node runs that the replays of one step take over, beyond those of one."""
LEAST = 10
BUDGET_S = 0.01
"""What a step may add to a batch."""
PAGE = 1_000
TURN_US = SECOND
"""Then the next operation has its turn."""
REST_S = 10.0
"""Behind the wake-up by a new operation stands a look for those of dead processes."""
ASKED_FIRST_S, ASKED_MOST_S = 0.05, 1.0
"""Between two looks at what owners elsewhere made of cancellations; those here are heard."""
LOOK_REST = 4
"""Times as long as a look took, none follows."""
BEHIND_S = 0.5
"""Between two looks whether the text index has followed to where the operation began."""
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
        self._portion = Portion(recorder.stats, least=LEAST, most=MOST, budget_s=BUDGET_S)
        self._held: OperationRecord | None = None
        self._claim: asyncio.Future[OperationRecord | None] | None = None
        self._asked: Collection[bytes] = frozenset()
        """What of the operation `_asked_of` owners were asked for, and perhaps have done by now."""
        self._asked_of: bytes | None = None
        self._heard = asyncio.Event()
        self._asked_backoff = Backoff(first_s=ASKED_FIRST_S, most_s=ASKED_MOST_S)

    async def work(self) -> float:
        while (operation := await self._next()) is not None:
            self._held = operation
            is_behind = await self._turn(operation)
            self._held = None
            if is_behind:
                return BEHIND_S
        self._asked, self._asked_of = frozenset(), None
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
        if self._asked and any(chunk.execution_id in self._asked for chunk in chunks):
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
        size = min(self._portion.size, MOST_REPLAYS) if makes_replays else self._portion.size
        waiting = await self._store.operations.items(operation.id, outcome=ItemOutcome.WAITING, limit=size)
        if not waiting:
            return await self._settle(operation)
        if makes_replays:
            steps = await self._replays_of(operation, plan, waiting)
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
        self._portion.done(len(steps))
        self._asked_backoff.reset()
        # As long as the step took, others have the writer for themselves.
        await asyncio.sleep(took / SECOND)
        return after

    async def _replays_of(self, operation: OperationRecord, plan: Plan, waiting: Sequence[OperationItem]) -> list[Step]:
        """Of the first ones; of long executions few, as all that they take over is copied in one transaction."""
        steps: list[Step] = []
        copied = 0
        for item in waiting:
            step = await self._replay(operation, plan, item.execution_id, item.n)
            steps.append(step)
            if step.start is not None and step.start.reuse is not None:
                copied += len(step.start.reuse.runs)
            if copied >= MOST_COPIED:
                break
        return steps

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
        if self._asked_of != operation.id:
            self._asked, self._asked_of = await self._all_asked(operation), operation.id
        self._heard.clear()
        began = self._clock.monotonic()
        news = await self._store.operations.news(operation.id, MOST)
        if news:
            self._asked_backoff.reset()
            return await self._step(operation, [Step(n=item.n, execution_id=item.execution_id) for item in news])
        took_s = (self._clock.monotonic() - began) / SECOND
        if not self._asked or not await self._hear():
            # Somebody else may have taken steps.
            return await self._store.operations.get(operation.workspace, operation.id)
        # They end one by one, and each look goes through all that are left.
        await asyncio.sleep(LOOK_REST * took_s)
        return operation

    async def _all_asked(self, operation: OperationRecord) -> frozenset[bytes]:
        found: set[bytes] = set()
        after = 0
        while page := await self._store.operations.items(
            operation.id, outcome=ItemOutcome.ASKED, after=after, limit=PAGE
        ):
            found.update(item.execution_id for item in page)
            after = page[-1].n
        return frozenset(found)

    async def _hear(self) -> bool:
        try:
            await asyncio.wait_for(self._heard.wait(), self._pace.pause(self._asked_backoff.pause_s()))
        except TimeoutError:
            return False
        return True

    async def _execute(self, command: Command) -> OperationRecord | None:
        answer: OperationRecord | None = await self._recorder.execute(command)
        return answer

    def _free_at(self) -> int:
        return self._clock.now() + self._lease
