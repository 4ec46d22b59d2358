"""What people and signals bring to a waiting node run: the terms of its wait, the responses, and what they decide."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

APPROVAL = "approval"
ASK = "ask"
SIGNAL = "signal"
PAUSE = "pause"
"""The kind of wait that is over when somebody resumes the execution; it belongs to no node run."""
ANSWERED = frozenset({APPROVAL, ASK, SIGNAL})
"""Kinds of waits that end by what somebody brings from outside, or by their expiry."""
OUTSIDE = (APPROVAL, ASK, SIGNAL, PAUSE)
"""Kinds of waits that stand in the inbox of a workspace."""
EVERYBODY = "*"
"""Stands for the approvers of a wait that names none."""
MAX_APPROVERS = 100
MAX_SIGNALS = 1_000
"""Signals of one execution that may wait to be taken."""


class OnExpiry(StrEnum):
    """What a wait that nobody answered in time comes to."""

    FAIL = "fail"
    APPROVE = "approve"
    REJECT = "reject"
    VALUE = "value"


class OnReject(StrEnum):
    """What a rejection is to the node: its failure, or an output like any other."""

    FAIL = "fail"
    COMPLETE = "complete"


class Outcome(StrEnum):
    APPROVED = "approved"
    REJECTED = "rejected"
    ANSWERED = "answered"
    RECEIVED = "received"
    EXPIRED = "expired"


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """One person's word. `by` is the name of the token that brought it, `at` in microseconds."""

    by: str
    at: int
    approved: bool | None = None
    comment: str | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What ended the wait; `by` is None at its expiry. `answer` holds a form's answer or a signal's payload."""

    outcome: Outcome
    at: int
    by: str | None = None
    comment: str | None = None
    answer: Any = None


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What stands beside an open wait in its row (`WaitRecord.data`).

    `approvers` are names of tokens, and `operators`, `editors`, `admins` for everybody with at least that role; none
    means whoever may respond. `value` is what an expiry with `OnExpiry.VALUE` comes to.
    """

    attempt: int
    message: str | None = None
    approvers: tuple[str, ...] = ()
    quorum: int = 1
    self_approval: bool = False
    on_reject: OnReject = OnReject.FAIL
    on_expiry: OnExpiry = OnExpiry.FAIL
    value: Any = None
    form: dict[str, Any] | None = None
    name: str | None = None
    """Of the signal."""
    responses: tuple[Response, ...] = ()
    decision: Decision | None = None

    def named_approvers(self) -> tuple[str, ...]:
        """Under which names the wait is found in the inbox."""
        return self.approvers or (EVERYBODY,)


def terms_of(data: dict[str, Any] | None) -> Terms:
    return msgspec.convert(data or {"attempt": 1}, Terms)


def as_data(terms: Terms) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.to_builtins(terms)
    return data


class Responder(msgspec.Struct, frozen=True, kw_only=True):
    """Who responds. `groups` are the approvers' words for the roles that this one has; `known` is False for anybody
    on an open server, who can be told from nobody else."""

    name: str
    groups: tuple[str, ...] = ()
    known: bool = True
