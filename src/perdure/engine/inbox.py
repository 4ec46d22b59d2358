"""Messages that others left for an owned execution."""

from __future__ import annotations

from typing import Any, Protocol

import structlog
from msgspec import convert, structs

from perdure.base.codec import encode
from perdure.base.ids import id_bytes
from perdure.engine.insist import NotNeeded, insist
from perdure.engine.outbox import Outbox
from perdure.engine.shop import Shop
from perdure.model.decide import stop, wait
from perdure.model.decide.answer import Verdict
from perdure.model.event import Event
from perdure.model.execution import ExecutionState, NodeRun
from perdure.model.failure import Failure
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.records import ExecutionRecord, Message, Value

log = structlog.get_logger(__name__)


class Receiver(Protocol):
    """The owner, as far as messages are concerned."""

    shop: Shop
    record: ExecutionRecord
    state: ExecutionState
    outbox: Outbox

    @property
    def closed(self) -> bool: ...

    def now(self) -> int: ...
    def feed(self, effects: Any) -> None: ...
    def cancel(self, *, reason: str | None, force: bool) -> None: ...
    def pause(self) -> None: ...
    def unpause(self) -> None: ...


async def receive(owner: Receiver, message: Message) -> None:
    """Turn one message into a fact; it is consumed with the changes that follow from it.

    An owner that is about to let go leaves it to the next one: the store sees to that.
    """
    if owner.closed:
        return
    data = message.data
    match message.kind:
        case "cancel":
            owner.outbox.consumed.append(message.n)
            owner.cancel(reason=data.get("reason"), force=bool(data.get("force")))
        case "deadline":
            owner.outbox.consumed.append(message.n)
            owner.feed(stop.deadline_passed(owner.state, owner.now()))
        case "child_ended":
            await _child_ended(owner, message)
        case "answered":
            await _answered(owner, message)
        case "paused" | "unpaused" | "told" as kind:
            owner.outbox.consumed.append(message.n)
            _tell(owner, data)
            if kind == "paused":
                owner.pause()
            else:
                owner.unpause() if kind == "unpaused" else owner.feed(())
        case _:
            owner.outbox.consumed.append(message.n)
            owner.feed(())


def _tell(owner: Receiver, data: dict[str, Any]) -> None:
    """The event of what came from outside: who owns the execution numbers its events."""
    told = data.get("event")
    if told is not None:
        event = Event(told["type"], owner.now(), told["node"], told["ordinal"], told["attempt"], told["data"])
        owner.state.changes.events.append(event)


async def _answered(owner: Receiver, message: Message) -> None:
    """Somebody answered the wait of a run, a signal came, or nobody did in time."""
    data, masker = message.data, owner.shop.masker
    verdict = convert(data["verdict"], Verdict)
    value = None
    if verdict.failure is None:
        text = encode(verdict.output)
        if masker.names_in(text):
            verdict = structs.replace(verdict, output=masker.value(verdict.output))
            text = encode(verdict.output)
        try:
            value = await insist(lambda: owner.shop.values.store(text), needed=lambda: not owner.closed)
        except NotNeeded:
            return
    if owner.closed:
        return
    owner.outbox.consumed.append(message.n)
    _tell(owner, data)
    vertex = owner.state.nodes.get(data["node"])
    run = None if vertex is None else vertex.runs.get(data["ordinal"])
    if run is None:
        owner.feed(())
        return
    jitter = owner.shop.random.random()
    effects = wait.decided(owner.state, run, verdict, owner.now(), attempt=data["attempt"], jitter=jitter)
    if run.status is NodeStatus.COMPLETED and run.output_value is None:
        run.output_value = value
    owner.feed(effects)


async def _child_ended(owner: Receiver, message: Message) -> None:
    data = message.data
    child, status = id_bytes(data["child"]), ExecutionStatus(data["status"])
    kept, error = data["output"], data["error"]
    value = None
    if kept is not None:
        blob = bytes.fromhex(kept["blob"]) if kept["blob"] else None
        value = Value(text=kept["text"], blob=blob, size=kept["size"])
    try:
        output = await insist(lambda: owner.shop.values.load(value), needed=lambda: not owner.closed)
    except NotNeeded:
        return
    failure = None if error is None else convert(error, Failure)
    if owner.closed:
        return
    owner.outbox.consumed.append(message.n)
    run = _waiting_for(owner.state, child, data["node"], data["ordinal"])
    if run is None:
        owner.feed(())
        return
    run.output_value = value
    effects = wait.child_ended(
        owner.state, run, status, owner.now(), output=output, failure=failure, jitter=owner.shop.random.random()
    )
    owner.feed(effects)


def _waiting_for(state: ExecutionState, child: bytes, node: str, ordinal: int) -> NodeRun | None:
    """The run, or the compensation, that waits for this child."""
    vertex = state.nodes.get(node)
    candidates = (vertex.runs.get(ordinal) if vertex is not None else None, state.compensations.get((node, ordinal)))
    return next((run for run in candidates if run is not None and run.child == child), None)
