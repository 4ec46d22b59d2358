"""The attempts of one execution that are in flight here: beginning, ending, stopping them."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

import structlog

from perdure.base.clock import Alarm
from perdure.base.codec import INLINE_LIMIT, decode, encode
from perdure.engine.insist import insist
from perdure.engine.shop import Shop
from perdure.engine.values import ValueRefused, inline, to_json
from perdure.errors import StoreUnavailable
from perdure.model.decide import attempt
from perdure.model.decide.effects import Effect
from perdure.model.execution import ExecutionState, NodeRun
from perdure.model.failure import Failure
from perdure.model.states import NodeStatus
from perdure.nodes.interface import Call, NodeCrashed, NodeFailed, NodeOrphaned, NodeType, Sink
from perdure.store.records import ExecutionRecord, Value

log = structlog.get_logger(__name__)

_MASKED = (
    "the output holds the value of {}: it is masked in what is recorded and in what later nodes get; "
    "name the secret in the node that needs it"
)
_LEASE_PAUSE_S = 0.05
_STOPPED = Failure(code="cancelled", message="the attempt was stopped", retryable=False)


class Driver(Protocol):
    """The owner, as far as its attempts know it."""

    shop: Shop
    record: ExecutionRecord
    state: ExecutionState
    draining: bool

    @property
    def closed(self) -> bool: ...
    def feed(self, effects: Sequence[Effect]) -> None: ...
    def hand_back(self, *, crashed: Failure | None = None) -> None: ...
    def attempt_ended(self) -> None: ...


class Flight:
    """One attempt in flight. `ending` is why it is being stopped: None, cancelled or timed_out."""

    __slots__ = ("call", "ending", "keeping", "task", "timer", "timer_at")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.task: asyncio.Task[None] | None = None
        self.timer: Alarm | None = None
        self.timer_at: int | None = None
        """When its timeout is over, by the clock that nobody sets; code that blocks the loop keeps the timer from firing."""
        self.ending: NodeStatus | None = None
        self.keeping: list[asyncio.Task[None]] = []
        """Artifacts on their way to where they are kept."""

    def disarm(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.timer_at = None


class Attempts:
    """Keeps a task for each attempt in flight; whatever ends becomes a fact for the owner."""

    def __init__(self, owner: Driver) -> None:
        self._owner = owner
        self._flights: dict[tuple[str, int, str], Flight] = {}
        self._others: set[asyncio.Task[None]] = set()

    @property
    def pending(self) -> bool:
        """Whether something is under way that will become a fact."""
        return bool(self._flights or self._others)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Something besides an attempt that the owner has to wait for."""
        task = self._owner.shop.loop.create_task(coroutine)
        self._others.add(task)
        task.add_done_callback(self._other_ended)

    def _other_ended(self, task: asyncio.Task[None]) -> None:
        self._others.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # What it was for would never come: the next owner tries it again, and so often at most.
            log.error("an execution is handed back", execution=self._owner.record.id.hex(), exc_info=error)
            self._owner.hand_back(crashed=unexpected(error))
        self._owner.attempt_ended()

    def stop(self, run: NodeRun, *, force: bool, ending: NodeStatus = NodeStatus.CANCELLED) -> None:
        """Have the attempt stopped for certain; its end comes as a fact. Never begun ones end at once."""
        flight = self._flights.get(run.key)
        if flight is None:
            self._owner.shop.loop.call_soon(self._ended_unbegun, run)
            return
        hurried = force and flight.call.grace_us > 0
        if hurried:
            flight.call.grace_us = 0
        if flight.ending is None or hurried:
            flight.ending = flight.ending or ending
            assert flight.task is not None
            # Behind its first step: a task cancelled before that never runs, and its end would not be told.
            self._owner.shop.loop.call_soon(flight.task.cancel)

    def abort(self, *, at_once: bool = False) -> None:
        """Stop everything, `at_once` without grace, whatever was granted before; nobody is told any more."""
        for flight in self._flights.values():
            if flight.timer is not None:
                flight.timer.cancel()
            hurried = at_once and flight.call.grace_us > 0
            if hurried:
                flight.call.grace_us = 0
            if flight.task is not None and (flight.ending is None or hurried):
                flight.ending = flight.ending or NodeStatus.CANCELLED
                flight.task.cancel()
        for task in self._others:
            task.cancel()

    def tasks(self) -> list[asyncio.Task[None]]:
        return [flight.task for flight in self._flights.values() if flight.task is not None]

    def fly(self, run: NodeRun, node_type: NodeType, call: Call) -> None:
        """Begin the attempt, if it is still to be made; where the lease is in doubt, once it is sure."""
        owner = self._owner
        if owner.closed or owner.state.running.get(run.key) is not run or run.key in self._flights:
            return
        if not owner.shop.may_begin():
            # The lease may be over: either all of it is let go of in a moment, or a heartbeat gets through after all.
            owner.shop.loop.call_later(_LEASE_PAUSE_S, self.fly, run, node_type, call)
            return
        flight = self._flights[run.key] = Flight(call)
        flight.task = owner.shop.loop.create_task(self._attempt(run, node_type, flight))
        self.begin_timeout(run)

    def begin_timeout(self, run: NodeRun) -> None:
        """The attempt has its place, or needs none: its timeout counts from now on."""
        timeout = attempt.spec_of(self._owner.state, run).timeout
        flight = self._flights.get(run.key)
        if timeout is not None and flight is not None:
            flight.disarm()
            clock = self._owner.shop.clock
            flight.timer_at = clock.monotonic() + timeout
            flight.timer = clock.call_at(clock.now() + timeout, self._timed_out, run, flight)

    def hold_timeout(self, run: NodeRun) -> None:
        """The attempt waits for a place, which is not its fault."""
        flight = self._flights.get(run.key)
        if flight is not None:
            flight.disarm()

    def _timed_out(self, run: NodeRun, flight: Flight) -> None:
        if self._flights.get(run.key) is flight:
            self.stop(run, force=False, ending=NodeStatus.TIMED_OUT)

    async def _attempt(self, run: NodeRun, node_type: NodeType, flight: Flight) -> None:
        failure: Failure | None = None
        orphaned = crashed = False
        output: Any = None
        try:
            if flight.call.with_ or flight.call.config is not attempt.spec_of(self._owner.state, run).config:
                await self._keep_input(run, flight.call)
            returned = await node_type.run(flight.call)
            if flight.timer_at is not None and self._owner.shop.clock.monotonic() > flight.timer_at:
                flight.ending = NodeStatus.TIMED_OUT
                raise NodeFailed(_STOPPED)
            output = await self._output(run, returned, flight.call.sink)
        except NodeFailed as error:
            failure = error.failure
            orphaned, crashed = isinstance(error, NodeOrphaned), isinstance(error, NodeCrashed)
            if isinstance(error, NodeOrphaned) and error.lives is not None:
                self._left_behind(run, flight.call, error.lives)
        except asyncio.CancelledError:
            failure = _STOPPED
        except ValueRefused as error:
            failure = error.failure
        except BaseException as error:
            failure = unexpected(error)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                self._land(run, flight)
                self._owner.feed(self.fail(run, failure))
                raise
        if failure is not None:
            await self._lease_is_sure()
        failure = await self._keep_artifacts(flight, failure)
        self._land(run, flight)
        if self._owner.closed:
            return
        if self._owner.draining:
            self._ended_while_draining(run, flight, failure, output)
        elif crashed and failure is not None:
            self._owner.hand_back(crashed=failure.at(node=run.node, ordinal=run.ordinal, attempt=run.attempt))
        elif failure is None:
            now = self._owner.shop.clock.now()
            self._owner.feed(attempt.succeeded(self._owner.state, run, output, now))
        else:
            self._owner.feed(self._ended_badly(run, flight, failure, orphaned=orphaned))

    async def _lease_is_sure(self) -> None:
        """What failed when the lease was over may have been killed for that: no failure then, and let go of in a moment."""
        with contextlib.suppress(asyncio.CancelledError):
            while not self._owner.closed and not self._owner.shop.may_begin():  # noqa: ASYNC110 (a thread decides)
                await asyncio.sleep(_LEASE_PAUSE_S)

    def keep(self, run: NodeRun, work: Coroutine[Any, Any, None]) -> None:
        """Have an artifact kept; the attempt does not end before."""
        flight = self._flights.get(run.key)
        if flight is None:
            work.close()
            return
        flight.keeping.append(self._owner.shop.loop.create_task(work))

    async def _keep_artifacts(self, flight: Flight, failure: Failure | None) -> Failure | None:
        """The attempt's failure once its artifacts are where others find them, or could not be brought there."""
        if not flight.keeping:
            return failure
        try:
            if self._owner.closed:
                raise asyncio.CancelledError
            done = await asyncio.gather(*flight.keeping, return_exceptions=True)
        except asyncio.CancelledError:
            for task in flight.keeping:
                task.cancel()
            return _STOPPED
        errors = [error for error in done if isinstance(error, BaseException)]
        if failure is None and errors:
            failure = Failure(code="artifact_not_stored", message=f"an artifact could not be stored: {errors[0]}")
        return failure

    def _left_behind(self, run: NodeRun, call: Call, lives: Callable[[], bool]) -> None:
        """Whoever owns the execution by now, what could not be stopped burdens this process."""
        self._owner.shop.orphans.add(
            self._owner.record.id, node=run.node, ordinal=run.ordinal, attempt=call.attempt, lives=lives
        )

    def _land(self, run: NodeRun, flight: Flight) -> None:
        if flight.timer is not None:
            flight.timer.cancel()
        self._flights.pop(run.key, None)

    def _ended_badly(self, run: NodeRun, flight: Flight, failure: Failure, *, orphaned: bool) -> Sequence[Effect]:
        status = NodeStatus.FAILED
        if orphaned:
            status = NodeStatus.ORPHANED
        elif flight.ending is NodeStatus.TIMED_OUT:
            timeout = attempt.spec_of(self._owner.state, run).timeout or 0
            failure = Failure(code="timeout", message=f"the attempt took longer than {timeout / 1_000_000:g} s")
            status = NodeStatus.TIMED_OUT
        elif flight.ending is NodeStatus.CANCELLED:
            failure, status = _STOPPED, NodeStatus.CANCELLED
        return self.fail(run, failure, status=status)

    def _ended_while_draining(self, run: NodeRun, flight: Flight, failure: Failure | None, output: Any) -> None:
        """A result that came in time is kept; what had to be stopped stays in flight for the next owner."""
        owner = self._owner
        if failure is None:
            owner.feed(attempt.succeeded(owner.state, run, output, owner.shop.clock.now()))
        elif flight.ending is None:
            owner.feed(self.fail(run, failure))
        owner.attempt_ended()

    def _ended_unbegun(self, run: NodeRun) -> None:
        owner = self._owner
        if not owner.closed and run.key in owner.state.running and run.key not in self._flights:
            owner.feed(self.fail(run, _STOPPED, status=NodeStatus.CANCELLED))

    def fail(self, run: NodeRun, failure: Failure, *, status: NodeStatus = NodeStatus.FAILED) -> Sequence[Effect]:
        """The decision that its attempt ended badly; secrets are masked in it."""
        shop = self._owner.shop
        return attempt.failed(
            self._owner.state,
            run,
            shop.masker.failure(failure.recordable()),
            shop.clock.now(),
            status=status,
            jitter=shop.random.random(),
        )

    async def _keep_input(self, run: NodeRun, call: Call) -> None:
        data = self._owner.shop.masker.input(call.with_ or call.config)
        run.input_value = inline(data) if len(data) <= INLINE_LIMIT else await self.store(data)

    async def _output(self, run: NodeRun, output: Any, sink: Sink) -> Any:
        """The output as plain JSON, its row's value ready (a blob is on disk before the row says so).

        What is recorded is what later nodes get, before a crash and behind it: secrets are masked in both.
        """
        if output is None:
            run.output_value = None
            return None
        data = to_json(output, f"what {run.node} returned")
        masker = self._owner.shop.masker
        names = masker.names_in(data)
        if names:
            sink.log("warning", _MASKED.format(" and ".join(f"${{secrets.{name}}}" for name in names)))
            data = encode(masker.value(decode(data)))
        if len(data) <= INLINE_LIMIT:
            run.output_value = inline(data)
        else:
            run.output_value = await self.store(data)
        return decode(data)

    async def store(self, data: bytes) -> Value:
        """At rest, however long a store is away; where there is no room for it, the node fails and says so."""
        return await insist(lambda: self._owner.shop.values.store(data), passing=(StoreUnavailable,))


def unexpected(error: BaseException) -> Failure:
    """A node type let an exception through: recorded as the node's failure."""
    return Failure(
        code="node_failed",
        message=f"{type(error).__name__}: {error}",
        stack="".join(traceback.format_exception(error)),
        error_types=tuple(cls.__name__ for cls in type(error).__mro__[:-2]),
    )
