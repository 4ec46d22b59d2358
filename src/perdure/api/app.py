"""The API as an ASGI application: finds the route, checks the caller, reads the request, writes the answer."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Iterable, Mapping
from time import perf_counter
from typing import Any

import msgspec
import structlog

from perdure.api.answer import Answer, ClientGone, Header, Receive, Responder, Scope, Send
from perdure.api.bodies import read_request_body
from perdure.api.call import Call
from perdure.api.origin import check_loopback_host, check_origin
from perdure.api.path import parse_path
from perdure.api.problems import internal_error, new_request_id, problem_answer
from perdure.api.queries import parse_query
from perdure.api.route import Route
from perdure.api.router import Router
from perdure.api.services import Services
from perdure.api.websocket import asks_for_upgrade
from perdure.auth.authority import ANYBODY, UNKNOWN, Principal, workspace_of
from perdure.errors import PerdureError

GZIP_FROM = 1024
"""Bytes from which on a response is compressed for those who accept it."""
GZIP_ASIDE = 256 * 1024
"""Bytes from which on that happens in a thread."""
UNROUTED = "unrouted"
"""The route's name in metrics for what no route fits."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_encode = msgspec.json.Encoder().encode
_log = structlog.get_logger(__name__)


class Api:
    """An ASGI application over one route table and what the server is made of."""

    def __init__(self, routes: Iterable[Route], services: Services) -> None:
        self._router = Router(routes)
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began = perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        exchange = _Exchange(scope, headers, receive, send)
        try:
            reply = await self._reply(scope, headers, receive, exchange)
        except ClientGone:
            return
        except PerdureError as error:
            if error.status >= 500:
                _log.warning("request refused", code=error.code, detail=error.message, request_id=exchange.request_id)
            reply = problem_answer(error, instance=exchange.path, request_id=exchange.request_id)
        except Exception:
            _log.exception("request failed", method=scope["method"], path=exchange.path, request_id=exchange.request_id)
            reply = internal_error(instance=exchange.path, request_id=exchange.request_id)
        if isinstance(reply, Answer):
            await exchange.send_answer(reply)
            self._services.metrics.request(exchange.route, reply.status, perf_counter() - began)
        else:
            status = await exchange.hand_over(reply)
            self._services.metrics.request(exchange.route, status, None)

    async def _reply(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, exchange: _Exchange
    ) -> Answer | Responder:
        services = self._services
        method = scope["method"]
        if method == "OPTIONS":
            await self._guard_open_server(headers)
            allow = ", ".join(self._router.allowed(exchange.path))
            return Answer(status=204, headers=[(b"allow", allow.encode())])
        route, values = self._router.match(method, exchange.path)
        exchange.route = route.name
        await self._guard_open_server(headers, route)
        principal = await self._admit(route, headers)
        if route.changes_state or route.streams:
            check_origin(headers)
        named = headers.get(b"perdure-workspace")
        workspace = workspace_of(principal, None if named is None else named.decode("latin-1"))
        raw_query = scope["query_string"].decode("latin-1")
        call: Call[Any, Any] = Call(
            services=services,
            path=parse_path(route.parameters, values) if values else {},
            query=parse_query(route.query, raw_query),
            body=await read_request_body(route, headers, receive) if method not in {"GET", "HEAD"} else None,
            headers=headers,
            principal=principal,
            workspace=workspace,
            request_id=exchange.request_id,
            raw_path=exchange.path,
            raw_query=raw_query,
            scope=scope,
            receive=receive,
        )
        return await route.handler(call)

    async def _guard_open_server(self, headers: Mapping[bytes, bytes], route: Route | None = None) -> None:
        """What needs no token answers to this machine's own names only, lest a page elsewhere gets at it.

        Routes for everybody do not ask the store for it, which may be what is out of order.
        """
        services = self._services
        if not services.about.loopback or services.authority.is_closed:
            return
        if (route is not None and route.role is None) or await services.authority.is_open():
            check_loopback_host(headers)

    async def _admit(self, route: Route, headers: Mapping[bytes, bytes]) -> Principal:
        if route.role is None:
            return ANYBODY
        authorization = headers.get(b"authorization")
        if authorization is None and route.upgrades and asks_for_upgrade(headers):
            return ANYBODY if await self._services.authority.is_open() else UNKNOWN
        principal = await self._services.authority.identify(
            None if authorization is None else authorization.decode("latin-1")
        )
        principal.check_role(route.role)
        return principal


class _Exchange:
    """One request and its response on the wire."""

    def __init__(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, send: Send) -> None:
        self._scope = scope
        self._headers = headers
        self._receive = receive
        self._send = send
        self.route = UNROUTED
        self.path: str = scope["raw_path"].decode("latin-1")
        given = headers.get(b"x-request-id", b"")
        self.request_id = given.decode() if _REQUEST_ID.fullmatch(given) else new_request_id()

    async def send_answer(self, answer: Answer) -> None:
        body = answer.body if isinstance(answer.body, bytes) else b"" if answer.body is None else _encode(answer.body)
        headers = self._standing_headers()
        headers += answer.headers
        if answer.body is not None:
            headers.append((b"content-type", answer.media_type))
            if len(body) > GZIP_FROM:
                headers.append((b"vary", b"Accept-Encoding"))
                if _accepts_gzip(self._headers):
                    body = await asyncio.to_thread(_gzip, body) if len(body) > GZIP_ASIDE else _gzip(body)
                    headers.append((b"content-encoding", b"gzip"))
        if answer.status not in {204, 304}:
            headers.append((b"content-length", str(len(body)).encode()))
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": b"" if self._head_only else body, "more_body": False})

    async def hand_over(self, responder: Responder) -> int:
        try:
            return await responder.respond(
                headers=self._standing_headers(), head_only=self._head_only, receive=self._receive, send=self._send
            )
        except Exception:
            # The status line is out: all that is left is to cut the connection, which tells the reader enough.
            _log.exception("response failed", path=self.path, request_id=self.request_id)
            raise

    @property
    def _head_only(self) -> bool:
        return bool(self._scope["method"] == "HEAD")

    def _standing_headers(self) -> list[Header]:
        headers: list[Header] = [
            (b"x-request-id", self.request_id.encode()),
            (b"x-content-type-options", b"nosniff"),
        ]
        trace = self._headers.get(b"traceparent")
        if trace is not None and _TRACEPARENT.fullmatch(trace):
            headers.append((b"traceparent", trace))
        return headers


def _accepts_gzip(headers: Mapping[bytes, bytes]) -> bool:
    for part in headers.get(b"accept-encoding", b"").lower().split(b","):
        coding, _, weight = part.partition(b";")
        if coding.strip() in {b"gzip", b"*"}:
            return weight.replace(b" ", b"") not in {b"q=0", b"q=0.0", b"q=0.00", b"q=0.000"}
    return False


def _gzip(body: bytes) -> bytes:
    return zlib.compress(body, level=1, wbits=31)
