"""What executions wait for, and what people bring them: the inbox, responses, signals, pauses."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta

from perdure.api.answer import Answer
from perdure.api.call import Call
from perdure.api.cursors import decode_cursor, encode_cursor, place_id
from perdure.api.resources.lookup import find_execution, find_whole, flow_parameter, next_link
from perdure.api.resources.starts import full_execution
from perdure.api.route import API, NoQuery, Outcome, Route
from perdure.api.shapes import time_text, wait
from perdure.auth.roles import Role
from perdure.base.clock import to_micros
from perdure.base.ids import id_text
from perdure.engine.answers import responder_groups, wait_name
from perdure.errors import (
    AlreadyResponded,
    ExecutionEnded,
    ExecutionNotFound,
    ExecutionStopping,
    InvalidAnswer,
    InvalidCursor,
    InvalidIdentifier,
    LimitExceeded,
    NotAnApprover,
    NotPaused,
    SelfApproval,
    WaitAnswered,
    WaitNotOpen,
)
from perdure.model.answer import APPROVAL, ASK, EVERYBODY, OUTSIDE, SIGNAL, Responder
from perdure.model.decide.answer import missing
from perdure.store.records import InboxPlace, WaitFilter
from perdure.wire.executions import Execution
from perdure.wire.scalars import Text
from perdure.wire.waits import Answer as Answered
from perdure.wire.waits import (
    Inbox,
    PauseExecution,
    RespondExecution,
    SignalExecution,
    Signalled,
    WaitList,
)

ME = "me"
"""As an approver: whatever the caller may answer."""
_CHANGES = (ExecutionNotFound, ExecutionEnded, ExecutionStopping)


class InboxQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    kind: list[Literal["approval", "ask", "signal", "pause"]] = []
    flow: Annotated[Text, Meta(max_length=127)] | None = None
    approver: (
        Annotated[
            Text,
            Meta(
                max_length=200,
                description="As a flow names it, or `me`: what the caller's name and role may answer and he has not yet, "
                "approvals of what he started himself among them",
            ),
        ]
        | None
    ) = None
    due_before: Annotated[datetime, Meta(tz=True)] | None = None
    order: Literal["created", "due"] = "created"
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: str | None = None


async def get_waits(call: Call[NoQuery, None]) -> Answer:
    """What an execution waits for."""
    execution = await find_execution(call)
    waits = await call.services.engine.store.waits.of(call.workspace, execution.id)
    return Answer(body=WaitList(data=[wait(one) for one in waits]))


async def list_waits(call: Call[InboxQuery, None]) -> Answer:
    """The oldest first, or the next to expire."""
    query = call.query
    by_due = query.order == "due" or query.due_before is not None
    kinds = tuple(query.kind) or ((APPROVAL, ASK) if query.approver else (APPROVAL, ASK, SIGNAL))
    filter = WaitFilter(
        kinds=tuple(kind for kind in OUTSIDE if kind in kinds),
        flow=None if query.flow is None else flow_parameter(query.flow),
        approvers=_approvers(call),
        responder=call.principal.name if query.approver == ME else None,
        due_before=None if query.due_before is None else to_micros(query.due_before),
    )
    place = f"waits-{'due' if by_due else 'created'}"
    page = await call.services.engine.store.waits.inbox(
        call.workspace, filter, by_due=by_due, after=_after(call, place), limit=query.limit
    )
    cursor = None
    if page.next is not None:
        at, id, *key = page.next
        cursor = encode_cursor(place, call.workspace, [at, id.hex(), *key])
    return Answer(body=Inbox(data=[wait(one) for one in page.waits], next=cursor), headers=next_link(call, cursor))


async def respond_execution(call: Call[NoQuery, RespondExecution]) -> Answer:
    """Exactly once: a second answer is told who was first, when and with what."""
    execution = await find_execution(call)
    body = call.body
    has_answer = body.answer is not UNSET
    taken = await call.services.engine.answers.respond(
        call.workspace, execution.id, responder=responder(call), wait=body.wait, approved=body.approved,
        answer=body.answer if has_answer else None, has_answer=has_answer, comment=body.comment,
    )  # fmt: skip
    response, decision = taken.terms.responses[-1], taken.terms.decision
    return Answer(
        body=Answered(
            execution=id_text(execution.id),
            wait=wait_name(taken.wait),
            kind=taken.wait.kind,
            by=response.by,
            at=time_text(response.at),
            approved=response.approved,
            answer=None if decision is None else decision.answer,
            comment=response.comment,
            outcome=None if decision is None else decision.outcome,
            missing=0 if decision is not None else missing(taken.terms),
        )
    )


async def signal_execution(call: Call[NoQuery, SignalExecution]) -> Answer:
    """The oldest wait for that name takes it; without one it is kept for the next that opens."""
    execution = await find_execution(call)
    sent = await call.services.engine.answers.signal(
        call.workspace, execution.id, name=call.body.name, payload=call.body.payload, sender=call.principal.name
    )
    return Answer(
        body=Signalled(
            execution=id_text(execution.id),
            name=call.body.name,
            wait=None if sent.wait is None else wait_name(sent.wait),
            buffered=sent.buffered,
        )
    )


async def pause_execution(call: Call[NoQuery, PauseExecution | None]) -> Answer:
    """What has begun goes on to its end; nothing else is begun, and no worker is held. Its deadline still counts."""
    execution = await find_execution(call)
    reason = None if call.body is None else call.body.reason
    await call.services.engine.answers.pause(call.workspace, execution.id, by=call.principal.name, reason=reason)
    return Answer(body=await full_execution(call, *await find_whole(call)))


async def resume_execution(call: Call[NoQuery, None]) -> Answer:
    """Go on with what is paused."""
    execution = await find_execution(call)
    await call.services.engine.answers.resume(call.workspace, execution.id, by=call.principal.name)
    return Answer(body=await full_execution(call, *await find_whole(call)))


def responder(call: Call[Any, Any]) -> Responder:
    """Who calls, as the approvers of a wait know him."""
    principal = call.principal
    return Responder(
        name=principal.name, groups=responder_groups(principal.role, list(Role)), known=principal.token_id is not None
    )


def _approvers(call: Call[InboxQuery, None]) -> tuple[str, ...]:
    wanted = call.query.approver
    if wanted != ME:
        return () if wanted is None else (wanted,)
    who = responder(call)
    return (who.name, *who.groups, EVERYBODY) if who.known else ()


def _after(call: Call[InboxQuery, None], place: str) -> InboxPlace | None:
    if call.query.cursor is None:
        return None
    at, hexed, node, ordinal, label = decode_cursor(
        call.query.cursor, place, call.workspace, tuple[int, str, str, int, str]
    )  # fmt: skip
    return at, place_id(hexed), node, ordinal, label


_ONE = f"{API}/executions/{{execution}}"

ROUTES = (
    Route(
        method="GET",
        path=f"{API}/waits",
        summary="The inbox: what waits for somebody from outside",
        description=(
            "Open approvals, asks and signals of the workspace (`kind` picks, pauses too), the oldest first, or by "
            "`order=due` those that expire, the next first. `due_before` leaves out what never expires."
        ),
        tag="waits",
        handler=list_waits,
        role=Role.VIEWER,
        query=InboxQuery,
        outcomes=(Outcome(type=Inbox, headers=("Link",)),),
        errors=(InvalidCursor, InvalidIdentifier),
    ),
    Route(
        method="GET",
        path=f"{_ONE}/waits",
        summary="What it waits for",
        tag="waits",
        handler=get_waits,
        role=Role.VIEWER,
        outcomes=(Outcome(type=WaitList),),
        errors=(ExecutionNotFound,),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/respond",
        summary="Approve, reject or answer",
        description=(
            "Who answers is the token's name. It is exactly once: whoever comes second gets 409 `wait_answered`, whose "
            "`details` tell who was first (`by`), when (`at`) and what (`outcome`, `comment`, `answer`)."
        ),
        tag="waits",
        handler=respond_execution,
        role=Role.OPERATOR,
        body=RespondExecution,
        outcomes=(Outcome(type=Answered),),
        errors=(
            *_CHANGES, WaitNotOpen, WaitAnswered, AlreadyResponded, NotAnApprover, SelfApproval, InvalidAnswer,
            LimitExceeded,
        ),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/signal",
        summary="Send a signal",
        description="Signals come in the order in which they were sent; those that nothing waits for yet are kept.",
        tag="waits",
        handler=signal_execution,
        role=Role.OPERATOR,
        body=SignalExecution,
        outcomes=(Outcome(type=Signalled),),
        errors=(*_CHANGES, LimitExceeded),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/pause",
        summary="Begin nothing new in it",
        description=(
            "Attempts that run go on to their end, then it is suspended and holds no worker. Waits are still answered and "
            "expire, and the deadline counts. Pausing a paused one changes nothing."
        ),
        tag="waits",
        handler=pause_execution,
        role=Role.OPERATOR,
        body=PauseExecution,
        body_required=False,
        outcomes=(Outcome(type=Execution, description="Paused, or on its way to it"),),
        errors=_CHANGES,
    ),
    Route(
        method="POST",
        path=f"{_ONE}/resume",
        summary="Go on with a paused one",
        tag="waits",
        handler=resume_execution,
        role=Role.OPERATOR,
        outcomes=(Outcome(type=Execution),),
        errors=(*_CHANGES, NotPaused),
    ),
)  # fmt: skip
