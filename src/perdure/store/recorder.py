"""Group commit: one per process collects what is to be written and commits it batch by batch.

Owners mark themselves dirty (`advance`) and callers await commands (`execute`). When no batch is
being written, all that became ready in the present turn of the loop goes into one
batch; while that is being fsync'd, the next one fills. Batches never overlap, so the advances of
one execution keep their order.

When the store cannot take a batch (full, locked, gone), its commands are answered with the error,
and its advances are kept and tried again until they are in: what owners did must not be lost.
When it is not known whether a batch is in, the whole of it is given to the store again until that
is known; commands that come meanwhile are refused.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

from perdure.base.backoff import Backoff
from perdure.errors import (
    CommitUnknown,
    RowRefused,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreIncompatible,
    StoreUnavailable,
)
from perdure.store.commands import Command, OutsideCommand, ProbeSpace, PutFlows, StartExecutions
from perdure.store.faults import reach
from perdure.store.interface import Advanced, Batch, BatchOutcome, Lost, Store
from perdure.store.records import Advance

MOST_ADVANCES = 2_000
MOST_ROWS = 20_000
MOST_OUTSIDE = 100
"""Commands in one batch that are carried out one by one: for so long others wait for the rows that it has locked."""
CLOSE_PATIENCE_S = 10.0
COMMIT_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

_PERMANENT = (StoreDamaged, StoreIncompatible, RowRefused)


class Source(Protocol):
    """An owner with something to write."""

    def drain(self) -> Advance | None:
        """All that is to be written now, or None; called when a batch is put together."""
        ...

    def committed(self, outcome: Advanced | Lost | Exception) -> None:
        """What became of the advance drained last; called on the event loop, after the commit."""
        ...


Listener = Callable[[BatchOutcome], None]
"""Told once per batch, after those who waited for its entries: events, deliveries, due times."""


class RecorderStats(msgspec.Struct):
    """Counts since the start; `commit_counts` are per bucket of `COMMIT_BUCKETS_S`, the last one beyond them.

    `sizes` are batches by the number of their entries, advances and commands alike.
    """

    batches: int = 0
    advances: int = 0
    commands: int = 0
    lost: int = 0
    refused: int = 0
    failures: int = 0
    commit_s_sum: float = 0.0
    last_commit_s: float = 0.0
    commit_counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(COMMIT_BUCKETS_S) + 1))
    sizes: Counter[int] = msgspec.field(default_factory=Counter)

    def note_commit(self, seconds: float, *, entries: int) -> None:
        self.batches += 1
        self.sizes[entries] += 1
        self.commit_s_sum += seconds
        self.last_commit_s = seconds
        self.commit_counts[bisect_left(COMMIT_BUCKETS_S, seconds)] += 1


class _Pending(msgspec.Struct):
    """A batch on its way, with those who wait for it."""

    batch: Batch
    sources: list[Source]
    waiters: list[asyncio.Future[Any]]


class Recorder:
    """Used from one event loop; `close` flushes what is left."""

    def __init__(self, store: Store, *, listener: Listener | None = None) -> None:
        self.stats = RecorderStats()
        self._store = store
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._dirty: dict[Source, None] = {}
        self._commands: deque[tuple[Command, asyncio.Future[Any]]] = deque()
        self._kept: _Pending | None = None
        self._is_writing = False
        self._flush_handle: asyncio.Handle | None = None
        self._retry_handle: asyncio.TimerHandle | None = None
        self._backoff = Backoff(first_s=0.05)
        self._closing = False
        self._give_up = False
        self._trouble: StoreError | None = None
        self._full: StoreFull | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._writing: asyncio.Task[None] | None = None

    @property
    def trouble(self) -> StoreError | None:
        """Why nothing can be written at present; None when all is well. A full disk counts until a start or a probe was written."""
        return self._trouble or self._full

    def advance(self, source: Source) -> None:
        """Have the source drained into the next batch."""
        self._dirty[source] = None
        self._schedule()

    async def execute(self, command: Command) -> Any:
        """Carry out a command durably; what it answers with is told in `perdure.store.commands`.

        Raises `StoreError` when it cannot be written now (then nothing of it was), `CallerError` as the
        command says.
        """
        return await self.submit(command)

    def submit(self, command: Command) -> asyncio.Future[Any]:
        """As `execute`, for who has to hear of the answer even when nobody waits for it any more."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._closing:
            future.set_exception(StoreUnavailable("the store is being closed"))
        elif isinstance(self._trouble, CommitUnknown):
            future.set_exception(StoreUnavailable(self._trouble.message, **self._trouble.details))
        else:
            self._commands.append((command, future))
            self._schedule()
        return future

    async def close(self) -> None:
        """Write what is left, for a bounded time."""
        self._closing = True
        try:
            async with asyncio.timeout(CLOSE_PATIENCE_S):
                await self._idle.wait()
        except TimeoutError:
            self._give_up = True
            if self._retry_handle is not None:
                self._retry_handle.cancel()
                self._flush()
            await self._idle.wait()

    def _schedule(self) -> None:
        """At the end of this turn of the loop, so that all that becomes ready in it goes together."""
        self._idle.clear()
        if not self._is_writing and self._flush_handle is None:
            self._flush_handle = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_handle = None
        if self._is_writing:
            return
        if self._retry_handle is not None:
            if not self._commands and not self._give_up:
                return
            self._retry_handle.cancel()
            self._retry_handle = None
        pending = self._assemble()
        if pending is None:
            self._idle.set()
            return
        self._is_writing = True
        self._writing = self._loop.create_task(self._write(pending))

    def _retry(self) -> None:
        self._retry_handle = None
        self._flush()

    def _assemble(self) -> _Pending | None:
        """The next batch: what was kept from a failed one goes first, and alone but for commands."""
        pending, self._kept = self._kept, None
        if pending is None:
            pending = _Pending(Batch(advances=[], commands=[]), [], [])
            self._drain_into(pending)
        rows = sum(map(_weight, pending.batch.advances))
        while self._commands and rows < MOST_ROWS:
            command, future = self._commands.popleft()
            if not future.cancelled():
                pending.batch.commands.append(command)
                pending.waiters.append(future)
                rows += _command_weight(command)
        return pending if pending.sources or pending.waiters else None

    def _drain_into(self, pending: _Pending) -> None:
        rows = 0
        while self._dirty and len(pending.sources) < MOST_ADVANCES and rows < MOST_ROWS:
            source = next(iter(self._dirty))
            del self._dirty[source]
            advance = source.drain()
            if advance is not None:
                rows += _weight(advance)
                pending.batch.advances.append(advance)
                pending.sources.append(source)

    async def _write(self, pending: _Pending) -> None:
        began = time.perf_counter()
        outcome: BatchOutcome | Exception
        try:
            outcome = await self._store.write(pending.batch)
        except Exception as error:
            outcome = error
        self._done(pending, outcome, time.perf_counter() - began)

    def _done(self, pending: _Pending, outcome: BatchOutcome | Exception, seconds: float) -> None:
        self._is_writing = False
        reach("before_reply")
        if isinstance(outcome, BatchOutcome):
            self._trouble = None
            # Others may have needed no space.
            if any(isinstance(command, ProbeSpace | StartExecutions) for command in pending.batch.commands):
                self._full = None
            self._backoff.reset()
            self._count(outcome, seconds)
            self._answer(pending, outcome)
        else:
            self.stats.failures += 1
            self._fail(pending, outcome)
        if self._dirty or self._commands or self._kept is not None:
            self._schedule()
        elif self._flush_handle is None:
            self._idle.set()

    def _count(self, outcome: BatchOutcome, seconds: float) -> None:
        stats = self.stats
        stats.note_commit(seconds, entries=len(outcome.advances) + len(outcome.results))
        stats.advances += len(outcome.advances)
        stats.commands += len(outcome.results)
        stats.lost += sum(isinstance(one, Lost) for one in outcome.advances)
        stats.refused += sum(isinstance(one, RowRefused) for one in outcome.advances)

    def _answer(self, pending: _Pending, outcome: BatchOutcome) -> None:
        for source, result in zip(pending.sources, outcome.advances, strict=True):
            self._tell(source.committed, result)
        for future, answer in zip(pending.waiters, outcome.results, strict=True):
            _settle(future, answer)
        if self._listener is not None:
            self._tell(self._listener, outcome)

    def _fail(self, pending: _Pending, error: Exception) -> None:
        """Commands are answered; advances are kept, unless the store is beyond hope."""
        self._trouble = error if isinstance(error, StoreError) else None
        self._full = error if isinstance(error, StoreFull) else self._full
        if isinstance(error, CommitUnknown) and not self._give_up:
            # Whoever waits goes on waiting, for what he asked for may be done.
            self._refuse_commands(StoreUnavailable(error.message, **error.details))
            self._keep(pending)
            return
        for future in pending.waiters:
            if not future.done():
                future.set_exception(error)
        if not pending.sources:
            return
        hopeless = isinstance(error, _PERMANENT) or not isinstance(error, StoreError)
        if hopeless or self._give_up:
            for source in pending.sources:
                self._tell(source.committed, error)
            return
        self._keep(_Pending(Batch(advances=pending.batch.advances, commands=[]), pending.sources, []))

    def _keep(self, pending: _Pending) -> None:
        """For another try, a little later each time."""
        self._kept = pending
        self._retry_handle = self._loop.call_later(self._backoff.pause_s(), self._retry)

    def _refuse_commands(self, error: StoreError) -> None:
        while self._commands:
            _, future = self._commands.popleft()
            if not future.done():
                future.set_exception(error)

    def _tell(self, callback: Callable[[Any], None], outcome: Any) -> None:
        """One who fails to listen does not keep the others from hearing."""
        try:
            callback(outcome)
        except Exception as error:
            self._loop.call_exception_handler({"message": "a listener of the recorder failed", "exception": error})


def _settle(future: asyncio.Future[Any], answer: Any) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _weight(advance: Advance) -> int:
    """About how many rows it brings."""
    return 2 + len(advance.node_runs) + len(advance.events) // 8 + 6 * len(advance.children) + len(advance.artifacts)


def _command_weight(command: Command) -> int:
    if isinstance(command, OutsideCommand):
        return MOST_ROWS // MOST_OUTSIDE
    if isinstance(command, PutFlows):
        return 4 * len(command.flows)
    sized: Iterable[Any] = getattr(command, "executions", ())
    return sum(6 + (0 if new.reuse is None else len(new.reuse.runs)) for new in sized) + 1
