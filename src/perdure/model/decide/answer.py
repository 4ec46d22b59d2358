"""Who may answer a wait, what an answer decides, and what a decision is to the node run.

The store asks these under the lock of the execution's row, so that of answers, an expiry and an end at the same
moment exactly one comes first.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from perdure.base.clock import to_rfc3339
from perdure.model.answer import (
    APPROVAL,
    ASK,
    SIGNAL,
    Decision,
    OnExpiry,
    OnReject,
    Outcome,
    Responder,
    Response,
    Terms,
)
from perdure.model.failure import Failure


class Refusal(StrEnum):
    """Why somebody may not answer."""

    NO_APPROVER = "no_approver"
    SELF_APPROVAL = "self_approval"
    RESPONDED = "responded"
    """He did already, and others are still waited for."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the wait's end is to its node run: an output, or a failure. `expired` tells that nobody came in time."""

    output: Any = None
    failure: Failure | None = None
    expired: bool = False


def may_answer(kind: str, terms: Terms, responder: Responder, *, starter: str | None) -> Refusal | None:
    """None when he may. `starter` is who started the execution, where that is known."""
    if responder.known and terms.approvers and not {responder.name, *responder.groups} & set(terms.approvers):
        return Refusal.NO_APPROVER
    if kind == APPROVAL and not terms.self_approval and responder.known and responder.name == starter:
        return Refusal.SELF_APPROVAL
    if any(response.by == responder.name for response in terms.responses):
        return Refusal.RESPONDED
    return None


def missing(terms: Terms) -> int:
    """How many more have to approve."""
    return max(terms.quorum - sum(1 for response in terms.responses if response.approved), 0)


def responded(kind: str, terms: Terms, response: Response, answer: Any = None) -> Terms:
    """The terms with the response, and with a decision if it brings one: one rejection, the last approval, an answer."""
    terms = msgspec.structs.replace(terms, responses=(*terms.responses, response))
    if kind == ASK and response.approved is not False:
        outcome = Outcome.ANSWERED
    elif response.approved is False:
        outcome = Outcome.REJECTED
    elif missing(terms) == 0:
        outcome = Outcome.APPROVED
    else:
        return terms
    decision = Decision(
        outcome=outcome, at=response.at, by=response.by, comment=response.comment, answer=answer
    )  # fmt: skip
    return msgspec.structs.replace(terms, decision=decision)


def received(terms: Terms, *, payload: Any, by: str, at: int) -> Terms:
    """The signal came that the wait is for."""
    return msgspec.structs.replace(terms, decision=Decision(outcome=Outcome.RECEIVED, at=at, by=by, answer=payload))


def expired(terms: Terms, at: int) -> Terms:
    """Nobody answered in time."""
    return msgspec.structs.replace(terms, decision=Decision(outcome=Outcome.EXPIRED, at=at, answer=terms.value))


def verdict(kind: str, terms: Terms) -> Verdict:
    """Of a wait that is decided."""
    decision = terms.decision
    assert decision is not None
    if decision.outcome is Outcome.REJECTED:
        return _rejected(kind, terms, decision)
    if decision.outcome is not Outcome.EXPIRED:
        return Verdict(output=_output(kind, terms, decision, approved=True))
    match terms.on_expiry:
        case OnExpiry.APPROVE:
            return Verdict(output=_output(kind, terms, decision, approved=True), expired=True)
        case OnExpiry.REJECT:
            return msgspec.structs.replace(_rejected(kind, terms, decision), expired=True)
        case OnExpiry.VALUE:
            # Of an approval the value itself is the output: neither yes nor no was said.
            output = terms.value if kind == APPROVAL else _output(kind, terms, decision, approved=None)
            return Verdict(output=output, expired=True)
    return Verdict(failure=Failure(code="timeout", message=f"{_WHAT[kind]} did not come in time"), expired=True)


_WHAT = {APPROVAL: "the approval", ASK: "the answer", SIGNAL: "the signal"}


def _rejected(kind: str, terms: Terms, decision: Decision) -> Verdict:
    output = _output(kind, terms, decision, approved=False)
    if terms.on_reject is OnReject.COMPLETE:
        return Verdict(output=output)
    by = "nobody answered in time, which counts as a rejection" if decision.by is None else f"rejected by {decision.by}"
    message = by if decision.comment is None else f"{by}: {decision.comment}"
    return Verdict(failure=Failure(code="rejected", message=message, retryable=False, details=output))


def _output(kind: str, terms: Terms, decision: Decision, *, approved: bool | None) -> dict[str, Any]:
    told = {
        "outcome": str(decision.outcome), "by": decision.by, "at": to_rfc3339(decision.at), "comment": decision.comment,
    }  # fmt: skip
    if kind == SIGNAL:
        return {"name": terms.name, "payload": decision.answer, **told}
    if kind == ASK:
        return {"answer": decision.answer if approved is not False else None, **told}
    responses = [
        {"by": one.by, "at": to_rfc3339(one.at), "approved": one.approved, "comment": one.comment}
        for one in terms.responses
    ]
    return {"approved": approved, **told, "responses": responses}
