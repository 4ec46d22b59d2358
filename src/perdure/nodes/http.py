"""Node type `http`: one request, with the address that is connected to under control."""

from __future__ import annotations

import asyncio
import http.cookiejar
import logging
from typing import TYPE_CHECKING, Any, ClassVar

from perdure.base.codec import VALUE_LIMIT, Json, encode, encode_text
from perdure.base.durations import parse_duration
from perdure.base.texts import cut
from perdure.model.failure import Failure
from perdure.nodes.http_body import BodyTooLarge, BodyUnreadable, body_json, body_text, read_body
from perdure.nodes.http_guard import AddressRefused, Guard, GuardedBackend, Resolve, resolve_by_system
from perdure.nodes.interface import Call, NodeFailed
from perdure.nodes.runtime import NodeRuntime

if TYPE_CHECKING:
    import httpx2

_DEFAULT_TIMEOUT = "30s"
_MAX_REDIRECTS = 10
_FAILURE_BODY = 2 * 1024
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
_NOT_CARRIED_OUT = frozenset({429, 503})
"""Statuses that say that the request was not taken, so that any method may be tried again."""
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_SAFE_ELSEWHERE = frozenset({"accept", "accept-encoding", "accept-language", "user-agent", "content-type"})
"""Request headers that follow a redirect to another host."""
_SCALAR = {"type": ["string", "number", "boolean", "null"]}


class HttpNode:
    """
    Args:
        runtime: gives the settings of what may be reached, and closes the connections.
        resolve: how host names become addresses.
    """

    name: ClassVar[str] = "http"
    control: ClassVar[bool] = False
    config_schema: ClassVar[dict[str, Any]] = {
        "description": (
            "One HTTP request. The output is `{status, headers, body, json}`; `json` is null when the body is none. "
            "4xx and 5xx fail the node, unless `ok_statuses` lists them (`404`, `4xx`), and are retried where that "
            "is safe. Private addresses are refused, on every redirect too, unless the server's settings or "
            "`allow_private: true` (no template) allow them. At most 8 MiB are read."
        ),
        "type": "object",
        "properties": {
            "url": {"type": "string", "minLength": 1},
            "method": {
                "description": "GET by default, POST with a body.",
                "type": "string",
                "pattern": r"^([A-Za-z]{1,20}|\$\{.*\})$",
            },
            "headers": {"anyOf": [{"type": "object", "additionalProperties": _SCALAR}, {"type": "string"}]},
            "query": {
                "anyOf": [
                    {
                        "type": "object",
                        "additionalProperties": {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR}]},
                    },
                    {"type": "string"},
                ]
            },
            "json": {"description": "The body, sent as JSON."},
            "body": {"description": "The body as text.", "type": "string"},
            "form": {"anyOf": [{"type": "object", "additionalProperties": _SCALAR}, {"type": "string"}]},
            "timeout": {
                "description": "For the whole exchange, redirects included; 30s by default.",
                "type": ["string", "number"],
            },
            "ok_statuses": {
                "type": "array",
                "items": {
                    "anyOf": [
                        {"type": "integer", "minimum": 100, "maximum": 599},
                        {"type": "string", "pattern": "^[1-5](xx|[0-9]{2})$"},
                    ]
                },
            },
            "follow_redirects": {"description": "True by default.", "type": "boolean"},
            "allow_private": {"type": "boolean"},
        },
        "required": ["url"],
        "additionalProperties": False,
        "not": {
            "description": "a request has one body: give json, body or form",
            "anyOf": [{"required": pair} for pair in (["json", "body"], ["json", "form"], ["body", "form"])],
        },
    }
    examples: ClassVar[list[Any]] = [
        {"url": "https://example.org/feed.json", "headers": {"Authorization": "Bearer ${secrets.token}"}},
        {"url": "https://example.org/items", "json": {"name": "${input.name}"}, "ok_statuses": [409], "timeout": "10s"},
    ]

    def __init__(self, runtime: NodeRuntime, *, resolve: Resolve = resolve_by_system) -> None:
        self._runtime = runtime
        self._resolve = resolve
        self._clients: dict[bool, httpx2.AsyncClient] = {}
        self._opening = asyncio.Lock()

    async def run(self, call: Call) -> Json:
        config = call.config
        has_body = any(name in config for name in ("json", "body", "form"))
        method = str(config.get("method") or ("POST" if has_body else "GET")).upper()
        client = await self._client(opted_in=config.get("allow_private") is True)
        exchange = Exchange(client, method, config)
        try:
            return await exchange.run()
        except asyncio.CancelledError:
            raise
        except (AddressRefused, BodyTooLarge, BodyUnreadable, TimeoutError, OSError, *exchange.errors) as error:
            raise NodeFailed(exchange.failure_of(error)) from None

    async def _client(self, *, opted_in: bool) -> httpx2.AsyncClient:
        """One for all nodes, and another for those that may reach private addresses: they share no connection."""
        async with self._opening:
            client = self._clients.get(opted_in)
            if client is None:
                settings = self._runtime.settings
                guard = Guard(
                    allow_private=settings.allow_private_addresses,
                    allow_private_hosts=settings.allow_private_hosts,
                    opted_in=opted_in,
                    resolve=self._resolve,
                )
                client = await asyncio.to_thread(_open_client, guard, settings.http_connections)
                self._clients[opted_in] = client
                self._runtime.on_stop(client.aclose)
            return client


class Exchange:
    """A request and what came of it."""

    def __init__(self, client: httpx2.AsyncClient, method: str, config: dict[str, Any]) -> None:
        # It costs 150 ms, which flows without http nodes need not spend.
        import httpx2  # noqa: PLC0415

        self.errors = (httpx2.HTTPError, httpx2.InvalidURL)
        self._not_sent = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
        self._no_url = (httpx2.InvalidURL, httpx2.UnsupportedProtocol)
        self._client = client
        self._method = method
        self._config = config
        self._where = "the URL"

    async def run(self) -> Json:
        async with asyncio.timeout(_seconds(self._config.get("timeout", _DEFAULT_TIMEOUT))):
            request = self._request()
            for _ in range(_MAX_REDIRECTS + 1):
                self._where = _origin(request.url)
                response = await self._client.send(request, stream=True, follow_redirects=False)
                try:
                    following = response.next_request
                    if following is None or not self._config.get("follow_redirects", True):
                        return await self._answer(response)
                finally:
                    await response.aclose()
                request = _redirected(request, following)
        raise NodeFailed(self._failure("http_error", f"more than {_MAX_REDIRECTS} redirects", retryable=False))

    def failure_of(self, error: BaseException) -> Failure:
        """Without the URL's path and query, which may hold secrets."""
        is_safe = self._method in _IDEMPOTENT
        if isinstance(error, AddressRefused):
            return self._failure("address_refused", str(error), retryable=False)
        if isinstance(error, BodyTooLarge):
            message = f"{self._where} answered with more than {VALUE_LIMIT} bytes"
            return self._failure("limit_exceeded", message, retryable=False)
        if isinstance(error, BodyUnreadable):
            return self._failure("http_error", f"{self._where}: {error}", retryable=is_safe)
        if isinstance(error, TimeoutError):
            return self._failure("http_timeout", f"{self._where} did not answer in time", retryable=is_safe)
        kind = type(error).__name__
        if isinstance(error, self._no_url):
            return self._failure("invalid_url", f"{self._where} is none that can be requested", retryable=False)
        text = str(error) if isinstance(error, (OSError, *self._not_sent)) else kind
        retryable = isinstance(error, (OSError, *self._not_sent)) or is_safe
        return self._failure("http_error", f"{self._where}: {text or kind}", retryable=retryable, types=(kind,))

    def _request(self) -> httpx2.Request:
        config = self._config
        given = {name.lower(): text for name, text in _texts(config, "headers").items()}
        headers = {"accept-encoding": "gzip", **given}
        body: dict[str, Any] = {}
        if "json" in config:
            body["content"] = encode(config["json"])
            headers = {"content-type": "application/json", **headers}
        elif "form" in config:
            body["data"] = _texts(config, "form")
        elif "body" in config:
            body["content"] = _text(config["body"])
        request = self._client.build_request(
            self._method, str(config["url"]), headers=headers, params=_query(config), **body
        )
        if request.url.scheme not in {"http", "https"} or not request.url.host:
            message = "the url is none; write http://host/path or https://host/path"
            raise NodeFailed(self._failure("invalid_url", message, retryable=False))
        return request

    async def _answer(self, response: httpx2.Response) -> Json:
        encoding = response.headers.get("content-encoding", "")
        body = await read_body(response.aiter_raw(), encoding=encoding, limit=VALUE_LIMIT)
        content_type = response.headers.get("content-type", "")
        status = response.status_code
        if status >= 400 and not _is_listed(status, self._config.get("ok_statuses", ())):
            raise NodeFailed(self._status_failure(status, body_text(body[:_FAILURE_BODY], content_type), response))
        return {
            "status": status,
            "headers": {name.lower(): value for name, value in response.headers.items()},
            "body": body_text(body, content_type),
            "json": body_json(body, content_type),
        }

    def _status_failure(self, status: int, body: str, response: httpx2.Response) -> Failure:
        retryable = status in _NOT_CARRIED_OUT or (status in _PASSING and self._method in _IDEMPOTENT)
        return self._failure(
            "http_status",
            f"{self._where} answered {self._method} with {status} {response.reason_phrase}".rstrip(),
            retryable=retryable,
            details={"status": status, "body": body, "retry_after": response.headers.get("retry-after")},
        )

    def _failure(
        self,
        code: str,
        message: str,
        *,
        retryable: bool,
        details: dict[str, Any] | None = None,
        types: tuple[str, ...] = (),
    ) -> Failure:
        return Failure(code=code, message=message, retryable=retryable, details=details, error_types=(*types, code))


def _open_client(guard: Guard, connections: int) -> httpx2.AsyncClient:
    import httpcore2  # noqa: PLC0415
    import httpx2  # noqa: PLC0415

    # It would log every URL, with what is secret in it.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    transport = httpx2.AsyncHTTPTransport(trust_env=True)
    # The transport has no parameter for it; its other half, the mapping of errors, is worth keeping.
    transport._pool = httpcore2.AsyncConnectionPool(
        ssl_context=httpx2.create_ssl_context(),
        max_connections=connections,
        keepalive_expiry=30,
        network_backend=GuardedBackend(httpcore2.AnyIOBackend(), guard),  # type: ignore[arg-type]
    )
    nobodys = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    return httpx2.AsyncClient(
        transport=transport, timeout=None, trust_env=False, cookies=nobodys, headers={"user-agent": "perdure"}
    )


def _redirected(request: httpx2.Request, following: httpx2.Request) -> httpx2.Request:
    """Headers may be credentials of any name: they do not follow to another origin."""
    if _origin(request.url) != _origin(following.url):
        kept = _SAFE_ELSEWHERE | {"host", "content-length", "transfer-encoding"}
        for name in [name for name in following.headers if name.lower() not in kept]:
            del following.headers[name]
    return following


def _origin(url: httpx2.URL) -> str:
    port = f":{url.port}" if url.port is not None else ""
    return f"{url.scheme}://{url.host}{port}"


def _seconds(timeout: Any) -> float:
    try:
        return parse_duration(timeout) / 1_000_000
    except (TypeError, ValueError) as error:
        failure = Failure(code="invalid_timeout", message=f"timeout: {error}", retryable=False)
        raise NodeFailed(failure) from None


def _text(value: Json) -> str:
    """As a template writes it within a text: null as nothing, what is no text as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else encode_text(value)


def _texts(config: dict[str, Any], field: str) -> dict[str, str]:
    """The members under a field, those that are null left out. Raises NodeFailed (`invalid_config`)."""
    values = config.get(field)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise _no_map(field, values)
    return {str(name): _text(value) for name, value in values.items() if value is not None}


def _query(config: dict[str, Any]) -> dict[str, str | list[str]] | str | None:
    query = config.get("query")
    if isinstance(query, dict):
        return {
            name: [_text(item) for item in value] if isinstance(value, list) else _text(value)
            for name, value in query.items()
        } or None
    if query is None or isinstance(query, str):
        return query or None
    raise _no_map("query", query)


def _no_map(field: str, value: Json) -> NodeFailed:
    message = f"{field} is a map from names to texts, not {cut(encode_text(value), 80)}"
    return NodeFailed(Failure(code="invalid_config", message=message, retryable=False, error_types=("invalid_config",)))


def _is_listed(status: int, listed: Any) -> bool:
    return any(str(entry) in {str(status), f"{status // 100}xx"} for entry in listed)
