"""Responses to waits, and their expiry: whichever comes first under the lock of the execution's row decides."""

from __future__ import annotations

from typing import Any

import msgspec

from perdure.base.clock import to_rfc3339
from perdure.base.ids import id_text
from perdure.errors import (
    AlreadyResponded,
    CallerError,
    NotAnApprover,
    SelfApproval,
    WaitAnswered,
    WaitNotOpen,
)
from perdure.model.answer import APPROVAL, ASK, Decision, Responder, Response, Terms, as_data, terms_of
from perdure.model.decide.answer import Refusal, expired, may_answer, missing, responded, verdict
from perdure.model.event import Event, EventType
from perdure.model.states import TERMINAL
from perdure.store.commands import ExpireWait, Respond
from perdure.store.procedures.context import Context, Standing
from perdure.store.procedures.outside import locked, open_waits, tell
from perdure.store.procedures.queueing import standings
from perdure.store.procedures.rows import record_of, wait_row
from perdure.store.records import Answered, WaitRecord
from perdure.store.statements import Many, Procedure

ANSWERED = "answered"
"""The kind of message that brings what a wait was decided to be."""

_STARTED_BY_PEOPLE = frozenset({"api", "cli", "replay"})
"""Triggers whose id names who started it."""


def respond(context: Context, command: Respond) -> Procedure[Answered]:
    one = yield from locked(command.workspace, command.execution_id)
    wait = yield from _wait(command)
    terms = terms_of(wait.data) if wait is not None and wait.kind in (APPROVAL, ASK) else None
    if wait is None or terms is None or terms.attempt != command.attempt:
        raise WaitNotOpen(f"node {command.node} of execution {id_text(one.id)} does not wait for that any more")
    if terms.decision is not None:
        raise answered_before(command.node, terms.decision)
    starter = None
    if wait.kind == APPROVAL and not terms.self_approval:
        starter = yield from _starter(one)
    refusal = may_answer(wait.kind, terms, command.responder, starter=starter)
    if refusal is not None:
        raise _refused(refusal, command.responder, command.node, terms)
    response = Response(
        by=command.responder.name, at=command.at, approved=command.approved, comment=command.comment
    )  # fmt: skip
    terms = responded(wait.kind, terms, response, command.answer)
    data = {"wait": wait.kind, "by": response.by, "approved": response.approved, "comment": response.comment}
    if terms.decision is None:
        yield from _put(one, wait, terms)
        event = _event(wait, terms, command.at, {**data, "outcome": None, "missing": missing(terms)})
        yield from tell(context, one, event, command.at)
    else:
        yield from decide(context, one, wait, terms, command.at, data)
    return Answered(wait=wait, terms=terms)


def expire_wait(context: Context, command: ExpireWait) -> Procedure[bool]:
    """Asked for by the owner alone. One that is being stopped is nobody's business here: its owner ends the wait."""
    one = (yield from standings([command.execution_id])).get(command.execution_id)
    if one is None or one.status in TERMINAL:
        return False
    wait = yield from _wait(command)
    if wait is None:
        return False
    terms = terms_of(wait.data)
    if terms.attempt != command.attempt or terms.decision is not None:
        return False
    data = {"wait": wait.kind, "by": None, "approved": None, "comment": None}
    yield from decide(context, one, wait, expired(terms, command.at), command.at, data)
    return True


def decide(
    context: Context, one: Standing, wait: WaitRecord, terms: Terms, at: int, data: dict[str, Any]
) -> Procedure[None]:
    """Write the decision into the wait's row, where it stands against every later one, and have an owner take it up."""
    assert terms.decision is not None
    yield from _put(one, wait, terms)
    letter = {
        "node": wait.node, "ordinal": wait.ordinal, "label": wait.label, "attempt": terms.attempt,
        "verdict": msgspec.to_builtins(verdict(wait.kind, terms)),
    }  # fmt: skip
    event = _event(wait, terms, at, {**data, "outcome": str(terms.decision.outcome), "missing": None})
    yield from tell(context, one, event, at, letter=(ANSWERED, letter))


def answered_before(node: str, decision: Decision) -> WaitAnswered:
    """What a second answer is told: who was first, when, and with what."""
    return WaitAnswered.of(
        node, outcome=str(decision.outcome), by=decision.by, at=to_rfc3339(decision.at), comment=decision.comment,
        answer=decision.answer,
    )  # fmt: skip


def _wait(command: Respond | ExpireWait) -> Procedure[WaitRecord | None]:
    """The open wait that it is about."""
    key = (command.node, command.ordinal, command.label)
    return next((wait for wait in (yield from open_waits(command.execution_id)) if wait.key == key), None)


def _put(one: Standing, wait: WaitRecord, terms: Terms) -> Procedure[None]:
    changed = msgspec.structs.replace(wait, data=as_data(terms))
    yield Many("waits_put", [wait_row(one.id, one.workspace, one.flow, changed)])


def _event(wait: WaitRecord, terms: Terms, at: int, data: dict[str, Any]) -> Event:
    if wait.label:
        data = {**data, "label": wait.label}
    return Event(EventType.NODE_ANSWERED, at, wait.node, wait.ordinal, terms.attempt, data)


def _starter(one: Standing) -> Procedure[str | None]:
    """Who started the execution, or the one far above it that started it in the end."""
    [row] = yield Many("records", [(one.id,)])
    record = record_of(row)
    if record.root != record.id:
        rows = yield Many("records", [(record.root,)])
        if not rows:
            return None
        record = record_of(rows[0])
    return record.trigger_id if record.trigger_kind in _STARTED_BY_PEOPLE else None


def _refused(refusal: Refusal, responder: Responder, node: str, terms: Terms) -> CallerError:
    if refusal is Refusal.NO_APPROVER:
        named = ", ".join(terms.approvers)
        return NotAnApprover(
            f"{responder.name} may not answer node {node}; that may {named}", approvers=terms.approvers
        )
    if refusal is Refusal.SELF_APPROVAL:
        return SelfApproval(f"{responder.name} started the execution, so somebody else has to approve node {node}")
    [first] = [one for one in terms.responses if one.by == responder.name]
    return AlreadyResponded(
        f"{responder.name} approved node {node} at {to_rfc3339(first.at)}; {missing(terms)} more must, by other names",
        missing=missing(terms),
    )
