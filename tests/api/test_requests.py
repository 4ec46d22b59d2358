"""Whatever is wrong with a request is told by name and place, all of it at once, and never costs a 500."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, get_args
from urllib.parse import quote
from uuid import UUID

import msgspec
import pytest

from perdure.api.bodies import BODY_LIMIT, decode_json
from perdure.api.openapi import openapi_document
from perdure.api.resources.lists import Field
from perdure.api.routes import ROUTES
from perdure.errors import InvalidRequest
from perdure.model.states import ExecutionStatus
from perdure.wire.problem import ProblemDocument
from perdure.wire.replays import ReplayExecution
from tests.api.world import World

JSON = {"content-type": "application/json"}


async def post(world: World, content: Any, headers: dict[str, str] | None = None, path: str = "/executions") -> Any:
    return await world.ask("POST", path, content=content, headers=JSON if headers is None else headers)


@asynccontextmanager
async def connection(world: World) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection to the server."""
    host, _, port = world.server.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def codes(response: Any) -> set[str]:
    return {problem["code"] for problem in response.json()["errors"]}


async def test_all_problems_of_a_body_are_listed_with_their_pointers(world: World) -> None:
    body = {"flo": 1, "version": 0, "tags": {"a": 1}, "start_at": "soon", "priority": 10, "timeout": []}
    response = await world.ask("POST", "/executions", body)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    problems = {problem["pointer"]: problem for problem in response.json()["errors"]}
    assert set(problems) == {"/flo", "/flow", "/version", "/tags/a", "/start_at", "/priority", "/timeout"}
    assert "did you mean 'flow'" in problems["/flo"]["detail"]
    assert problems["/priority"]["detail"] == "10 is greater than the maximum of 9"
    assert problems["/start_at"]["code"] == "invalid_value"
    assert problems["/start_at"]["detail"].endswith("is no time with an offset, such as 2026-11-22T13:45:00Z")


async def test_all_problems_of_a_query_are_listed_by_parameter(world: World) -> None:
    response = await world.ask("GET", "/executions?limt=1&limit=0&offset=20000&status=done&order=up&created_after=now")
    assert response.status_code == 422
    problems = {problem["parameter"]: problem for problem in response.json()["errors"]}
    assert set(problems) == {"limt", "limit", "offset", "status", "order", "created_after"}
    assert "did you mean 'limit'" in problems["limt"]["detail"]
    assert "minimum of 1" in problems["limit"]["detail"]
    assert "maximum of 10000" in problems["offset"]["detail"]


@pytest.mark.parametrize(
    ("query", "options", "hint"),
    [
        ("status=xyz", ExecutionStatus, ""),
        ("status=complete", ExecutionStatus, "; did you mean 'completed'?"),
        ("fields=inputs", get_args(Field), "; did you mean 'input'?"),
        ("order=up", ["newest", "oldest"], ""),
    ],
)
async def test_a_value_that_is_none_of_a_few_is_told_them_all(
    world: World, query: str, options: Any, hint: str
) -> None:
    [problem] = (await world.ask("GET", f"/executions?{query}")).json()["errors"]
    word = query.partition("=")[2]
    assert problem["detail"] == f'"{word}" is none of {", ".join(sorted(options))}{hint}'


@pytest.mark.parametrize(
    ("value", "pointer", "code", "told"),
    [
        ({"from": "charge"}, "/from", "invalid_value", '"charge" is not of type array, and none of failed'),
        ({"from": [1]}, "/from/0", "invalid_type", '1 is not of type "string"'),
        ({"from": []}, "/from", "out_of_range", "it has too few items; there must be at least 1"),
        ({"version": 0}, "/version", "out_of_range", "0 is less than the minimum of 1"),
        ({"version": 2**31}, "/version", "out_of_range", "2147483648 is greater than the maximum of 2147483647"),
        (
            {"version": "lates"},
            "/version",
            "invalid_value",
            "\"lates\" is not of type integer, and none of latest, same; did you mean 'latest'?",
        ),
    ],
)
def test_a_value_that_is_none_of_several_kinds_is_told_what_each_would_take(
    value: Any, pointer: str, code: str, told: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode_json(json.dumps(value).encode(), ReplayExecution)
    [problem] = refused.value.problems
    assert (problem.pointer, problem.code, problem.detail) == (pointer, code, told)


async def test_ids_that_are_none_and_too_many_are_told_in_words(world: World) -> None:
    for asked, pointer, told in (
        ({"ids": ["x"]}, "/ids/0", '"x" is no UUID'),
        ({"ids": [str(UUID(int=0))] * 10_001}, "/ids", "it has too many items; there must be at most 10000"),
        ({"filter": {"q": "abc\0"}}, "/filter/q", '"abc\\u0000" holds a NUL character'),
    ):
        response = await post(world, json.dumps({"action": "cancel", **asked}), path="/executions/bulk")
        [problem] = response.json()["errors"]
        assert (problem["pointer"], problem["detail"]) == (pointer, told)


async def test_a_batch_of_a_wrong_size_is_told_by_its_size(world: World) -> None:
    for size, told in (
        (0, "it has too few items; there must be at least 1"),
        (1_001, "it has too many items; there must be at most 1000"),
    ):
        response = await post(world, json.dumps({"executions": [{"flow": "a"}] * size}), path="/executions/batch")
        [problem] = response.json()["errors"]
        assert (problem["pointer"], problem["detail"]) == ("/executions", told)


@pytest.mark.parametrize("value", ["-1", "0", "1001", "1000000000", "ten", "1e3", "1.5", "", " 5", "٣", "+5"])
async def test_a_limit_outside_its_range_is_refused(world: World, value: str) -> None:
    response = await world.http.get("/api/v1/executions", params={"limit": value})
    assert response.status_code == 422
    assert [problem["parameter"] for problem in response.json()["errors"]] == ["limit"]


async def test_a_parameter_given_twice_is_refused(world: World) -> None:
    response = await world.ask("GET", "/executions?limit=1&limit=2")
    assert codes(response) == {"duplicate_parameter"}


@pytest.mark.parametrize(
    ("content", "code", "line", "column"),
    [
        (b'{"flow": "a",}', "syntax", 1, 14),
        (b'{\n  "flow": x\n}', "syntax", 2, 11),
        (b'{"flow": "a"', "syntax", 1, 13),
        (b'{"flow": "a"} {}', "syntax", 1, 15),
        (b'\xef\xbb\xbf{"flow": x}', "syntax", 1, 10),
        (b'{"flow": "\xff"}', "not_utf8", 1, 11),
    ],
)
async def test_a_malformed_body_is_refused_with_its_place(
    world: World, content: bytes, code: str, line: int | None, column: int | None
) -> None:
    response = await post(world, content)
    assert response.status_code == 400
    assert response.json()["code"] == "malformed_document"
    [problem] = response.json()["errors"]
    assert (problem["code"], problem.get("line"), problem.get("column")) == (code, line, column)


async def test_a_context_too_large_for_every_summary_is_refused(world: World) -> None:
    body = {"flow": "api/quick", "trigger_context": {"note": "x" * 16_384}}
    response = await world.ask("POST", "/executions/batch", {"executions": [{"flow": "api/quick"}, body]})
    assert response.status_code == 422
    [problem] = response.json()["errors"]
    assert (problem["code"], problem["pointer"]) == ("limit_exceeded", "/executions/1/trigger_context")
    assert "at most 16384" in problem["detail"]


@pytest.mark.parametrize("content", [b"", b"  \n"])
async def test_an_empty_body_is_refused(world: World, content: bytes) -> None:
    response = await post(world, content)
    assert response.status_code == 400
    assert "empty" in response.json()["detail"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/json; charset=utf-16"]
)
async def test_a_wrong_content_type_is_refused(world: World, kind: str) -> None:
    response = await post(world, b"{}", {"content-type": kind} if kind else {})
    assert response.status_code == 415
    assert response.json()["code"] == "unsupported_media_type"


async def test_an_empty_object_is_as_good_as_no_body_and_anything_else_is_not(world: World) -> None:
    answers = [await post(world, content, path="/executions/999999/resume") for content in (b"", b"{}", b' {"a": 1}')]
    assert [answer.status_code for answer in answers] == [404, 404, 422]
    assert "takes no body" in answers[2].json()["detail"]


async def test_a_body_over_the_limit_is_refused_by_its_announced_length(world: World) -> None:
    response = await post(world, b"x" * (10 * 1024 * 1024 + 1))
    assert response.status_code == 413
    assert "10485760" in response.json()["detail"]


async def test_a_client_that_sends_a_body_too_large_to_its_end_reads_the_refusal(world: World) -> None:
    head = b"POST /api/v1/executions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    body = b"x" * (4 * BODY_LIMIT)
    host, _, port = world.server.url.removeprefix("http://").partition(":")

    def send_all_and_read() -> bytes:
        with socket.create_connection((host, int(port))) as client:
            client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            return client.recv(12)

    assert await asyncio.to_thread(send_all_and_read) == b"HTTP/1.1 413"


async def test_an_endless_chunked_body_is_refused_at_the_limit_and_cut(world: World) -> None:
    async with connection(world) as (reader, writer):
        writer.write(b"POST /api/v1/executions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
        answered = asyncio.create_task(reader.readline())
        chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        sent = 0
        with suppress(ConnectionError):
            while True:
                writer.write(chunk)
                await writer.drain()
                sent += 65_536 if not answered.done() else 0
        assert (await answered).startswith(b"HTTP/1.1 413")
    assert sent < 30 * 1024 * 1024


async def test_a_gzip_bomb_is_refused_by_its_inflated_size(world: World) -> None:
    bomb = gzip.compress(b'{"flow": "' + b"a" * 200_000_000 + b'"}')
    assert len(bomb) < 250_000
    response = await post(world, bomb, {**JSON, "content-encoding": "gzip"})
    assert response.status_code == 413


async def test_a_gzip_body_is_read(world: World) -> None:
    body = gzip.compress(json.dumps({"flow": "api/quick"}).encode())
    response = await post(world, body, {**JSON, "content-encoding": "gzip"})
    assert response.status_code in {200, 202}, response.text


@pytest.mark.parametrize("body", [b"no gzip", gzip.compress(b"{}", mtime=0)[:-4], gzip.compress(b"{}", mtime=0) * 2])
async def test_a_broken_gzip_body_is_refused(world: World, body: bytes) -> None:
    response = await post(world, body, {**JSON, "content-encoding": "gzip"})
    assert response.status_code == 400


async def test_an_unknown_content_encoding_is_refused(world: World) -> None:
    response = await post(world, b"{}", {**JSON, "content-encoding": "br"})
    assert response.status_code == 415


@pytest.mark.parametrize(
    "text",
    [
        "a..b",
        "%2F",
        "%252F",
        "..%2f..%2fetc",
        "%00",
        "x%00y",
        "ехecution",
        "%D1%85",
        "%ff",
        "-1",
        "0",
        "1.5",
        "9" * 30,
        "{id}",
    ],
)
async def test_an_id_that_is_none_is_refused_as_such(world: World, text: str) -> None:
    for path in (f"/executions/{text}", f"/artifacts/{text}", f"/executions/{text}/nodes"):
        response = await world.http.request("GET", raw_url(world, f"/api/v1{path}"))
        assert response.status_code == 422, (path, response.text)
        assert response.json()["code"] == "invalid_identifier"


@pytest.mark.parametrize("text", ["Upper", "a b", "%2F", "%252F", "-a", "a" * 64, "ünï", "%00"])
async def test_a_flow_address_that_is_none_is_refused_as_such(world: World, text: str) -> None:
    for path in (f"/flows/{text}", f"/flows/{text}/x", f"/flows/x/{text}", f"/flows/x/{text}/versions"):
        response = await world.http.request("GET", raw_url(world, f"/api/v1{path}"))
        assert response.status_code == 422, path
        assert response.json()["code"] == "invalid_identifier"


def raw_url(world: World, path: str) -> Any:
    """A URL whose path is sent as it stands."""
    return world.server.url + quote(path, safe="/%{}")


async def test_an_unknown_path_is_a_problem(world: World) -> None:
    for path in ("//nothing", "/nothing", "/executions/", "//api", "//api/v2/executions"):
        response = await world.ask("GET", path)
        assert response.status_code == 404
        assert response.json()["code"] == "not_found"
        assert response.headers["content-type"] == "application/problem+json"


async def test_a_wrong_method_is_a_problem_that_names_the_right_ones(world: World) -> None:
    response = await world.ask("PATCH", "/executions")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert response.json()["code"] == "method_not_allowed"
    response = await world.ask("POST", "/flows/validate/x/y")
    assert response.status_code == 404


async def test_options_tells_the_methods_and_allows_no_other_site(world: World) -> None:
    response = await world.ask("OPTIONS", "/flows/validate", headers={"origin": "https://elsewhere.example"})
    assert response.status_code == 204
    assert response.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, POST, PUT"
    assert not [name for name in response.headers if name.startswith("access-control")]


async def test_head_answers_as_get_without_the_body(world: World) -> None:
    got = await world.ask("GET", "/flows/api/quick")
    head = await world.ask("HEAD", "/flows/api/quick")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["etag"] == got.headers["etag"]
    stream = await world.ask("HEAD", "/events")
    assert (stream.status_code, stream.headers["content-type"]) == (200, "text/event-stream")


async def test_a_request_id_comes_back_and_one_is_made_where_none_is_good(world: World) -> None:
    response = await world.ask("GET", "/flows", headers={"x-request-id": "abc-1"})
    assert response.headers["x-request-id"] == "abc-1"
    response = await world.ask("GET", "/flows/none", headers={"x-request-id": "bad id; drop"})
    made = response.headers["x-request-id"]
    assert made != "bad id; drop"
    assert response.json()["request_id"] == made


async def test_a_trace_context_comes_back(world: World) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    response = await world.ask("GET", "/flows", headers={"traceparent": trace})
    assert response.headers["traceparent"] == trace
    response = await world.ask("GET", "/flows", headers={"traceparent": "00-xyz"})
    assert "traceparent" not in response.headers


async def test_large_answers_are_compressed_for_those_who_accept_it(world: World) -> None:
    packed = await world.ask("GET", "//openapi.json", headers={"accept-encoding": "gzip"})
    plain = await world.ask("GET", "//openapi.json", headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.json() == plain.json()
    small = await world.ask("GET", "//health/live", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in small.headers
    refused = await world.ask("GET", "//openapi.json", headers={"accept-encoding": "gzip;q=0"})
    assert "content-encoding" not in refused.headers


@pytest.mark.parametrize("cursor", ["x", "e30", "WyJhIiwiYiIsImMiXQ", "a" * 5_000, "W1tbW1tb"])
async def test_a_bad_cursor_is_refused(world: World, cursor: str) -> None:
    for path in ("/executions", "/flows", "/flows/api/quick/versions"):
        response = await world.ask("GET", f"{path}?cursor={cursor}")
        assert response.status_code == 400, path
        assert response.json()["code"] == "invalid_cursor"


@pytest.mark.parametrize("path", ["/executions", "/flows", "/flows/api/quick/versions"])
async def test_a_nul_in_a_cursor_is_an_invalid_value(world: World, path: str) -> None:
    response = await world.ask("GET", f"{path}?cursor=%00")
    assert response.status_code == 422
    [error] = response.json()["errors"]
    assert (error["parameter"], error["code"]) == ("cursor", "invalid_value")


async def test_a_cursor_of_another_list_is_refused(world: World) -> None:
    for _ in range(2):
        await world.finished("api/quick")
    page = (await world.ask("GET", "/executions?limit=1")).json()
    response = await world.ask("GET", f"/executions?limit=1&order=oldest&cursor={page['next']}")
    assert response.status_code == 400
    response = await world.ask("GET", f"/flows?cursor={page['next']}")
    assert response.status_code == 400


async def test_another_workspace_is_not_there(world: World) -> None:
    response = await world.ask("GET", "/executions", headers={"perdure-workspace": "other"})
    assert response.status_code == 404
    assert response.json()["code"] == "workspace_not_found"
    response = await world.ask("GET", "/executions", headers={"perdure-workspace": "default"})
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/api/v1/executions/../flows", "/api/v1/executions/..", "/api/v1/../health/live"])
async def test_a_path_with_dots_leads_nowhere_else(world: World, path: str) -> None:
    async with connection(world) as (reader, writer):
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        status = await reader.readline()
    assert status.split()[1] in {b"404", b"422"}


@pytest.mark.parametrize(
    "sent", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"]
)
async def test_what_is_no_http_is_refused_with_a_problem(world: World, sent: bytes) -> None:
    async with connection(world) as (reader, writer):
        writer.write(sent)
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400")
    problem = msgspec.json.decode(answer.partition(b"\r\n\r\n")[2], type=ProblemDocument)
    assert (problem.code, problem.status) == ("malformed_request", 400)


def test_every_operation_tells_that_its_connection_may_be_refused() -> None:
    for path in openapi_document(ROUTES)["paths"].values():
        for operation in path.values():
            assert "`malformed_request`" in operation["responses"]["400"]["description"]


def test_every_operation_that_reads_a_body_tells_how_that_may_fail() -> None:
    """One that takes none reads it too, to say so."""
    for path in openapi_document(ROUTES)["paths"].values():
        for method in path.keys() & {"post", "put", "patch", "delete"}:
            assert path[method]["responses"].keys() >= {"400", "408", "413", "415"}
