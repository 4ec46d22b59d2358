"""Beginning what a node run is: an attempt here, a unit, a child, or a wait."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from perdure.base.codec import INLINE_LIMIT, Json
from perdure.base.ids import id_text
from perdure.engine.attempts import Attempts, Driver, unexpected
from perdure.engine.children import build_child
from perdure.engine.insist import insist
from perdure.engine.outbox import Outbox
from perdure.engine.rehearsal import REALLY_RUN
from perdure.engine.sink import AttemptSink
from perdure.engine.units import new_unit, unit_work
from perdure.engine.values import ValueRefused, inline
from perdure.engine.views import Views
from perdure.engine.waiting import is_outside, terms_data
from perdure.flows.program import ExpressionFailed, Rendered, Runnable
from perdure.flows.sealing import Seal
from perdure.model.decide import attempt, wait
from perdure.model.decide.effects import Effect
from perdure.model.definition import Node, OnInterrupt
from perdure.model.execution import UNIT, NodeRun
from perdure.model.failure import Failure
from perdure.model.unit import leaves
from perdure.nodes.interface import Call, NodeFailed
from perdure.nodes.sleep import sleep_until
from perdure.store.records import Value


class LaunchDriver(Driver, Protocol):
    """The owner, as far as its launcher knows it."""

    program: Runnable
    views: Views
    outbox: Outbox
    retried: Collection[str]

    @property
    def careful(self) -> bool: ...
    @property
    def quarantined(self) -> bool: ...


class Launcher:
    """Renders the calls of one execution's node runs and has each begin in its way."""

    def __init__(self, owner: LaunchDriver, attempts: Attempts) -> None:
        self._owner = owner
        self._attempts = attempts
        self.items: dict[str, list[Any]] = {}
        """The items of each foreach that was prepared."""

    def launch(self, run: NodeRun) -> Sequence[Effect]:
        """Render the call and begin; a control type is carried out. The attempt is already written down as begun."""
        owner = self._owner
        now = owner.shop.clock.now()
        spec = attempt.spec_of(owner.state, run)
        try:
            if owner.shop.stand_in is not None and spec.type not in REALLY_RUN:
                self._attempts.fly(run, owner.shop.stand_in, self._call(run, self._render(run)))
                return ()
            if leaves(spec, line=owner.record.queue):
                return self._send_away(run, spec)
            rendered = self._render(run)
            run.input_value = None
            node_type = owner.shop.node_types.get(spec.type)
            if node_type is None:
                message = f"no node type {spec.type!r} is installed here"
                return self._attempts.fail(run, Failure(code="unknown_node_type", message=message, retryable=False))
            if is_outside(spec.type):
                return self._await_outside(run, spec.type, rendered)
            if spec.type == "sleep":
                return wait.suspended(owner.state, run, wait.TIMER, now, wake_at=sleep_until(rendered.config, now))
        except ExpressionFailed as error:
            return self._attempts.fail(run, error.failure)
        except ValueError as error:
            return self._attempts.fail(run, Failure(code="invalid_config", message=str(error), retryable=False))
        if spec.type == "flow":
            self._attempts.spawn(self._start_child(run, rendered))
            return ()
        call = self._call(run, rendered)
        if owner.careful or spec.on_interrupt is OnInterrupt.FAIL:
            owner.outbox.held_launches.append(lambda: self._attempts.fly(run, node_type, call))
        else:
            self._attempts.fly(run, node_type, call)
        return ()

    def _await_outside(self, run: NodeRun, node_type: str, rendered: Rendered) -> Sequence[Effect]:
        """The run waits for somebody from outside. Raises ValueError where what it asks for is none."""
        shop = self._owner.shop
        terms = terms_data(node_type, rendered.config, attempt=run.attempt, masker=shop.masker)
        run.input_value = inline(shop.masker.input(rendered.config))
        return wait.suspended(self._owner.state, run, node_type, shop.clock.now(), terms=terms)

    def _render(self, run: NodeRun, *, secrets: Mapping[str, str] | None = None) -> Rendered:
        owner = self._owner
        scope = owner.views.of_node(run.node, secrets=secrets, **self._item(run))
        if run.compensates:
            return owner.program.compensation(run.node, scope)
        return owner.program.call(run.node, scope)

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
        execution_id, number, ordinal, label = id_text(record.id), record.number, run.ordinal, run.label
        attempt_id = f"{execution_id}.{run.node}.{run.ordinal}.{run.label}.{run.attempt}.{record.epoch}"
        origin = owner.program.origin
        if origin is not None and record.parent is not None:
            # What runs is told of the execution that its author knows; the attempt is the unit's own.
            execution_id, number = id_text(record.parent), origin.execution_number
            ordinal, label = origin.ordinal, origin.label
        return Call(
            execution_id=execution_id,
            execution_number=number,
            workspace=record.workspace,
            flow=record.flow,
            flow_version=record.flow_version,
            node=run.node,
            ordinal=ordinal,
            label=label,
            attempt=run.attempt,
            attempt_id=attempt_id,
            epoch=record.epoch,
            config=rendered.config,
            with_=rendered.with_,
            env=rendered.env,
            isolation=spec.isolation,
            grace_us=owner.shop.settings.grace,
            quarantine=owner.quarantined,
            sink=AttemptSink(owner.outbox, run, self._attempts),
        )

    def _send_away(self, run: NodeRun, spec: Node) -> Sequence[Effect]:
        """Have a unit make the run's attempts. Raises ExpressionFailed."""
        owner = self._owner
        seal = Seal(owner.program.secrets(run.node, compensates=run.compensates))
        rendered = self._render(run, secrets=seal.markers)
        try:
            data, shown = unit_work(owner.record, run, rendered, seal)
        except ValueRefused as error:
            return self._attempts.fail(run, error.failure)
        if len(data) > INLINE_LIMIT:
            self._attempts.spawn(self._send_large(run, spec, data, shown))
            return ()
        run.input_value = inline(owner.shop.masker.input(shown))
        return self._sent(run, spec, inline(data))

    async def _send_large(self, run: NodeRun, spec: Node, data: bytes, shown: Json) -> None:
        work = await self._attempts.store(data)
        run.input_value = await self._attempts.store(self._owner.shop.masker.input(shown))
        if run.key in self._owner.state.running and not self._owner.closed:
            self._owner.feed(self._sent(run, spec, work))

    def _sent(self, run: NodeRun, spec: Node, work: Value) -> Sequence[Effect]:
        owner, now = self._owner, self._owner.shop.clock.now()
        unit = new_unit(owner.record, run, spec, work=work, at=now)
        owner.outbox.children.append(unit)
        return wait.suspended(owner.state, run, UNIT, now, child=unit.id)

    async def _start_child(self, run: NodeRun, rendered: Rendered) -> None:
        owner = self._owner
        goes_on = run.node in owner.retried
        try:
            child = await insist(lambda: build_child(owner.shop, owner.record, run, rendered, goes_on=goes_on))
        except Exception as error:
            failure = error.failure if isinstance(error, NodeFailed) else unexpected(error)
            if run.key in owner.state.running and not owner.closed:
                owner.feed(self._attempts.fail(run, failure))
            return
        if run.key in owner.state.running and not owner.closed:
            owner.outbox.children.append(child)
            owner.feed(wait.suspended(owner.state, run, "child", owner.shop.clock.now(), child=child.id))
