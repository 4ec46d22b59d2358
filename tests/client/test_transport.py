"""Calls are tried again where that can do no harm, and fail with typed errors."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from perdure.client import transport as transport_module
from perdure.client.errors import BadRequest, ProblemError, ServerBusy, ServerUnreachable, UnexpectedResponse
from perdure.client.executions import AsyncExecutions
from perdure.client.retries import RetryPolicy
from perdure.client.transport import Transport
from tests.client.scripted import DROP, json_answer, problem, scripted


class Waits:
    """Notes how long the client would have waited, and does not."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def transport(url: str, waits: Waits, **policy: Any) -> Transport:
    return Transport(
        url, token="secret", workspace="w1", timeout_s=5, policy=RetryPolicy(sleep=waits, jitter=lambda: 1.0, **policy)
    )


async def test_a_lost_answer_to_an_idempotent_call_is_asked_for_again() -> None:
    waits = Waits()
    async with scripted(DROP, DROP, json_answer({"a": 1})) as server, transport(server.url, waits) as calls:
        assert await calls.call("GET", "/x", dict) == {"a": 1}
        assert len(server.asked) == 3
        assert waits.seconds == [0.2, 0.4]


async def test_a_lost_answer_to_another_call_is_an_error_at_once() -> None:
    async with scripted(DROP) as server, transport(server.url, Waits()) as calls:
        with pytest.raises(ServerUnreachable, match=server.url):
            await calls.request("POST", "/x", body={})
        assert len(server.asked) == 1


async def test_a_call_that_is_said_to_be_idempotent_is_sent_again_with_the_same_body() -> None:
    async with scripted(DROP, json_answer({})) as server, transport(server.url, Waits()) as calls:
        await calls.request("POST", "/x", body={"key": "k"}, idempotent=True)
        assert [asked.body for asked in server.asked] == [b'{"key":"k"}'] * 2


async def test_the_server_s_retry_after_is_kept() -> None:
    waits = Waits()
    answers = [problem(503, "draining", Retry_After="7"), problem(429, "rate_limited"), json_answer({})]
    async with scripted(*answers) as server, transport(server.url, waits) as calls:
        await calls.request("GET", "/x")
        assert waits.seconds == [7.0, 0.4]


async def test_tries_end() -> None:
    async with scripted(*[problem(503, "draining")] * 3) as server, transport(server.url, Waits(), attempts=3) as calls:
        with pytest.raises(ServerBusy, match="it is draining"):
            await calls.request("GET", "/x")
        assert len(server.asked) == 3


async def test_a_wish_to_wait_too_long_is_the_caller_s_to_decide() -> None:
    waits = Waits()
    async with scripted(problem(503, "draining", Retry_After="3600")) as server, transport(server.url, waits) as calls:
        with pytest.raises(ServerBusy) as refused:
            await calls.request("GET", "/x")
        assert refused.value.retry_after_s == 3600
        assert waits.seconds == []


async def test_a_server_that_is_not_there_is_told_by_its_address() -> None:
    async with scripted() as server:
        url = server.url
    waits = Waits()
    async with transport(url, waits, connect_attempts=2) as calls:
        with pytest.raises(ServerUnreachable, match=url):
            await calls.request("POST", "/x", body={})
    assert len(waits.seconds) == 1, "nothing was sent, so even a call that is not idempotent is tried again"


async def test_a_problem_brings_all_that_is_wrong() -> None:
    document = {
        "type": "about:blank", "title": "Invalid input", "status": 422, "detail": "no", "code": "invalid_input",
        "instance": "/x", "request_id": "r1", "errors": [{"code": "type", "detail": "is no number", "pointer": "/a"}],
    }  # fmt: skip
    async with scripted(json_answer(document, 422)) as server, transport(server.url, Waits()) as calls:
        with pytest.raises(BadRequest) as refused:
            await calls.request("GET", "/x")
        assert [problem.pointer for problem in refused.value.errors] == ["/a"]
        assert refused.value.extra["request_id"] == "r1"


async def test_another_kind_of_server_is_recognised() -> None:
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"
    async with scripted(answer) as server, transport(server.url, Waits()) as calls:
        with pytest.raises(ProblemError, match="perdure server"):
            await calls.request("GET", "/x")


async def test_an_answer_of_another_shape_is_an_error_of_its_own() -> None:
    async with scripted(json_answer([1])) as server, transport(server.url, Waits()) as calls:
        with pytest.raises(UnexpectedResponse):
            await calls.call("GET", "/x", dict)


async def test_every_request_says_who_and_where() -> None:
    async with scripted(json_answer({})) as server, transport(server.url, Waits()) as calls:
        await calls.request("GET", "/x", params={"a": True, "b": None, "c": ["1", "2"]})
        asked = server.asked[0]
        assert asked.path == "/api/v1/x?a=true&c=1&c=2"
        assert asked.headers["authorization"] == "Bearer secret"
        assert asked.headers["perdure-workspace"] == "w1"


async def test_a_proxy_of_the_environment_does_not_stand_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with scripted(json_answer({})) as server, transport(server.url, Waits()) as calls:
        await calls.request("GET", "/x")


async def test_an_export_may_be_silent_for_as_long_as_nothing_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "STREAM_SILENCE_S", 0.05)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{")
        with suppress(TimeoutError):
            # Until the client hangs up.
            await asyncio.wait_for(reader.read(1), 0.3)
        writer.write(b"}")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with transport(url, Waits()) as calls:
            assert b"".join([piece async for piece in AsyncExecutions(calls).export()]) == b"{}"


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://x", "http://", "", "http://127.0.0.1:99999", "http://x:0", "http://[::1"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no URL"):
        transport(url, Waits())


@pytest.mark.parametrize("named", [{"token": "perdure_\nx"}, {"token": "perdure_\u00e4"}, {"workspace": "\u00e4"}])
def test_what_no_header_can_carry_is_refused_and_not_shown(named: dict[str, str]) -> None:
    given: Any = {"token": None, "workspace": None, **named}
    with pytest.raises(ValueError, match="no header") as refused:
        Transport("http://127.0.0.1:9", timeout_s=5, policy=RetryPolicy(), **given)
    assert "perdure_" not in str(refused.value)
