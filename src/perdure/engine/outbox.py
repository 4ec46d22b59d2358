"""What one execution has to write: gathered until the recorder fetches it, followed up once it is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from perdure.engine.advances import build_advance, build_refused
from perdure.engine.shop import Shop
from perdure.engine.sink import FLUSH_BYTES, FLUSH_S, LogBuffer
from perdure.model.decide.effects import Effect
from perdure.model.event import Event
from perdure.model.execution import ExecutionState
from perdure.model.failure import Failure
from perdure.model.states import NodeStatus
from perdure.store.interface import Advanced, Lost
from perdure.store.records import Advance, ArtifactRecord, ExecutionRecord, NewExecution, NodeRunRecord, Value

_REFUSALS_TAKEN = 2
"""After the first the execution ends with its open runs, after the second without any row of a run."""


class Author(Protocol):
    """The owner, as far as its outbox knows it."""

    def go_on(self, effects: Sequence[Effect], launches: Sequence[Callable[[], None]]) -> None:
        """What these waited for is durable."""

    def stop_attempts(self) -> None:
        """The execution ends without them."""

    def leave(self, *, at_once: bool = False) -> None:
        """Ownership is over; with `at_once` somebody else has it."""


class Outbox:
    """The recorder's source of one owner; used on the loop only."""

    def __init__(self, shop: Shop, record: ExecutionRecord, state: ExecutionState, author: Author) -> None:
        self.shop = shop
        self.record = record
        self.state = state
        self.gone = False
        """Ownership is over: nothing is written any more."""
        self.releasing = False
        """Ownership ends with the next commit."""
        self.handing_back = False
        """It does so for another owner to go on."""
        self.crashes = record.crashes
        self.logs = LogBuffer()
        self.children: list[NewExecution] = []
        self.cancel_children: list[bytes] = []
        self.artifacts: list[ArtifactRecord] = []
        self.consumed: list[int] = []
        """Messages whose consequences are among the changes."""
        self.output_value: Value | None = None
        self.held: list[Effect] = []
        """Effects that wait until everything up to now is durable."""
        self.held_launches: list[Callable[[], None]] = []
        """Likewise, attempts."""
        self.committing_results = False
        self.committed_status = record.status
        """What the store holds before the next advance."""
        self._author = author
        self._committing: list[Effect] = []
        self._committing_launches: list[Callable[[], None]] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._committing_waiters: list[asyncio.Future[None]] = []
        self._marked = False
        self._sent_status = record.status
        self._sent_release = False
        self._sent_runs: Sequence[NodeRunRecord] = ()
        self._refusals = 0

    @property
    def has_held(self) -> bool:
        """Whether something is to go on with the next commit, or with the one under way."""
        return bool(self.held or self._committing or self.held_launches or self._committing_launches)

    def settle(self) -> None:
        """After every fact: make sure that changes get committed, at once only where something waits for it."""
        changes = self.state.changes
        if (
            changes.result
            or self.releasing
            or self.held_launches
            or self.consumed
            or self.children
            or self.artifacts
            or self.state.status is not self._sent_status
        ):
            self.mark()
        elif changes.events:
            self.shop.later.mark(self)

    def mark(self) -> None:
        """Have the recorder fetch the changes with its next batch."""
        if not self._marked and not self.gone:
            self._marked = True
            self.shop.recorder.advance(self)

    async def durable(self) -> None:
        """Return when all that is decided by now is committed, or ownership is over."""
        if self.gone:
            return
        future = self.shop.loop.create_future()
        self._waiters.append(future)
        self.mark()
        await future

    def close(self) -> None:
        """Ownership is over; nobody waits in vain."""
        self.gone = True
        self._tell_waiters(self._waiters)
        self._tell_waiters(self._committing_waiters)
        if self.logs.free is not None:
            self.logs.free.set()

    # Telling

    def tell(self, event: Event) -> None:
        """Logs and progress: committed at the latest after 100 ms or 64 KiB, or with whatever comes first."""
        if self.gone:
            return
        self.state.changes.events.append(event)
        if self.logs.unflushed >= FLUSH_BYTES:
            self.mark()
        elif not self.logs.scheduled:
            self.logs.scheduled = True
            self.shop.loop.call_later(FLUSH_S, self._flush_logs)

    def _flush_logs(self) -> None:
        self.logs.scheduled = False
        if self.state.changes.events:
            self.mark()

    def publish(self, artifact: ArtifactRecord, event: Event) -> None:
        if not self.gone:
            self.artifacts.append(artifact)
            self.state.changes.events.append(event)
            self.mark()

    # The recorder's side

    def drain(self) -> Advance | None:
        """The recorder fetches what is to be written (its side of the bargain: see `Recorder`)."""
        self._marked = False
        self.shop.later.forget(self)
        if self.gone:
            return None
        if self._refusals:
            self._sent_release = True
            return build_refused(self, instead_of=self._sent_runs if self._refusals == 1 else None)
        self._committing, self.held = self.held, []
        self._committing_launches, self.held_launches = self.held_launches, []
        self._committing_waiters, self._waiters = self._waiters, []
        self.committing_results = self.state.changes.result
        self.logs.committing += self.logs.unflushed
        self.logs.unflushed = 0
        if any(run.status is NodeStatus.COMPLETED for run in self.state.changes.node_runs.values()):
            self.crashes = 0
        advance = build_advance(self, release=self.releasing)
        self._sent_status = advance.status
        self._sent_runs = advance.node_runs
        self._sent_release = self.releasing
        return advance

    def committed(self, outcome: Advanced | Lost | Exception) -> None:
        """The recorder tells what became of the last drain."""
        if self.gone:
            return
        self.committing_results = False
        if isinstance(outcome, Lost):
            self._author.leave(at_once=True)
            return
        if isinstance(outcome, Exception):
            self._fail_refused(outcome)
            return
        self.committed_status = self._sent_status
        self._tell_waiters(self._committing_waiters)
        self.logs.committed()
        if self._sent_release:
            self._author.leave()
            return
        launches, self._committing_launches = self._committing_launches, []
        effects, self._committing = self._committing, []
        self._author.go_on(effects, launches)
        if self.held:
            self.mark()

    def _fail_refused(self, error: Exception) -> None:
        """The database refused a row of ours: the execution ends by itself, with nothing but that fact."""
        self._refusals += 1
        if self._refusals > _REFUSALS_TAKEN:
            self._author.leave()
            return
        self._author.stop_attempts()
        self.state.error = Failure(code="row_refused", message=f"the store refused a result: {error}", retryable=False)
        self.mark()

    @staticmethod
    def _tell_waiters(waiters: list[asyncio.Future[None]]) -> None:
        for future in waiters:
            if not future.done():
                future.set_result(None)
        waiters.clear()
