"""Messages that others left for an owned execution."""

from __future__ import annotations

from typing import Any, Protocol

import structlog

from perdure.base.ids import id_bytes
from perdure.engine.shop import Shop
from perdure.model.decide import stop, wait
from perdure.model.execution import ExecutionState
from perdure.model.failure import Failure
from perdure.model.states import ExecutionStatus
from perdure.store.records import ExecutionRecord, Message, Value

log = structlog.get_logger(__name__)


class Receiver(Protocol):
    """The owner, as far as messages are concerned."""

    shop: Shop
    record: ExecutionRecord
    state: ExecutionState
    consumed: list[int]

    @property
    def closed(self) -> bool: ...

    def now(self) -> int: ...
    def feed(self, effects: Any) -> None: ...
    def cancel(self, *, reason: str | None, force: bool) -> None: ...


async def receive(owner: Receiver, message: Message) -> None:
    """Turn one message into a fact; it is consumed with the changes that follow from it.

    An owner that is about to let go leaves it to the next one: the store sees to that.
    """
    if owner.closed:
        return
    data = message.data
    match message.kind:
        case "cancel":
            owner.consumed.append(message.n)
            owner.cancel(reason=data.get("reason"), force=bool(data.get("force")))
        case "deadline":
            owner.consumed.append(message.n)
            owner.feed(stop.deadline_passed(owner.state, owner.now()))
        case "child_ended":
            await _child_ended(owner, message)
        case _:
            owner.consumed.append(message.n)
            owner.feed(())


async def _child_ended(owner: Receiver, message: Message) -> None:
    data = message.data
    child, status = id_bytes(data["child"]), ExecutionStatus(data["status"])
    kept, error = data["output"], data["error"]
    output = None
    if kept is not None:
        blob = bytes.fromhex(kept["blob"]) if kept["blob"] else None
        output = await owner.shop.values.load(Value(text=kept["text"], blob=blob, size=kept["size"]))
    failure = None if error is None else Failure(code=error["code"], message=error["message"])
    if owner.closed:
        return
    owner.consumed.append(message.n)
    run = next((run for run in owner.state.waiting.values() if run.child == child), None)
    if run is None:
        owner.feed(())
        return
    effects = wait.child_ended(
        owner.state, run, status, owner.now(), output=output, failure=failure, jitter=owner.shop.random.random()
    )
    owner.feed(effects)
