"""One execution in its owner's hands: facts go in, decisions come out and are carried out, changes go to the outbox."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any

from perdure.base.clock import Alarm
from perdure.base.codec import INLINE_LIMIT, decode, encode
from perdure.engine.attempts import Attempts
from perdure.engine.insist import NotNeeded, insist
from perdure.engine.launcher import Launcher
from perdure.engine.outbox import Outbox
from perdure.engine.shop import Shop
from perdure.engine.values import ValueRefused, inline, to_json
from perdure.engine.views import Views
from perdure.errors import StoreError
from perdure.flows.program import ExpressionFailed, Runnable
from perdure.model.decide import attempt, graph, lifecycle, pause, stop, wait
from perdure.model.decide.effects import (
    CancelChild,
    Effect,
    EvaluateOutput,
    Expire,
    LimitCleanup,
    Prepare,
    RunAttempt,
    StopAttempt,
    WakeAt,
    awaits_commit,
)
from perdure.model.execution import ExecutionState, NodeRun
from perdure.model.failure import Failure
from perdure.model.states import ExecutionStatus
from perdure.store.commands import ExpireWait
from perdure.store.records import ExecutionRecord, Value

_NO_ITEMS = Value(text="[]", size=2)
"""The output of the run that stands for a foreach over nothing."""


class Owner:
    """Drives one execution. Lives on the loop; `on_gone` is told once, when ownership is over."""

    def __init__(
        self, shop: Shop, record: ExecutionRecord, program: Runnable, *, input_: Any, on_gone: Callable[[Owner], None]
    ) -> None:
        self.shop = shop
        self.record = record
        self.program = program
        reason = record.reason if record.status is ExecutionStatus.CANCELLING else None
        self.state = ExecutionState(program.flow, status=record.status, reason=reason)
        self.views = Views(record, program, self.state, input_=input_, secrets=shop.secrets)
        self.outbox = Outbox(shop, record, self.state, self)
        self.attempts = Attempts(self)
        self.launcher = Launcher(self, self.attempts)
        self.last_message = 0
        """The newest inbox message taken into account."""
        self.draining = False
        self.retried: Collection[str] = ()
        """Nodes of a replay whose children go on from what failed in the original's."""
        self.reading = False
        """Messages are being read: what they bring comes before any rest."""
        self._on_gone = on_gone
        self._timers: dict[tuple[str, int, str], Alarm] = {}
        self._deadline: Alarm | None = None
        self._cleanup: Alarm | None = None
        self._lingering: Alarm | None = None
        self._carry: dict[type[Effect], Callable[[Any], Sequence[Effect]]] = {
            Prepare: self._prepare,
            RunAttempt: self._run_attempt,
            WakeAt: self._wake_at,
            Expire: self._expire,
            StopAttempt: self._stop_attempt,
            CancelChild: self._cancel_child,
            EvaluateOutput: self._evaluate_output,
            LimitCleanup: self._limit_cleanup,
        }

    @property
    def closed(self) -> bool:
        """No fact is taken any more: ownership is over, or ends with the next commit."""
        return self.outbox.gone or self.outbox.releasing

    @property
    def careful(self) -> bool:
        """It was recovered before: an attempt begins only when its start is durable, so that a crash is counted."""
        return self.record.recoveries > 0

    @property
    def quarantined(self) -> bool:
        """It took its owners down twice in a row: attempts run in processes of their own until one makes progress."""
        return self.outbox.crashes > 1

    # Beginning

    def begin(self) -> None:
        self._arm_deadline()
        self.feed(lifecycle.begun(self.state, self.now()))

    def resume(self, runs: Sequence[NodeRun], *, whole: Collection[str] = ()) -> None:
        """Go on from rows, or begin a replay from those that it took over."""
        self._arm_deadline()
        deadline_at = self.record.deadline_at
        self.feed(lifecycle.resumed(self.state, runs, self.now(), deadline_at=deadline_at, whole=whole))

    def _arm_deadline(self) -> None:
        if self.record.deadline_at is not None:
            self._deadline = self.shop.clock.call_at(self.record.deadline_at, self._deadline_passed)

    # Facts

    def feed(self, effects: Sequence[Effect]) -> None:
        """Carry out what a decision asks for, and what follows from that; then hand changes to the recorder."""
        if self.closed:
            return
        outbox = self.outbox
        queue = deque(effects)
        while queue:
            effect = queue.popleft()
            if awaits_commit(effect) and (self.state.changes.result or outbox.committing_results):
                outbox.held.append(effect)
            else:
                queue.extend(self._carry[type(effect)](effect))
        self.settle()

    def settle(self) -> None:
        """After every fact: rest if nothing can happen, and make sure that changes get committed."""
        outbox = self.outbox
        if not outbox.releasing and (self.state.ended or self._may_rest()):
            outbox.releasing = True
        outbox.settle()

    def _may_rest(self) -> bool:
        if self.draining or self.reading or self.attempts.pending or self.outbox.has_held:
            return False
        rests = wait.rest(self.state, self.now(), patient=self.shop.has_room())
        if not rests and self._lingering is None and self.state.lingers_until > self.now():
            self._lingering = self.shop.clock.call_at(self.state.lingers_until, self._lingered)
        return rests

    def _lingered(self) -> None:
        self._lingering = None
        if not self.closed:
            self.settle()

    def go_on(self, effects: Sequence[Effect], launches: Sequence[Callable[[], None]]) -> None:
        """What these waited for is durable."""
        for launch in launches:
            launch()
        followups: list[Effect] = []
        for effect in effects:
            followups += self._carry[type(effect)](effect)
        self.feed(followups)
        self.attempt_ended()

    def cancel(self, *, reason: str | None, force: bool) -> None:
        if not self.closed:
            self.feed(stop.cancelled(self.state, self.now(), reason=reason, force=force))

    def pause(self) -> None:
        """Begin nothing new, and rest once nothing is in flight."""
        pause.paused(self.state)
        self.feed(())

    def unpause(self) -> None:
        self.feed(pause.resumed(self.state))

    def _deadline_passed(self) -> None:
        if not self.closed:
            self.feed(stop.deadline_passed(self.state, self.now()))

    def now(self) -> int:
        return self.shop.clock.now()

    # Effects

    def _prepare(self, effect: Prepare) -> Sequence[Effect]:
        state, node_id = self.state, effect.node
        if self.draining or pause.withholds(state, effect):
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
            self.launcher.items[node_id] = items
            labels = None
            if spec.key is not None:
                labels = [
                    self.program.label(node_id, self.views.of_node(node_id, item=item, index=index))
                    for index, item in enumerate(items)
                ]
        except ExpressionFailed as error:
            return graph.refused(state, node_id, error.failure, now)
        effects = graph.prepared(state, node_id, now, items=len(items), labels=labels)
        if not items and 0 in state.nodes[node_id].runs:
            state.nodes[node_id].runs[0].output_value = _NO_ITEMS
        return effects

    def _run_attempt(self, effect: RunAttempt) -> Sequence[Effect]:
        if self.draining or pause.withholds(self.state, effect):
            return ()
        refused = attempt.begin(self.state, effect.run, self.now())
        if refused is not None:
            return refused
        return self.launcher.launch(effect.run)

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

    def _expire(self, effect: Expire) -> Sequence[Effect]:
        self.attempts.spawn(self._have_expired(effect.run, effect.run.attempt))
        return ()

    async def _have_expired(self, run: NodeRun, attempt: int) -> None:
        """The store decides between this and an answer that came in the last moment; either comes as a message."""
        await self.outbox.durable()
        command = ExpireWait(
            at=self.now(),
            execution_id=self.record.id,
            node=run.node,
            ordinal=run.ordinal,
            label=run.label,
            attempt=attempt,
        )
        if not self.closed:
            with contextlib.suppress(NotNeeded):
                await insist(
                    lambda: self.shop.recorder.execute(command),
                    needed=lambda: not self.closed,
                    passing=(StoreError,),
                )

    def _stop_attempt(self, effect: StopAttempt) -> Sequence[Effect]:
        self.attempts.stop(effect.run, force=effect.force)
        return ()

    def _cancel_child(self, effect: CancelChild) -> Sequence[Effect]:
        if effect.run.child is not None:
            self.outbox.cancel_children.append(effect.run.child)
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
            if self.shop.masker.names_in(data):
                output = self.shop.masker.value(decode(data))
                data = encode(output)
        except ExpressionFailed as error:
            return graph.output_refused(self.state, error.failure, now)
        except ValueRefused as error:
            return graph.output_refused(self.state, error.failure, now)
        if len(data) > INLINE_LIMIT:
            self.attempts.spawn(self._store_output(output, data))
            return ()
        self.outbox.output_value = inline(data)
        return graph.output_known(self.state, output, now)

    async def _store_output(self, output: Any, data: bytes) -> None:
        self.outbox.output_value = await insist(lambda: self.shop.values.store(data))
        if not self.closed and not self.state.stopping:
            self.feed(graph.output_known(self.state, output, self.now()))

    # The end of ownership

    def wind_up(self) -> None:
        """The worker drains: begin nothing more, and hand back as soon as no attempt is in flight."""
        self.draining = True
        self.attempt_ended()

    def attempt_ended(self) -> None:
        """While draining: hand back, unless what has been done is still on its way to being the end."""
        if self.draining and not self.attempts.pending and not self.outbox.has_held and not self.state.ended:
            self.hand_back()

    def hand_back(self, *, crashed: Failure | None = None) -> None:
        """Give the execution back to whoever claims it next: the worker drains, or an attempt crashed, contained."""
        if self.closed:
            return
        outbox = self.outbox
        self.attempts.abort()
        self.draining = True
        outbox.handing_back = outbox.releasing = True
        outbox.crashes += crashed is not None
        for effect in lifecycle.handed_back(
            self.state, self.now(), worker=self.shop.worker, crashed=crashed, crashes=outbox.crashes
        ):
            self._carry[type(effect)](effect)
        outbox.mark()

    def stop_attempts(self) -> None:
        self.attempts.abort()

    def leave(self, *, at_once: bool = False) -> None:
        """Let go: whatever still runs for this execution here is stopped and forgotten, `at_once` without its grace."""
        if self.outbox.gone:
            return
        self.outbox.close()
        for timer in (*self._timers.values(), self._deadline, self._cleanup, self._lingering):
            if timer is not None:
                timer.cancel()
        self._timers.clear()
        self.attempts.abort(at_once=at_once)
        self._on_gone(self)
