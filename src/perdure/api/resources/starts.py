"""Starting executions: one, or up to a thousand in one transaction."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from perdure.api.answer import Answer, Header
from perdure.api.call import Call
from perdure.api.findings import LISTED
from perdure.api.resources.lookup import replaced, value_text
from perdure.api.route import API, NoQuery, Outcome, Route
from perdure.api.shapes import execution, execution_summary
from perdure.auth.roles import Role
from perdure.base.clock import SECOND, to_micros
from perdure.base.durations import parse_duration
from perdure.base.ids import id_text
from perdure.engine.requests import StartRequest
from perdure.errors import (
    CallerError,
    ConcurrencyLimitReached,
    Draining,
    ExecutionNotFound,
    FlowNotFound,
    FlowVersionNotFound,
    IdempotencyConflict,
    InvalidInput,
    InvalidRequest,
    LimitExceeded,
    PerdureError,
    Problem,
    invalid_request,
)
from perdure.model.states import TERMINAL, ExecutionStatus
from perdure.store.records import ExecutionRecord, Payload, Started
from perdure.wire.executions import Execution, ExecutionBatch, StartBatch, StartExecution

MAX_WAIT_S = 300
"""Seconds that `Prefer: wait=N` may keep a request open; more is taken as this."""

_SECONDS = re.compile(r'("?)([0-9]+)\1')
_MOST_DIGITS = 9
_KEY = re.compile(r"[^\x00-\x1f\x7f]{1,255}")
_TRIGGERS = {"api", "cli"}
E = TypeVar("E", bound=PerdureError)
_canonical = msgspec.json.Encoder(order="deterministic").encode

ERRORS = (
    FlowNotFound,
    FlowVersionNotFound,
    InvalidInput,
    LimitExceeded,
    ConcurrencyLimitReached,
    IdempotencyConflict,
    Draining,
)


async def start_execution(call: Call[NoQuery, StartExecution]) -> Answer:
    """One start; with `Prefer: wait=N` the answer waits for its end."""
    body = call.body
    body = msgspec.structs.replace(body, idempotency_key=given_key(call, body.idempotency_key))
    [started] = await call.services.engine.start_executions([_request(call, body)])
    return await answer_started(call, started)


async def answer_started(call: Call[Any, Any], started: Started | PerdureError) -> Answer:
    """The execution that was started, once it has ended where `Prefer` asks for that. Raises why it was refused."""
    if isinstance(started, PerdureError):
        raise placed(started)
    engine = call.services.engine
    wait_s = preferred_wait(call.header_list(b"prefer"))
    headers: list[Header] = [(b"location", f"{API}/executions/{id_text(started.id)}".encode())]
    if started.replayed:
        headers.append((b"idempotent-replayed", b"true"))
    if wait_s is not None:
        is_fresh = started.status is ExecutionStatus.RUNNING and not started.replayed
        await call.while_connected(engine.wait_ended(call.workspace, started.id, wait_s * SECOND, is_fresh=is_fresh))
        headers.append((b"preference-applied", b"wait=%d" % wait_s))
    found = await engine.store.executions.whole(call.workspace, started.id)
    if found is None:
        raise ExecutionNotFound(f"execution {id_text(started.id)} was deleted while it was being read")
    status = 200 if found[0].status in TERMINAL else 202
    return Answer(status=status, headers=headers, body=await full_execution(call, *found))


async def start_executions(call: Call[NoQuery, StartBatch]) -> Answer:
    """All of them or none."""
    engine = call.services.engine
    requests = [_request(call, start, f"/executions/{index}") for index, start in enumerate(call.body.executions)]
    try:
        outcomes = await engine.start_executions(requests, atomic=True)
    except CallerError as error:
        raise await _of_batch(call, requests, error) from None
    now = call.services.clock.now()
    ids = [outcome.id for outcome in outcomes if isinstance(outcome, Started)]
    records = await engine.store.executions.several(call.workspace, ids)
    return Answer(status=202, body=ExecutionBatch(data=[execution_summary(record, now) for record in records]))


async def full_execution(call: Call[Any, Any], record: ExecutionRecord, payload: Payload) -> Execution:
    """The record with its input, output and error."""
    return execution(
        record,
        input=await value_text(call, payload.input),
        output=await value_text(call, payload.output),
        error=payload.error,
        now=call.services.clock.now(),
        replay=payload.replay,
    )


def preferred_wait(preferences: Iterable[str]) -> int | None:
    """Seconds of `Prefer: wait=N` (RFC 7240), at most `MAX_WAIT_S`; None without one.

    The first `wait` counts. As with every preference, one that is not understood is ignored without a word.
    """
    for preference in preferences:
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            seconds = _SECONDS.fullmatch(value.strip())
            if seconds is None:
                return None
            digits = seconds[2].lstrip("0") or "0"
            return min(int(digits), MAX_WAIT_S) if len(digits) <= _MOST_DIGITS else MAX_WAIT_S
    return None


def given_key(call: Call[Any, Any], field: str | None) -> str | None:
    """The idempotency key of the header or of the body's `field`. Raises InvalidRequest where they differ."""
    key = _header_key(call)
    if key is not None and field not in {None, key}:
        raise InvalidRequest("the Idempotency-Key header and the field idempotency_key differ; give one of them")
    return field if key is None else key


def _header_key(call: Call[Any, Any]) -> str | None:
    raw = call.headers.get(b"idempotency-key")
    if raw is None:
        return None
    try:
        key = raw.decode("utf-8")
    except UnicodeDecodeError:
        key = ""
    if not _KEY.fullmatch(key):
        raise InvalidRequest(
            "the Idempotency-Key header is not valid",
            problems=(Problem("invalid_value", "1 to 255 printable characters of UTF-8", parameter="Idempotency-Key"),),
        )
    return key


def _request(call: Call[Any, Any], start: StartExecution, pointer: str = "") -> StartRequest:
    trigger = call.header(b"perdure-trigger")
    return StartRequest(
        workspace=call.workspace,
        flow=start.flow,
        version=start.version,
        input=start.input,
        tags=start.tags,
        trigger_kind=trigger if trigger in _TRIGGERS else "api",
        trigger_id=None if call.principal.token_id is None else call.principal.name,
        trigger_context=start.trigger_context,
        idempotency_key=start.idempotency_key,
        request_hash=None if start.idempotency_key is None else request_hash(start),
        start_at=None if start.start_at is None else to_micros(start.start_at),
        priority=start.priority,
        queue=start.queue,
        timeout=None if start.timeout is None else _timeout(start.timeout, f"{pointer}/timeout"),
    )


def request_hash(body: msgspec.Struct, purpose: bytes = b"") -> bytes:
    """Equal for bodies that ask for the same, whatever the order of their fields; under one key, another `purpose` is
    another request."""
    return hashlib.sha256(purpose + _canonical(msgspec.structs.replace(body, idempotency_key=None))).digest()


def _timeout(value: str | float, pointer: str) -> int:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise invalid_request([Problem("invalid_value", str(error), pointer)]) from None


def placed(error: E) -> E | InvalidInput:
    """Problems of an input are placed in the input; in the request they stand under `/input`."""
    if isinstance(error, InvalidInput):
        return InvalidInput(error.message, problems=replaced(error.problems, "/input"), **error.details)
    return error


async def _of_batch(call: Call[Any, Any], requests: list[StartRequest], first: CallerError) -> CallerError:
    """The error of a batch with its starts' problems, each with its place, until `LISTED` of them were found."""
    errors: list[CallerError] = []
    problems: list[Problem] = []
    for index, request in enumerate(requests):
        try:
            await call.services.engine.starts.build(request)
        except CallerError as error:
            errors.append(error)
            own = placed(error).problems or (Problem(error.code, error.message, ""),)
            problems += replaced(own, f"/executions/{index}")
            if len(problems) >= LISTED:
                break
            # Other requests go on meanwhile.
            await asyncio.sleep(0)
    if not errors:
        return first
    kinds = {type(error) for error in errors}
    kind = kinds.pop() if len(kinds) == 1 else InvalidRequest
    many = "at least " if len(problems) >= LISTED else ""
    detail = f"{many}{len(errors)} of {len(requests)} starts are refused; nothing was started"
    return kind(detail, problems=tuple(problems[:LISTED]))


ROUTES = (
    Route(
        method="POST",
        path=f"{API}/executions",
        summary="Start an execution",
        description=(
            "Durable when it is answered. `Prefer: wait=N` keeps the request open for up to N seconds "
            f"(at most {MAX_WAIT_S}): 200 with the finished execution, or 202 with what it is by then. With an idempotency "
            "key (header or field) the same request within 24 hours answers with the first one's execution."
        ),
        tag="executions",
        handler=start_execution,
        role=Role.OPERATOR,
        body=StartExecution,
        request_headers=("Prefer", "Idempotency-Key"),
        outcomes=(
            Outcome(
                status=202, type=Execution, description="Accepted",
                headers=("Location", "Preference-Applied", "Idempotent-Replayed"),
            ),
            Outcome(
                status=200, type=Execution, description="Finished",
                headers=("Location", "Preference-Applied", "Idempotent-Replayed"),
            ),
        ),
        errors=ERRORS,
    ),
    Route(
        method="POST",
        path=f"{API}/executions/batch",
        summary="Start up to 1,000 executions in one transaction",
        tag="executions",
        handler=start_executions,
        role=Role.OPERATOR,
        body=StartBatch,
        outcomes=(Outcome(status=202, type=ExecutionBatch, description="All accepted"),),
        errors=ERRORS,
    ),
)  # fmt: skip
