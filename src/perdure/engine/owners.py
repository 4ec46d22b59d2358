"""All executions that this process owns, and the messages on their way to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from perdure.base.codec import decode
from perdure.base.ids import id_text
from perdure.engine.catalog import Catalog
from perdure.engine.inbox import receive
from perdure.engine.insist import PASSING, NotNeeded, insist
from perdure.engine.owner import Owner
from perdure.engine.refusal import Refusal
from perdure.engine.restore import restore_runs
from perdure.engine.shop import Shop
from perdure.engine.units import runnable
from perdure.flows.program import Program, Runnable
from perdure.model.answer import PAUSE
from perdure.store.records import Claimed, ExecutionRecord, Message, NewExecution, Started

log = structlog.get_logger(__name__)

_DEAD_S = 5.0
"""Besides the grace, for attempts to be dead for certain."""
_HANDED_BACK_S = 10.0


class Owners:
    """By execution id; used on the loop only."""

    def __init__(self, shop: Shop, catalog: Catalog, *, on_free: Callable[[], None]) -> None:
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
            except PASSING:
                # The others need not wait for what this one lacks.
                self._go_on(self._resume_later(item))
            except Exception as error:
                self._refuse(item, error)

    async def _resume_later(self, claimed: Claimed) -> None:
        """It keeps its slot until the store has answered, or its claim is over."""
        self.reserved += 1
        try:
            await insist(lambda: self._resume(claimed), needed=lambda: self._may_resume(claimed))
        except NotNeeded:
            log.info("an execution is left to others", execution=claimed.record.id.hex())
        except Exception as error:
            self._refuse(claimed, error)
        finally:
            self.reserved -= 1

    def _may_resume(self, claimed: Claimed) -> bool:
        return claimed.record.worker == self._shop.worker and not self._winding_up

    def _refuse(self, claimed: Claimed, error: Exception) -> None:
        """It fails with the reason: nobody else could read it either."""
        log.error("an execution could not be taken up", execution=claimed.record.id.hex(), exc_info=error)
        owner = self._owners.get(claimed.record.id)
        if owner is not None:
            owner.leave()
        self._shop.recorder.advance(Refusal(claimed.record, error, self._shop.clock.now()))

    async def _resume(self, claimed: Claimed) -> None:
        record = claimed.record
        _, program = await self._catalog.program(record.workspace, record.flow, record.flow_version)
        input_ = await self._shop.values.load(claimed.payload.input)
        runs = await restore_runs(claimed, self._shop.values)
        if record.worker != self._shop.worker:
            return
        owner = self._add(record, runnable(record, program, input_), input_)
        if claimed.messages:
            owner.reading = True
            # Its first step comes before that of any attempt; what it has to wait for holds up no other execution.
            self._go_on(self._read(owner, claimed))
        owner.state.paused = any(wait.kind == PAUSE for wait in claimed.waits)
        replay = claimed.payload.replay
        owner.retried = () if replay is None else replay.children
        owner.resume(runs, whole=() if replay is None else replay.whole)
        if self._winding_up:
            owner.wind_up()

    async def _read(self, owner: Owner, claimed: Claimed) -> None:
        """The messages that came with the claim."""
        try:
            await self._receive(owner, claimed.messages)
            owner.reading = False
            if not owner.closed:
                owner.settle()
        except Exception as error:
            self._refuse(claimed, error)

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
        self._on_free()

    # Messages

    def deliver_soon(self, ids: Sequence[bytes]) -> None:
        present = [id_ for id_ in ids if id_ in self._owners]
        if present:
            self._go_on(self._deliver_surely(present))

    async def _deliver_surely(self, ids: Sequence[bytes]) -> None:
        """Nobody else may look into these inboxes for a long time."""
        with contextlib.suppress(NotNeeded):
            await insist(lambda: self.deliver(ids), needed=lambda: any(id_ in self._owners for id_ in ids))

    async def note(self, id_: bytes) -> None:
        """If it is owned here, its owner has durably taken note of what was sent to it."""
        await self.deliver([id_])
        owner = self.get(id_)
        if owner is not None:
            await owner.outbox.durable()

    async def deliver(self, ids: Sequence[bytes]) -> None:
        """Read the inboxes of owned executions and hand the messages over."""
        present = [id_ for id_ in ids if id_ in self._owners]
        if not present:
            return
        inboxes = await self._shop.store.messages(present)
        for id_, messages in inboxes.items():
            owner = self._owners.get(id_)
            if owner is not None and messages:
                try:
                    await self._receive(owner, messages)
                except Exception as error:
                    log.error("a message could not be read", execution=id_text(id_), exc_info=error)
                    # Whoever takes the execution up reads it again, and fails the execution by what is committed then.
                    owner.hand_back()

    async def _receive(self, owner: Owner, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.n > owner.last_message and not owner.closed:
                owner.last_message = message.n
                await receive(owner, message)

    def _go_on(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._shop.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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
        for task in self._tasks:
            task.cancel()

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
