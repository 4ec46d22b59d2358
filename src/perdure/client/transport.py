"""Calls over HTTP: one request with its retries, or one open stream; problems become typed errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx2
import msgspec
from httpx2.websockets import AsyncWebSocketSession, WebSocketUpgradeError

from perdure.base.codec import VALUE_LIMIT
from perdure.client.errors import ProblemError, ServerUnreachable, UnexpectedResponse, error_class
from perdure.client.retries import RETRYABLE_STATUSES, RetryPolicy, retry_after
from perdure.errors import Problem
from perdure.wire.problem import ProblemDocument

T = TypeVar("T")
Params = Mapping[str, str | int | bool | Sequence[str] | None]

API = "/api/v1"
CONNECT_TIMEOUT_S = 10.0
STREAM_SILENCE_S = 45.0
"""Silence after which a stream counts as broken; the server pings every 15 s."""
SOCKET_MESSAGE_BYTES = 2 * VALUE_LIMIT
CALLS_AT_ONCE = 100
"""Further calls wait for their turn, and for as long as it takes; open streams are not among them."""
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class _ProblemDocument(msgspec.Struct):
    title: str = "Error"
    detail: str | None = None
    code: str = "error"
    errors: tuple[Problem, ...] = ()


class Transport:
    """One server, one token, one workspace; a pool of connections that `close` gives back.

    Raises ValueError for a URL that is none, and for a token or workspace that no request can carry.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None,
        workspace: str | None,
        timeout_s: float,
        policy: RetryPolicy,
        trigger: str | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.policy = policy
        self._turns = asyncio.Semaphore(CALLS_AT_ONCE)
        url = _address(base_url)
        headers = {"User-Agent": f"perdure/{version('perdure')}"}
        if token is not None:
            headers["Authorization"] = f"Bearer {_sendable(token, 'token')}"
        if workspace is not None:
            headers["Perdure-Workspace"] = _sendable(workspace, "workspace's name")
        if trigger is not None:
            headers["Perdure-Trigger"] = trigger
        self._http = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
            # A proxy named in the environment cannot reach what listens on this machine only.
            trust_env=not _is_loopback(url.host),
            # Each open stream holds a connection, so that a bound would have calls wait for the end of streams.
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=CALLS_AT_ONCE),
            event_hooks={"response": [_read_refusal]},
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        idempotent: bool | None = None,
        timeout_s: float | None = None,
    ) -> httpx2.Response:
        """The answer to a call, tried as often as the policy allows.

        Args:
            path: below `/api/v1`, or from the root where it begins with `//`.
            body: sent as JSON; `content` is sent as it is.
            idempotent: whether trying again can do no harm; None goes by the method.
            timeout_s: how long the answer may take beyond the client's own timeout (a `Prefer: wait`).

        Raises ProblemError, ServerUnreachable.
        """
        sent = dict(headers or {})
        if body is not None:
            content = msgspec.json.encode(body)
            sent.setdefault("Content-Type", "application/json")
        request = self._http.build_request(
            method,
            self._url(path),
            params=_clean(params),
            content=content,
            headers=sent,
            timeout=self._timeout(timeout_s),
        )
        safe = method in IDEMPOTENT if idempotent is None else idempotent
        failures = 0
        while True:
            error: ProblemError | ServerUnreachable
            try:
                async with self._turns:
                    response = await self._http.send(request)
            except NEVER_SENT as cause:
                allowed = self.policy.connect_attempts
                error = self._unreachable(cause)
            except httpx2.TransportError as cause:
                allowed = self.policy.attempts if safe else 1
                error = self._unreachable(cause)
            else:
                if response.status_code < 400:
                    return response
                error = self._problem(response)
                allowed = self.policy.attempts if safe and response.status_code in RETRYABLE_STATUSES else 1
            failures += 1
            delay = self.policy.delay(failures, getattr(error, "retry_after_s", None))
            if failures >= allowed or delay is None:
                raise error
            await self.policy.sleep(delay)

    async def call(self, method: str, path: str, answer: type[T], **options: Any) -> T:
        """As `request`, with the answer's JSON as a value of the given type."""
        response = await self.request(method, path, **options)
        return decoded(response.content, answer, status=response.status_code)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        silence_s: float | None = None,
    ) -> AsyncIterator[httpx2.Response]:
        """An answer whose body is read as it comes; never tried again. Raises ProblemError, ServerUnreachable.

        `silence_s`: after which it counts as broken, where the server does not ping.
        """
        timeout = httpx2.Timeout(STREAM_SILENCE_S if silence_s is None else silence_s, connect=CONNECT_TIMEOUT_S)
        try:
            async with self._http.stream(
                method, self._url(path), params=_clean(params), headers=headers, timeout=timeout
            ) as response:
                if response.status_code >= 400:
                    await response.aread()
                    raise self._problem(response)
                yield response
        except httpx2.TransportError as cause:
            raise self._unreachable(cause) from cause

    @asynccontextmanager
    async def websocket(self, path: str) -> AsyncIterator[AsyncWebSocketSession]:
        """An open WebSocket; never tried again. Raises ProblemError, ServerUnreachable, within or without a group."""
        url = self._url(path).replace("http", "ws", 1)
        try:
            async with self._http.websocket(url, max_message_size_bytes=SOCKET_MESSAGE_BYTES) as socket:
                yield socket
        except WebSocketUpgradeError as refused:
            raise self._problem(refused.response) from None
        except httpx2.TransportError as cause:
            raise self._unreachable(cause) from cause

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _url(self, path: str) -> str:
        return self.base_url + (path[1:] if path.startswith("//") else API + path)

    def _timeout(self, extra_s: float | None) -> httpx2.Timeout:
        own = self._http.timeout
        read = None if own.read is None or extra_s is None else own.read + extra_s
        return own if read is None else httpx2.Timeout(own.read, connect=own.connect, read=read)

    def _unreachable(self, cause: httpx2.TransportError) -> ServerUnreachable:
        reason = str(cause) or type(cause).__name__
        error = ServerUnreachable(f"no answer from {self.base_url}: {reason}", url=self.base_url)
        error.__cause__ = cause
        return error

    def _problem(self, response: httpx2.Response) -> ProblemError:
        status = response.status_code
        wait_s = retry_after(response.headers.get("Retry-After"), self.policy.clock)
        try:
            document = msgspec.json.decode(response.content, type=_ProblemDocument)
            members = msgspec.json.decode(response.content, type=dict[str, Any])
        except msgspec.MsgspecError:
            detail = f"{self.base_url} answered {status} without a problem document; is it a perdure server?"
            document, members = _ProblemDocument(title=response.reason_phrase, detail=detail, code="unexpected"), {}
        known = {"type", "title", "status", "detail", "code", "errors"}
        return error_class(status, document.code)(
            status=status,
            code=document.code,
            title=document.title,
            detail=document.detail,
            errors=document.errors,
            retry_after_s=wait_s,
            extra={key: value for key, value in members.items() if key not in known},
        )


def problem_of(document: ProblemDocument) -> ProblemError:
    """The error that a problem document inside an answer stands for."""
    return error_class(document.status, document.code)(
        status=document.status,
        code=document.code,
        title=document.title,
        detail=document.detail,
        errors=tuple(document.errors),
        extra={"instance": document.instance, "request_id": document.request_id, "details": document.details},
    )


def segment(text: str) -> str:
    """One segment of a path: what else it may hold does not lead to another path or into the query."""
    return "%2E" * len(text) if text in {".", ".."} else quote(text, safe="")


def decoded(data: bytes | str, answer: type[T], *, status: int) -> T:
    """Raises UnexpectedResponse when the JSON is none or has another shape than `answer`."""
    try:
        return msgspec.json.decode(data, type=answer)
    except msgspec.MsgspecError as error:
        raise UnexpectedResponse(f"the server's answer is not as promised: {error}", status=status) from error


async def _read_refusal(response: httpx2.Response) -> None:
    """Of a WebSocket that is refused the body is gone when the error is raised."""
    if response.status_code >= 400 and response.request.headers.get("upgrade") == "websocket":
        await response.aread()


def _clean(params: Params | None) -> dict[str, Any] | None:
    if params is None:
        return None
    return {
        key: ("true" if value else "false") if isinstance(value, bool) else value
        for key, value in params.items()
        if value is not None and value != ()
    }


def _address(base_url: str) -> httpx2.URL:
    """Raises ValueError."""
    wrong = f"{base_url!r} is no URL of a server; write http://host:port"
    try:
        url = httpx2.URL(base_url.rstrip("/"))
    except httpx2.InvalidURL:
        raise ValueError(wrong) from None
    has_port = url.port is None or 0 < url.port < 65_536
    if url.scheme not in {"http", "https"} or not url.host or not has_port:
        raise ValueError(wrong)
    return url


def _sendable(text: str, of: str) -> str:
    """Raises ValueError, which does not show what may be a secret."""
    if not (text.isascii() and text.isprintable()):
        raise ValueError(f"the {of} holds characters that no header of a request can; printable ASCII is what fits")
    return text


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
