"""Connections are bounded in time and number, whatever is at their other end."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
import pytest

from perdure.api import bodies, listener
from perdure.wire.problem import ProblemDocument
from tests.api.test_requests import connection
from tests.api.world import World


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
