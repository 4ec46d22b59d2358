"""Connections are bounded in time and number, whatever is at their other end."""

from __future__ import annotations

import asyncio
import resource
from contextlib import AsyncExitStack, suppress

import msgspec
import pytest

from perdure.api import bodies, listener
from perdure.base.clock import SECOND
from perdure.wire.problem import ProblemDocument
from tests.api.conftest import Opened
from tests.api.sse import Still
from tests.api.test_requests import connection
from tests.api.world import World

VALIDATE = b"POST /api/v1/flows/validate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"


async def all_of(reader: asyncio.StreamReader) -> bytes:
    """What still comes, up to the connection's end or its reset."""
    with suppress(ConnectionError):
        return await reader.read()
    return b""


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: local"])
async def test_a_head_that_does_not_arrive_in_time_costs_the_connection(
    world: World, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(listener, "HEAD_TIMEOUT_S", 0.2)
    async with connection(world) as (reader, writer), asyncio.timeout(5):
        writer.write(sent)
        assert await all_of(reader) == b""


async def test_a_second_head_on_one_connection_has_its_time_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connection(world) as (reader, writer), asyncio.timeout(5):
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        monkeypatch.setattr(listener, "HEAD_TIMEOUT_S", 0.2)
        writer.write(b"GET /health/live HTT")
        assert b"HTTP/1.1" not in await all_of(reader)


async def test_a_body_that_does_not_arrive_in_time_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.2)
    async with connection(world) as (reader, writer), asyncio.timeout(5):
        writer.write(b"POST /api/v1/executions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: 100\r\n\r\n{")
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")


async def test_more_connections_than_allowed_are_told_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "MAX_CONNECTIONS", 0)
    async with connection(world) as (reader, _), asyncio.timeout(5):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after" in answer
    problem = msgspec.json.decode(answer.partition(b"\r\n\r\n")[2], type=ProblemDocument)
    assert (problem.code, problem.status) == ("too_many_connections", 503)


async def test_connections_leave_half_of_the_files_to_the_store_and_the_nodes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (20, 20))
    async with AsyncExitStack() as stack, asyncio.timeout(10):
        connections = [await stack.enter_async_context(connection(world)) for _ in range(11)]
        refused = await connections[-1][0].read()
        assert refused.startswith(b"HTTP/1.1 503")
        reader, writer = connections[0]
        writer.write(LIVE + b"\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_requests_one_behind_the_other_are_answered_in_order(world: World) -> None:
    async with connection(world) as (reader, writer), asyncio.timeout(10):
        for n in range(20):
            writer.write(f"GET /api/v1/flows/none{n} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        for n in range(20):
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length: ")[2].split()[0])
            assert f"default/none{n}" in (await reader.readexactly(size)).decode()


async def test_a_storm_of_readers_that_come_and_go_leaves_nothing_behind(world: World) -> None:
    async def come_and_go() -> None:
        async with connection(world) as (reader, writer):
            writer.write(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
            await reader.readline()

    for _ in range(5):
        await asyncio.gather(*(come_and_go() for _ in range(100)))
    async with asyncio.timeout(10):
        await world.server.services.streams.wait_empty()
    assert len(world.server.engine.hub) == 0
    assert (await world.ask("GET", "//health/ready")).status_code == 200


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket", b"other"])
@pytest.mark.parametrize("in_one", [True, False])
async def test_a_body_is_never_taken_for_a_request_whatever_is_to_be_upgraded(
    world: World, upgrade: bytes, in_one: bool
) -> None:
    hidden = b"GET /health/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = VALIDATE + b"Connection: Upgrade\r\nUpgrade: %b\r\nContent-Length: %d\r\n\r\n" % (upgrade, len(hidden))
    async with connection(world) as (reader, writer), asyncio.timeout(10):
        if in_one:
            writer.write(head + hidden)
        else:
            writer.write(head[:-20])
            await writer.drain()
            await world.ask("GET", "//health/live")
            writer.write(head[-20:])
            await writer.drain()
            await world.ask("GET", "//health/live")
            writer.write(hidden)
        writer.write(LIVE + b"Connection: close\r\n\r\n")
        answers = await reader.read()
    assert answers.count(b"HTTP/1.1 ") == answers.count(b"HTTP/1.1 200") == 2
    assert b'"valid":false' in answers


async def test_a_request_that_would_rather_speak_another_protocol_is_answered(world: World) -> None:
    """As Java's client asks at first."""
    document = b'{"id": "a", "nodes": {"a": {"transform": 1}}}'
    async with connection(world) as (reader, writer), asyncio.timeout(10):
        writer.write(VALIDATE + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(document) + document + LIVE + b"Connection: close\r\n\r\n")
        answers = await reader.read()
    assert answers.count(b"HTTP/1.1 200") == 2
    assert b'"valid":true' in answers


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET /health/live?", *[b"a" * 1024] * 100],
        [LIVE, b"X-Long: ", *[b"a" * 1024] * 600],
        [LIVE, *[b"a:b\r\n"] * 2000],
        [VALIDATE, b"Transfer-Encoding: chunked\r\n\r\n0\r\n", *[b"a:b\r\n"] * 2000],
        [VALIDATE, b"Transfer-Encoding: chunked\r\n\r\n2;", *[b"a" * 1024] * 600],
    ],
    ids=["path", "long field", "many fields", "trailer", "chunk extension"],
)
async def test_a_head_that_is_too_large_is_refused_before_its_end(world: World, pieces: list[bytes]) -> None:
    async with connection(world) as (reader, writer), asyncio.timeout(10):
        with suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        answer = await all_of(reader)
    assert answer.startswith(b"HTTP/1.1 431") or not answer  # a reset may take the words with it
    if answer:
        problem = msgspec.json.decode(answer.partition(b"\r\n\r\n")[2], type=ProblemDocument)
        assert problem.code == "head_too_large"
        assert str(listener.HEAD_LIMIT) in problem.detail


async def test_a_large_head_that_fits_is_read(world: World) -> None:
    response = await world.ask("GET", "//health/live", headers={"x-large": "a" * 60_000})
    assert response.status_code == 200


async def test_a_trailer_is_no_header(world: World) -> None:
    async with connection(world) as (reader, writer), asyncio.timeout(10):
        writer.write(VALIDATE + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
        writer.write(b"Origin: https://evil.example\r\nAuthorization: Bearer x\r\nPerdure-Workspace: other\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (b"", "no field host"),
        (b"Host: evil.example\r\nHost: localhost\r\n", "host more than once"),
        (b"Host: localhost\r\nOrigin: https://evil.example\r\nOrigin: http://localhost\r\n", "origin more than once"),
        (b"Host: localhost\r\nAuthorization: a\r\nAuthorization: b\r\n", "authorization more than once"),
    ],
)
async def test_what_a_proxy_may_read_differently_is_refused(world: World, fields: bytes, told: str) -> None:
    async with connection(world) as (reader, writer), asyncio.timeout(10):
        writer.write(b"GET /health/live HTTP/1.1\r\n" + fields + b"\r\n")
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400")
    problem = msgspec.json.decode(answer.partition(b"\r\n\r\n")[2], type=ProblemDocument)
    assert problem.code == "malformed_request"
    assert told in problem.detail


async def test_a_body_that_does_not_even_begin_is_refused_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.2)
    async with connection(world) as (reader, writer), asyncio.timeout(5):
        writer.write(VALIDATE + b"Content-Length: 100\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")


async def test_a_stream_with_a_request_behind_it_ends_with_its_connection(open_world: Opened) -> None:
    async with open_world(stream_ping=SECOND) as world:
        streams = world.server.services.streams
        async with connection(world) as (reader, writer), asyncio.timeout(10):
            writer.write(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
            await reader.readuntil(b"retry:")
            writer.write(LIVE + b"\r\n")
        async with asyncio.timeout(10):
            # That the connection is broken shows when something is written to it.
            await streams.wait_empty()
        assert world.server.services.metrics.streams_cut == 0


async def test_nothing_is_said_within_an_answer_that_is_on_its_way(world: World) -> None:
    async with connection(world) as (reader, writer), asyncio.timeout(10):
        writer.write(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        await reader.readuntil(b"retry:")
        writer.write(b"nonsense\r\n\r\n")
        assert b"HTTP/1.1" not in await all_of(reader)


async def test_a_reader_that_stands_still_is_dropped_though_it_asked_for_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "KEEP_ALIVE_S", 0.2)
    await world.put({"id": "api/large", "input": {"text": {"type": "string"}}, "nodes": {"a": {"transform": 1}}})
    execution = await world.finished("api/large", {"text": "a" * 7_000_000})
    still = Still(world, f"/executions/{execution['id']}")
    try:
        await still.ask("Connection: close\r\n")
        await still.cut()
        assert len(await still.drain()) < 7_000_000
    finally:
        still.close()
