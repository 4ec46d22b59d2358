"""Waits: what executions wait for, and what people and programs bring."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from perdure.base.texts import END
from perdure.wire.scalars import FlowId, Id, Json, Text, Time

MAX_COMMENT = 4_000
"""Characters."""
SIGNAL_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,126}"

Comment = Annotated[Text, Meta(max_length=MAX_COMMENT)]
SignalName = Annotated[str, Meta(pattern=SIGNAL_NAME + END, examples=["paid", "stock/arrived"])]
WaitName = Annotated[
    Text,
    Meta(
        max_length=200,
        examples=["approve", "approve[3]", "approve@2"],
        description="`node`, `node[ordinal]`, each with `@attempt` where that matters",
    ),
]


class WaitResponse(Struct, kw_only=True):
    """What one person said."""

    by: str
    at: Time
    approved: bool | None
    comment: str | None


class Wait(Struct, kw_only=True):
    """`kind` is approval, ask, signal, timer, child, unit or pause; what does not belong to the kind is null.

    `id` is what `respond` takes as `wait`. `approvers` are names of tokens, and `operators`, `editors`, `admins` for
    everybody with at least that role; an empty list leaves it to whoever may respond. `form` is the JSON Schema of an
    answer, `name` a signal's. `missing` is how many more have to approve; `answered` tells that it is decided, and that
    the execution is about to go on. `on_expiry` is fail, approve, reject or value, at `due_at`. A pause has no node.
    """

    id: str
    execution: Id
    flow: FlowId
    kind: str
    node: str | None
    ordinal: int
    label: str
    attempt: int | None
    message: str | None
    approvers: list[str] | None
    quorum: int | None
    missing: int | None
    responses: list[WaitResponse] | None
    form: dict[str, Any] | None
    name: str | None
    answered: bool
    on_expiry: str | None
    due_at: Time | None
    child: Id | None
    by: str | None
    """Who paused it."""
    reason: str | None
    created_at: Time


class WaitList(Struct, kw_only=True):
    data: list[Wait]


class Inbox(Struct, kw_only=True):
    """Open waits of a workspace for somebody from outside. `next` is the cursor of the following page."""

    data: list[Wait]
    next: str | None


class RespondExecution(Struct, kw_only=True, forbid_unknown_fields=True):
    """What `POST /executions/{execution}/respond` takes: `approved` for an approval, `answer` for an ask (or `approved`
    false, to refuse to answer). `wait` may be left out where one alone is open."""

    wait: WaitName | None = None
    approved: bool | None = None
    answer: Json | UnsetType = UNSET
    comment: Comment | None = None


class Answer(Struct, kw_only=True):
    """A response that was taken. `outcome` is approved, rejected or answered; null while `missing` more have to approve."""

    execution: Id
    wait: str
    kind: str
    by: str
    at: Time
    approved: bool | None
    answer: Json
    comment: str | None
    outcome: str | None
    missing: int


class SignalExecution(Struct, kw_only=True, forbid_unknown_fields=True):
    name: SignalName
    payload: Json = None


class Signalled(Struct, kw_only=True):
    """`wait` is the one that took the signal; null: it is kept until one opens, as one of `buffered` of its name."""

    execution: Id
    name: str
    wait: str | None
    buffered: int


class PauseExecution(Struct, kw_only=True, forbid_unknown_fields=True):
    reason: Annotated[Text, Meta(max_length=1000)] | None = None
