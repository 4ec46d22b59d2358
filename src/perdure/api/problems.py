"""From an error to its problem document (RFC 9457): the one place where errors meet HTTP."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from itertools import count
from typing import Any

import msgspec

from perdure.api.answer import Answer, Header
from perdure.errors import (
    MethodNotAllowed,
    PerdureError,
    RangeNotSatisfiable,
    Unauthenticated,
    UpgradeRequired,
)
from perdure.wire.problem import ProblemDocument

MEDIA_TYPE = b"application/problem+json"
INTERNAL_ERROR = "internal_error"
_SERVER_FAULT = 500
_RUN = secrets.token_hex(5)
_requests = count(1)


def new_request_id() -> str:
    """The id of a request that brought none; unique, and in the order in which they came to this process."""
    return f"{_RUN}{next(_requests):x}"


def problem_type(code: str) -> str:
    """The `type` URI of a problem: relative, so that it leads to the reference on the server itself."""
    return f"/docs#problem-{code}"


def problem_answer(error: PerdureError, *, instance: str, request_id: str) -> Answer:
    """The answer to a known error, with the headers that belong to it."""
    document = ProblemDocument(
        type=problem_type(error.code),
        title=error.title,
        status=error.status,
        detail=error.message,
        instance=instance,
        code=error.code,
        request_id=request_id,
        errors=list(error.problems),
        details=_details(error.details),
    )
    return Answer(status=error.status, body=document, headers=_headers(error), media_type=MEDIA_TYPE)


def internal_error(*, instance: str, request_id: str) -> Answer:
    """The answer to what nobody foresaw: the log has the story under the request id."""
    document = ProblemDocument(
        type=problem_type(INTERNAL_ERROR),
        title="Internal error",
        status=_SERVER_FAULT,
        detail="the server failed at this request; its log says more under the request id",
        instance=instance,
        code=INTERNAL_ERROR,
        request_id=request_id,
        errors=[],
    )
    return Answer(status=_SERVER_FAULT, body=document, media_type=MEDIA_TYPE)


def raw_problem(error: PerdureError) -> bytes:
    """The whole response as it goes over a connection that is closed with it: there was no request to answer."""
    answer = problem_answer(error, instance="", request_id=new_request_id())
    body = msgspec.json.encode(answer.body)
    headers = [
        (b"content-type", answer.media_type),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        *answer.headers,
    ]
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    phrase = HTTPStatus(answer.status).phrase.encode()
    return b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (answer.status, phrase, lines, body)


def _headers(error: PerdureError) -> list[Header]:
    headers: list[Header] = []
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b'Bearer realm="perdure"'))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.details["allow"]).encode()))
    if isinstance(error, UpgradeRequired):
        headers += [(b"upgrade", b"websocket"), (b"connection", b"Upgrade"), (b"sec-websocket-version", b"13")]
    if isinstance(error, RangeNotSatisfiable):
        headers.append((b"content-range", b"bytes */%d" % error.details["size"]))
    return headers


def _details(details: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return msgspec.to_builtins(details) or None
    except TypeError:
        return {name: str(value) for name, value in details.items()}
