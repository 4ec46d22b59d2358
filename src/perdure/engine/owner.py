"""One execution in its owner's hands: facts go in, decisions come out, changes go to the recorder."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import convert

from perdure.base.clock import Alarm
from perdure.base.codec import INLINE_LIMIT, decode, encode_text
from perdure.engine.advances import build_advance
from perdure.engine.attempts import Attempts
from perdure.engine.shop import Shop
from perdure.engine.sink import FLUSH_BYTES, FLUSH_S, LogBuffer
from perdure.engine.values import ValueRefused, inline, to_json
from perdure.engine.views import Views
from perdure.flows.program import ExpressionFailed, Program
from perdure.model.decide import attempt, graph, lifecycle, stop, wait
from perdure.model.decide.effects import (
    CancelChild,
    Effect,
    EvaluateOutput,
    LimitCleanup,
    Prepare,
    RunAttempt,
    StopAttempt,
    WakeAt,
    awaits_commit,
)
from perdure.model.decide.record import end_run, told
from perdure.model.event import Event, EventType
from perdure.model.execution import ExecutionState, NodeRun
from perdure.model.failure import Failure
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.interface import Advanced, Lost
from perdure.store.records import Advance, ArtifactRecord, ExecutionRecord, NewExecution, NodeRunRecord, Value

ABANDONED_CODE = "recoveries_exhausted"
_REFUSALS_TAKEN = 2
"""After the first the execution ends with its open runs, after the second without any row of a run."""


class Owner:
    """Drives one execution. Lives on the loop; `on_gone` is told once, when ownership is over."""

    def __init__(
        self, shop: Shop, record: ExecutionRecord, program: Program, *, input_: Any, on_gone: Callable[[Owner], None]
    ) -> None:
        self.shop = shop
        self.record = record
        self.program = program
        reason = record.reason if record.status is ExecutionStatus.CANCELLING else None
        self.state = ExecutionState(program.flow, status=record.status, reason=reason)
        self.views = Views(record, program, self.state, input_=input_, secrets=shop.secrets)
        self.attempts = Attempts(self)
        self.logs = LogBuffer()
        self.gone = False
        self.last_message = 0
        """The newest inbox message taken into account."""
        self.draining = False
        self.reading = False
        """Messages are being read: what they bring comes before any rest."""
        self.children: list[NewExecution] = []
        self.cancel_children: list[bytes] = []
        self.artifacts: list[ArtifactRecord] = []
        self.consumed: list[int] = []
        self.output_value: Value | None = None
        self.crashes = record.crashes
        self.handing_back = False
        self._on_gone = on_gone
        self._committed_status = self._sent_status = record.status
        self._held: list[Effect] = []
        self._committing: list[Effect] = []
        self._held_launches: list[Callable[[], None]] = []
        self._committing_launches: list[Callable[[], None]] = []
        self._timers: dict[tuple[str, int, str], Alarm] = {}
        self._deadline: Alarm | None = None
        self._cleanup: Alarm | None = None
        self._advancing = False
        self._releasing = False
        self._sent_release = False
        self._sent_runs: Sequence[NodeRunRecord] = ()
        self._committing_results = False
        self._refusals = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._committing_waiters: list[asyncio.Future[None]] = []
        self._carry: dict[type[Effect], Callable[[Any], Sequence[Effect]]] = {
            Prepare: self._prepare,
            RunAttempt: self._run_attempt,
            WakeAt: self._wake_at,
            StopAttempt: self._stop_attempt,
            CancelChild: self._cancel_child,
            EvaluateOutput: self._evaluate_output,
            LimitCleanup: self._limit_cleanup,
        }

    @property
    def closed(self) -> bool:
        """No fact is taken any more: ownership is over, or ends with the next commit."""
        return self.gone or self._releasing

    @property
    def careful(self) -> bool:
        """It was recovered before: an attempt begins only when its start is durable, so that a crash is counted."""
        return self.record.recoveries > 0

    @property
    def quarantined(self) -> bool:
        """It took its owners down twice in a row: attempts run in processes of their own until one makes progress."""
        return self.crashes > 1

    # Beginning

    def begin(self) -> None:
        self._arm_deadline()
        self.feed(lifecycle.begun(self.state, self.now()))

    def resume(self, runs: Sequence[NodeRun]) -> None:
        self._arm_deadline()
        self.feed(lifecycle.resumed(self.state, runs, self.now(), deadline_at=self.record.deadline_at))

    def _arm_deadline(self) -> None:
        if self.record.deadline_at is not None:
            self._deadline = self.shop.clock.call_at(self.record.deadline_at, self._deadline_passed)

    # Facts

    def feed(self, effects: Sequence[Effect]) -> None:
        """Carry out what a decision asks for, and what follows from that; then hand changes to the recorder."""
        if self.closed:
            return
        queue = deque(effects)
        while queue:
            effect = queue.popleft()
            if awaits_commit(effect) and (self.state.changes.result or self._committing_results):
                self._held.append(effect)
            else:
                queue.extend(self._carry[type(effect)](effect))
        self.settle()

    def settle(self) -> None:
        """After every fact: rest if nothing can happen, and make sure that changes get committed."""
        state = self.state
        if not self._releasing and (state.ended or self._may_rest()):
            self._releasing = True
        changes = state.changes
        if (
            changes.result
            or self._releasing
            or self._held_launches
            or self.consumed
            or self.children
            or self.artifacts
            or state.status is not self._sent_status
        ):
            self.mark()
        elif changes.events:
            self.shop.later.mark(self)

    def _may_rest(self) -> bool:
        held = self._held or self._committing or self._held_launches or self._committing_launches
        if held or self.draining or self.reading or self.attempts.pending:
            return False
        return wait.rest(self.state, self.now())

    def mark(self) -> None:
        """Have the recorder fetch the changes with its next batch."""
        if not self._advancing and not self.gone:
            self._advancing = True
            self.shop.recorder.advance(self)

    def cancel(self, *, reason: str | None, force: bool) -> None:
        if not self.closed:
            self.feed(stop.cancelled(self.state, self.now(), reason=reason, force=force))

    def _deadline_passed(self) -> None:
        if not self.closed:
            self.feed(stop.deadline_passed(self.state, self.now()))

    async def durable(self) -> None:
        """Return when all that is decided by now is committed, or ownership is over."""
        if self.gone:
            return
        future = self.shop.loop.create_future()
        self._waiters.append(future)
        self.mark()
        await future

    # Effects

    def _prepare(self, effect: Prepare) -> Sequence[Effect]:
        state, node_id = self.state, effect.node
        if self.draining:
            return ()
        now = self.now()
        spec = state.nodes[node_id].spec
        try:
            scope = self.views.of_node(node_id)
            if spec.when is not None and not self.program.when(node_id, scope):
                return graph.condition_false(state, node_id, now)
            if spec.foreach is None:
                return graph.prepared(state, node_id, now, items=None)
            items = self.program.items(node_id, scope)
            self.attempts.items[node_id] = items
            labels = None
            if spec.key is not None:
                labels = [
                    self.program.label(node_id, self.views.of_node(node_id, item=item, index=index))
                    for index, item in enumerate(items)
                ]
        except ExpressionFailed as error:
            return graph.refused(state, node_id, error.failure, now)
        return graph.prepared(state, node_id, now, items=len(items), labels=labels)

    def _run_attempt(self, effect: RunAttempt) -> Sequence[Effect]:
        if self.draining:
            return ()
        refused = attempt.begin(self.state, effect.run, self.now())
        if refused is not None:
            return refused
        return self.attempts.launch(effect.run)

    def hold_launch(self, launch: Callable[[], None]) -> None:
        """Call it when everything up to now is durable."""
        self._held_launches.append(launch)

    def _wake_at(self, effect: WakeAt) -> Sequence[Effect]:
        run = effect.run
        at = run.due_at
        assert at is not None
        old = self._timers.pop(run.key, None)
        if old is not None:
            old.cancel()
        self._timers[run.key] = self.shop.clock.call_at(at, self._woken, run)
        return ()

    def _woken(self, run: NodeRun) -> None:
        self._timers.pop(run.key, None)
        if not self.closed and not self.draining:
            self.feed(wait.woken(self.state, run, self.now()))

    def _stop_attempt(self, effect: StopAttempt) -> Sequence[Effect]:
        self.attempts.stop(effect.run, force=effect.force)
        return ()

    def _cancel_child(self, effect: CancelChild) -> Sequence[Effect]:
        if effect.run.child is not None:
            self.cancel_children.append(effect.run.child)
        return ()

    def _limit_cleanup(self, effect: LimitCleanup) -> Sequence[Effect]:
        self._cleanup = self.shop.clock.call_at(self.now() + self.shop.settings.cleanup_grace, self._cleanup_ended)
        return ()

    def _cleanup_ended(self) -> None:
        if not self.closed:
            self.feed(stop.cleanup_ended(self.state, self.now()))

    def _evaluate_output(self, effect: EvaluateOutput) -> Sequence[Effect]:
        now = self.now()
        try:
            output = self.program.output(self.views.of_output())
            data = to_json(output, "the flow's output")
        except ExpressionFailed as error:
            return graph.output_refused(self.state, error.failure, now)
        except ValueRefused as error:
            return graph.output_refused(self.state, error.failure, now)
        if len(data) > INLINE_LIMIT:
            self.attempts.spawn(self._store_output(output, data))
            return ()
        self.output_value = inline(data)
        return graph.output_known(self.state, output, now)

    async def _store_output(self, output: Any, data: bytes) -> None:
        self.output_value = await self.shop.values.store(data)
        if not self.closed and not self.state.stopping:
            self.feed(graph.output_known(self.state, output, self.now()))

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

    # Recording

    @property
    def worker(self) -> str:
        return self.shop.worker

    def now(self) -> int:
        return self.shop.clock.now()

    def mask_failure(self, failure: Failure) -> dict[str, Any]:
        """The failure as it is recorded: without any secret."""
        masker = self.shop.masker
        public = failure.public()
        if masker:
            public = decode(masker.mask(encode_text(public)))
        return public

    def mask_events(self, events: list[Event]) -> list[Event]:
        masker = self.shop.masker
        return convert(decode(masker.mask(encode_text(events))), list[Event]) if masker else events

    def drain(self) -> Advance | None:
        """The recorder fetches what is to be written (its side of the bargain: see `Recorder`)."""
        self._advancing = False
        self.shop.later.forget(self)
        if self.gone:
            return None
        if self._refusals:
            return self._minimal()
        self._committing, self._held = self._held, []
        self._committing_launches, self._held_launches = self._held_launches, []
        self._committing_waiters, self._waiters = self._waiters, []
        self._committing_results = self.state.changes.result
        self.logs.committing += self.logs.unflushed
        self.logs.unflushed = 0
        advance = build_advance(self, release=self._releasing)
        self._sent_status = advance.status
        self._sent_runs = advance.node_runs
        self._sent_release = self._releasing
        return advance

    @property
    def previous_status(self) -> ExecutionStatus:
        """What the store holds before the next advance."""
        return self._committed_status

    def committed(self, outcome: Advanced | Lost | Exception) -> None:
        """The recorder tells what became of the last drain."""
        if self.gone:
            return
        self._committing_results = False
        if isinstance(outcome, Lost):
            self.leave()
            return
        if isinstance(outcome, Exception):
            self._fail_refused(outcome)
            return
        self._committed_status = self._sent_status
        self._tell_waiters(self._committing_waiters)
        self.logs.committed()
        if self._sent_release:
            self.leave()
            return
        launches, self._committing_launches = self._committing_launches, []
        for launch in launches:
            launch()
        effects, self._committing = self._committing, []
        followups: list[Effect] = []
        for effect in effects:
            followups += self._carry[type(effect)](effect)
        self.feed(followups)
        if self._held:
            self.mark()

    def _fail_refused(self, error: Exception) -> None:
        """The database refused a row of ours: the execution ends by itself, with nothing but that fact."""
        self._refusals += 1
        if self._refusals > _REFUSALS_TAKEN:
            self.leave()
            return
        self._sent_release = True
        self.attempts.abort()
        self.state.error = Failure(code="row_refused", message=f"the store refused a result: {error}", retryable=False)
        self.mark()

    def _minimal(self) -> Advance:
        assert self.state.error is not None
        self.state.take_changes()
        cancelling = self._committed_status is ExecutionStatus.CANCELLING
        self.state.status = ExecutionStatus.CANCELLED if cancelling else ExecutionStatus.FAILED
        event = EventType.EXECUTION_CANCELLED if cancelling else EventType.EXECUTION_FAILED
        self.state.tell(event, self.now(), data={"code": self.state.error.code})
        self.artifacts, self.children, self.cancel_children = [], [], []
        advance = build_advance(self, release=True)
        error = self.mask_failure(self.state.error)
        unfinished = [*self.state.running.values(), *self.state.waiting.values()]
        keys = {run.key for run in unfinished} | {(row.node, row.ordinal, row.label) for row in self._sent_runs}
        if self._refusals == 1:
            advance.node_runs = [self._refused_run(*key, error=error) for key in sorted(keys)]
        return advance

    def _refused_run(self, node: str, ordinal: int, label: str, *, error: dict[str, Any]) -> NodeRunRecord:
        """In place of a row that was refused, or that nobody will finish."""
        type_ = self.state.nodes[node].spec.type
        return NodeRunRecord(
            node=node, ordinal=ordinal, label=label, type=type_, status=NodeStatus.FAILED, error=error,
            finished_at=self.now(), worker=self.worker,
        )  # fmt: skip

    # The end of ownership

    def wind_up(self) -> None:
        """The worker drains: begin nothing more, and hand back as soon as no attempt is in flight."""
        self.draining = True
        self.attempt_ended()

    def attempt_ended(self) -> None:
        if self.draining and not self.attempts.in_flight and not self.state.ended:
            self.hand_back()

    def hand_back(self, *, crashed: Failure | None = None) -> None:
        """Give the execution back to whoever claims it next: a draining worker, or a contained crash.

        A crash counts; above the flow's `max_recoveries` the execution is abandoned.
        """
        if self.closed:
            return
        state, now = self.state, self.now()
        self.attempts.abort()
        self.handing_back = self._releasing = True
        self.draining = True
        if state.status is not ExecutionStatus.CANCELLING:
            state.status = ExecutionStatus.INTERRUPTED
        crash = crashed is not None
        self.crashes += crash
        data = {"worker": self.shop.worker, "crash": crash, "crashes": self.crashes}
        state.tell(EventType.EXECUTION_INTERRUPTED, now, data=data)
        limit = self.program.flow.max_recoveries
        if crash and self.crashes > limit and state.status is ExecutionStatus.INTERRUPTED:
            assert crashed is not None
            message = f"its process died {self.crashes} times in a row: {crashed.message}"
            state.error = Failure(code=ABANDONED_CODE, message=message, node=crashed.node, ordinal=crashed.ordinal)
            for run in [*state.running.values(), *state.waiting.values()]:
                self.cancel_children += [run.child] if run.child is not None else []
                run.error = state.error
                end_run(state, run, NodeStatus.FAILED, now, data=told(state.error))
            state.status = ExecutionStatus.ABANDONED
            state.reason = ABANDONED_CODE
            state.tell(EventType.EXECUTION_ABANDONED, now, data=told(state.error))
        self.mark()

    @staticmethod
    def _tell_waiters(waiters: list[asyncio.Future[None]]) -> None:
        for future in waiters:
            if not future.done():
                future.set_result(None)
        waiters.clear()

    def leave(self) -> None:
        """Let go at once: whatever still runs for this execution here is stopped and forgotten."""
        if self.gone:
            return
        self.gone = True
        self._tell_waiters(self._waiters)
        self._tell_waiters(self._committing_waiters)
        for timer in (*self._timers.values(), self._deadline, self._cleanup):
            if timer is not None:
                timer.cancel()
        self._timers.clear()
        self.attempts.abort()
        if self.logs.free is not None:
            self.logs.free.set()
        self._on_gone(self)
