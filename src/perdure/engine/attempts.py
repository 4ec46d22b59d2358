"""The attempts of one execution that are in flight here: beginning, ending, stopping them."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from perdure.base.clock import Alarm
from perdure.base.codec import INLINE_LIMIT, decode, encode
from perdure.base.ids import id_text
from perdure.engine.requests import StartRequest
from perdure.engine.shop import Shop
from perdure.engine.sink import AttemptSink
from perdure.engine.values import ValueRefused, inline, to_json
from perdure.engine.views import Views
from perdure.errors import CallerError
from perdure.flows.program import ExpressionFailed, Program, Rendered
from perdure.model.decide import attempt, wait
from perdure.model.decide.effects import Effect
from perdure.model.definition import OnInterrupt
from perdure.model.execution import ExecutionState, NodeRun
from perdure.model.failure import Failure
from perdure.model.states import NodeStatus
from perdure.nodes.flow import parse_flow_config
from perdure.nodes.interface import Call, NodeCrashed, NodeFailed, NodeOrphaned, NodeType
from perdure.nodes.sleep import sleep_until
from perdure.store.records import ArtifactRecord, ExecutionRecord, NewExecution

_STOPPED = Failure(code="cancelled", message="the attempt was stopped", retryable=False)


class Driver(Protocol):
    """The owner, as far as its attempts know it."""

    shop: Shop
    record: ExecutionRecord
    program: Program
    state: ExecutionState
    views: Views
    children: list[NewExecution]
    gone: bool
    draining: bool
    logs: Any

    @property
    def closed(self) -> bool: ...
    @property
    def careful(self) -> bool: ...
    @property
    def quarantined(self) -> bool: ...
    def feed(self, effects: Sequence[Effect]) -> None: ...
    def hold_launch(self, launch: Any) -> None: ...
    def hand_back(self, *, crashed: Failure | None = None) -> None: ...
    def attempt_ended(self) -> None: ...
    def tell(self, event: Any) -> None: ...
    def publish(self, artifact: ArtifactRecord, event: Any) -> None: ...


class Flight:
    """One attempt in flight. `ending` is why it is being stopped: None, cancelled or timed_out."""

    __slots__ = ("call", "ending", "task", "timer", "timer_at")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.task: asyncio.Task[None] | None = None
        self.timer: Alarm | None = None
        self.timer_at: int | None = None
        """When its timeout is over; code that blocks the loop keeps the timer itself from firing."""
        self.ending: NodeStatus | None = None


class Attempts:
    """Keeps a task for each attempt in flight; whatever ends becomes a fact for the owner."""

    def __init__(self, owner: Driver) -> None:
        self._owner = owner
        self._flights: dict[tuple[str, int, str], Flight] = {}
        self._others: set[asyncio.Task[None]] = set()
        self.items: dict[str, list[Any]] = {}
        """The items of each foreach that was prepared."""

    @property
    def pending(self) -> bool:
        """Whether something is under way that will become a fact."""
        return bool(self._flights or self._others)

    @property
    def in_flight(self) -> int:
        return len(self._flights)

    def launch(self, run: NodeRun) -> Sequence[Effect]:
        """Render the call and begin; a control type is carried out. The attempt is already written down as begun."""
        owner = self._owner
        now = owner.shop.clock.now()
        spec = attempt.spec_of(owner.state, run)
        try:
            rendered = self._render(run)
            run.input_value = None
            node_type = owner.shop.node_types.get(spec.type)
            if node_type is None:
                message = f"no node type {spec.type!r} is installed here"
                return self._fail(run, Failure(code="unknown_node_type", message=message, retryable=False))
            if spec.type == "sleep":
                return wait.suspended(owner.state, run, "timer", now, wake_at=sleep_until(rendered.config, now))
        except ExpressionFailed as error:
            return self._fail(run, error.failure)
        except ValueError as error:
            return self._fail(run, Failure(code="invalid_config", message=str(error), retryable=False))
        if spec.type == "flow":
            self.spawn(self._start_child(run, rendered))
            return ()
        call = self._call(run, rendered)
        if owner.careful or spec.on_interrupt is OnInterrupt.FAIL:
            owner.hold_launch(lambda: self._fly(run, node_type, call))
        else:
            self._fly(run, node_type, call)
        return ()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Something besides an attempt that the owner has to wait for."""
        task = self._owner.shop.loop.create_task(coroutine)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

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

    def abort(self) -> None:
        """Stop everything; nobody is told any more."""
        for flight in self._flights.values():
            if flight.timer is not None:
                flight.timer.cancel()
            if flight.task is not None and flight.ending is None:
                flight.ending = NodeStatus.CANCELLED
                flight.task.cancel()
        for task in self._others:
            task.cancel()

    def tasks(self) -> list[asyncio.Task[None]]:
        return [flight.task for flight in self._flights.values() if flight.task is not None]

    def _render(self, run: NodeRun) -> Rendered:
        owner = self._owner
        if run.compensates:
            scope = owner.views.of_node(run.node, **self._item(run))
            return owner.program.compensation(run.node, scope)
        return owner.program.call(run.node, owner.views.of_node(run.node, **self._item(run)))

    def _item(self, run: NodeRun) -> dict[str, Any]:
        if self._owner.state.nodes[run.node].spec.foreach is None:
            return {}
        items = self.items.get(run.node)
        if items is None:
            items = self.items[run.node] = self._owner.program.items(run.node, self._owner.views.of_node(run.node))
        return {"item": items[run.ordinal], "index": run.ordinal}

    def _call(self, run: NodeRun, rendered: Rendered) -> Call:
        owner, record = self._owner, self._owner.record
        spec = attempt.spec_of(owner.state, run)
        execution_id = id_text(record.id)
        return Call(
            execution_id=execution_id,
            execution_number=record.number,
            workspace=record.workspace,
            flow=record.flow,
            flow_version=record.flow_version,
            node=run.node,
            ordinal=run.ordinal,
            label=run.label,
            attempt=run.attempt,
            attempt_id=f"{execution_id}.{run.node}.{run.ordinal}.{run.label}.{run.attempt}.{record.epoch}",
            epoch=record.epoch,
            config=rendered.config,
            with_=rendered.with_,
            env=rendered.env,
            isolation=spec.isolation,
            grace_us=owner.shop.settings.grace,
            quarantine=owner.quarantined,
            sink=AttemptSink(owner, run),
        )

    def _fly(self, run: NodeRun, node_type: NodeType, call: Call) -> None:
        owner = self._owner
        if owner.closed or owner.state.running.get(run.key) is not run or run.key in self._flights:
            return
        flight = self._flights[run.key] = Flight(call)
        flight.task = owner.shop.loop.create_task(self._attempt(run, node_type, flight))
        timeout = attempt.spec_of(owner.state, run).timeout
        if timeout is not None:
            clock = owner.shop.clock
            flight.timer_at = clock.now() + timeout
            flight.timer = clock.call_at(flight.timer_at, self._timed_out, run, flight)

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
            if flight.timer_at is not None and self._owner.shop.clock.now() > flight.timer_at:
                flight.ending = NodeStatus.TIMED_OUT
                raise NodeFailed(_STOPPED)
            output = await self._output(run, returned)
        except NodeFailed as error:
            failure = error.failure
            orphaned, crashed = isinstance(error, NodeOrphaned), isinstance(error, NodeCrashed)
        except asyncio.CancelledError:
            failure = _STOPPED
        except ValueRefused as error:
            failure = error.failure
        except BaseException as error:
            failure = unexpected(error)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                self._land(run, flight)
                self._owner.feed(self._fail(run, failure))
                raise
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
        return self._fail(run, failure, status=status)

    def _ended_while_draining(self, run: NodeRun, flight: Flight, failure: Failure | None, output: Any) -> None:
        """A result that came in time is kept; what had to be stopped stays in flight for the next owner."""
        owner = self._owner
        if failure is None:
            owner.feed(attempt.succeeded(owner.state, run, output, owner.shop.clock.now()))
        elif flight.ending is None:
            owner.feed(self._fail(run, failure))
        owner.attempt_ended()

    def _ended_unbegun(self, run: NodeRun) -> None:
        owner = self._owner
        if not owner.closed and run.key in owner.state.running and run.key not in self._flights:
            owner.feed(self._fail(run, _STOPPED, status=NodeStatus.CANCELLED))

    def _fail(self, run: NodeRun, failure: Failure, *, status: NodeStatus = NodeStatus.FAILED) -> Sequence[Effect]:
        shop = self._owner.shop
        return attempt.failed(
            self._owner.state, run, failure, shop.clock.now(), status=status, jitter=shop.random.random()
        )

    async def _keep_input(self, run: NodeRun, call: Call) -> None:
        shown = call.with_ or call.config
        data = _masked(self._owner.shop, encode(shown))
        run.input_value = inline(data) if len(data) <= INLINE_LIMIT else await self._owner.shop.values.store(data)

    async def _output(self, run: NodeRun, output: Any) -> Any:
        """The output as plain JSON, its row's value ready (a blob is on disk before the row says so)."""
        if output is None:
            run.output_value = None
            return None
        data = to_json(output, f"what {run.node} returned")
        if len(data) <= INLINE_LIMIT:
            run.output_value = inline(data)
        else:
            run.output_value = await self._owner.shop.values.store(data)
        return decode(data)

    async def _start_child(self, run: NodeRun, rendered: Rendered) -> None:
        owner = self._owner
        effects: Sequence[Effect]
        try:
            target = parse_flow_config(rendered.config, rendered.with_)
            request = StartRequest(
                workspace=owner.record.workspace,
                flow=target.flow,
                version=target.version,
                input=target.input,
                trigger_kind="flow",
                trigger_id=id_text(owner.record.id),
            )
            child = await owner.shop.starts.child(request, parent=(owner.record, run))
        except (CallerError, ValueError) as error:
            code = error.code if isinstance(error, CallerError) else "invalid_config"
            details = (
                {"problems": [encode(p).decode() for p in error.problems]} if isinstance(error, CallerError) else None
            )
            if owner.closed:
                return
            effects = self._fail(run, Failure(code=code, message=str(error), retryable=False, details=details))
        else:
            if run.key not in owner.state.running or owner.closed:
                return
            owner.children.append(child)
            effects = wait.suspended(owner.state, run, "child", owner.shop.clock.now(), child=child.id)
        owner.feed(effects)


def _masked(shop: Shop, data: bytes) -> bytes:
    return shop.masker.mask(data.decode()).encode() if shop.masker else data


def unexpected(error: BaseException) -> Failure:
    """A node type let an exception through: recorded as the node's failure."""
    return Failure(
        code="node_failed",
        message=f"{type(error).__name__}: {error}",
        stack="".join(traceback.format_exception(error)),
        error_types=tuple(cls.__name__ for cls in type(error).__mro__[:-2]),
    )
