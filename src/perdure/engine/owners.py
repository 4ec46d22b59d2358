"""All executions that this process owns, and the messages on their way to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from perdure.base.codec import decode
from perdure.engine.catalog import Catalog
from perdure.engine.inbox import receive
from perdure.engine.owner import Owner
from perdure.engine.refusal import Refusal
from perdure.engine.restore import restore_runs
from perdure.engine.shop import Shop
from perdure.engine.units import runnable
from perdure.flows.program import Program, Runnable
from perdure.store.records import Claimed, ExecutionRecord, Message, NewExecution, Started

log = structlog.get_logger(__name__)

_DEAD_S = 5.0
"""Besides the grace, for attempts to be dead for certain."""
_HANDED_BACK_S = 10.0


class Owners:
    """By execution id; used on the loop only."""

    def __init__(self, shop: Shop, catalog: Catalog, *, on_free: Callable[[Owner], None]) -> None:
        self._shop = shop
        self._catalog = catalog
        self._on_free = on_free
        self._owners: dict[bytes, Owner] = {}
        self._empty = asyncio.Event()
        self._hurry = asyncio.Event()
        self._winding_up = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self.reserved = 0

    def __len__(self) -> int:
        return len(self._owners)

    def get(self, id_: bytes) -> Owner | None:
        return self._owners.get(id_)

    def unreserve(self, count: int) -> None:
        self.reserved -= count

    def begin(self, execution: NewExecution, program: Program, started: Started, input_: Any) -> None:
        """Own a fresh start that was inserted already claimed."""
        record = ExecutionRecord(
            id=execution.id, number=started.number, workspace=execution.workspace,
            namespace=program.flow.namespace, flow=execution.flow, flow_version=execution.flow_version,
            status=started.status, priority=execution.priority, queue=execution.queue, tags=execution.tags,
            trigger_kind=execution.trigger_kind, trigger_id=execution.trigger_id,
            trigger_context=execution.trigger_context, parent=execution.parent, root=execution.root,
            depth=execution.depth, worker=self._shop.worker, epoch=started.epoch, last_seq=started.last_seq,
            has_cleanup=execution.has_cleanup, max_recoveries=execution.max_recoveries,
            created_at=execution.created_at, started_at=execution.created_at, updated_at=execution.created_at,
            deadline_at=execution.deadline_at,
        )  # fmt: skip
        if execution.claim_by != self._shop.worker:
            # Let go of since: others have it, or will.
            return
        text = execution.input.text
        owner = self._add(record, program, decode(text) if text is not None else input_)
        owner.begin()
        if self._winding_up:
            owner.wind_up()

    async def take(self, claimed: Sequence[Claimed]) -> None:
        """Own what was claimed."""
        for item in claimed:
            try:
                await self._resume(item)
            except Exception as error:
                log.exception("an execution could not be taken up", execution=item.record.id.hex())
                owner = self._owners.get(item.record.id)
                if owner is not None:
                    owner.leave()
                self._shop.recorder.advance(Refusal(item.record, error, self._shop.clock.now()))

    async def _resume(self, claimed: Claimed) -> None:
        record = claimed.record
        _, program = await self._catalog.program(record.workspace, record.flow, record.flow_version)
        input_ = await self._shop.values.load(claimed.payload.input)
        runs = await restore_runs(claimed, self._shop.values)
        if record.worker != self._shop.worker:
            return
        owner = self._add(record, runnable(record, program, input_), input_)
        owner.reading = True
        owner.resume(runs)
        await self._receive(owner, claimed.messages)
        owner.reading = False
        owner.settle()
        if self._winding_up:
            owner.wind_up()

    def _add(self, record: ExecutionRecord, program: Runnable, input_: Any) -> Owner:
        owner = Owner(self._shop, record, program, input_=input_, on_gone=self._gone)
        self._owners[record.id] = owner
        self._empty.clear()
        return owner

    def _gone(self, owner: Owner) -> None:
        if self._owners.get(owner.record.id) is owner:
            del self._owners[owner.record.id]
        if not self._owners:
            self._empty.set()
        self._on_free(owner)

    # Messages

    def deliver_soon(self, ids: Sequence[bytes]) -> None:
        present = [id_ for id_ in ids if id_ in self._owners]
        if present:
            task = self._shop.loop.create_task(self.deliver(present))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def deliver(self, ids: Sequence[bytes]) -> None:
        """Read the inboxes of owned executions and hand the messages over."""
        present = [id_ for id_ in ids if id_ in self._owners]
        if not present:
            return
        inboxes = await self._shop.store.messages(present)
        for id_, messages in inboxes.items():
            owner = self._owners.get(id_)
            if owner is not None and messages:
                await self._receive(owner, messages)

    async def _receive(self, owner: Owner, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.n > owner.last_message and not owner.closed:
                owner.last_message = message.n
                await receive(owner, message)

    async def deliver_all(self) -> None:
        """Read the inboxes of all that is owned."""
        await self.deliver([*self._owners])

    async def leave_all(self) -> None:
        """Let go of everything at once: what still runs is killed, what was not handed to the recorder is dropped.

        Returns when all of it is dead; what cannot be killed is an orphan by then.
        """
        tasks = [task for owner in self._owners.values() for task in owner.attempts.tasks()]
        for owner in [*self._owners.values()]:
            owner.leave(at_once=True)
        if tasks:
            await asyncio.wait(tasks)

    # Draining

    async def wind_up(self, drain_s: float) -> None:
        """Let attempts in flight end within the time, stop the rest, and hand everything back."""
        self._winding_up = True
        for owner in [*self._owners.values()]:
            owner.wind_up()
        await self._empty_within(drain_s)
        tasks = [task for owner in self._owners.values() for task in owner.attempts.tasks()]
        for owner in [*self._owners.values()]:
            owner.hand_back()
        if tasks:
            await asyncio.wait(tasks, timeout=self._shop.settings.grace / 1_000_000 + _DEAD_S)
        self._hurry.clear()
        if not await self._empty_within(_HANDED_BACK_S):
            log.warning("executions could not be handed back", executions=len(self._owners))

    def hurry(self) -> None:
        """End the drain time now."""
        self._hurry.set()
        self._empty.set()

    async def _empty_within(self, seconds: float) -> bool:
        """Whether nothing is owned any more, at the latest after that time or when hurried."""
        try:
            async with asyncio.timeout(seconds):
                while self._owners and not self._hurry.is_set():
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            pass
        return not self._owners
