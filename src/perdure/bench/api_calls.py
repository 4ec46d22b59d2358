"""The native API as far as the benches need it, over one kept connection."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from perdure.base.codec import decode, encode
from perdure.bench.figures import BenchFailed
from perdure.bench.flows import MEDIA_TYPE
from perdure.bench.http_load import Connection, request_bytes

API = "/api/v1"


def start_request(flow: str, *, wait_s: int | None = None) -> bytes:
    """A start without input; with `wait_s` it is answered when the execution has ended."""
    headers = {} if wait_s is None else {"Prefer": f"wait={wait_s}"}
    return request_bytes("POST", f"{API}/executions", body=encode({"flow": flow}), headers=headers)


async def call(connection: Connection, request: bytes, *, expect: tuple[int, ...] = (200, 201, 202)) -> Any:
    """The answer's JSON. Raises BenchFailed for any other status."""
    answer = await connection.request(request)
    if answer.status not in expect:
        raise BenchFailed(f"HTTP {answer.status} to {request.split(b' HTTP')[0]!r}: {answer.body[:500]!r}")
    return decode(answer.body) if answer.body else None


async def put_flow(connection: Connection, flow: str, document: bytes) -> None:
    await call(
        connection, request_bytes("PUT", f"{API}/flows/{flow}", body=document, headers={"Content-Type": MEDIA_TYPE})
    )


async def start_batch(connection: Connection, flow: str, inputs: list[dict[str, Any]]) -> list[str]:
    """The ids of the executions that were started, durably."""
    body = encode({"executions": [{"flow": flow, "input": one} for one in inputs]})
    answer = await call(connection, request_bytes("POST", f"{API}/executions/batch", body=body))
    return [one["id"] for one in answer["data"]]


def get(path: str, **query: Any) -> bytes:
    """A request for something under the API's root; parameters are given with their API names."""
    text = urlencode({name: value for name, value in query.items() if value is not None})
    return request_bytes("GET", f"{API}{path}?{text}" if text else f"{API}{path}")
