"""A broken event stream is taken up again: nothing lost, nothing doubled, an end in sight."""

import msgspec
import pytest

from perdure.client.errors import ClientError, NotFound, ServerUnreachable
from perdure.client.execution import AsyncExecutionHandle
from perdure.client.retries import RetryPolicy
from perdure.client.system import AsyncSystem
from perdure.client.transport import Transport
from perdure.wire.events import FeedReset
from perdure.wire.executions import Execution, Trigger
from tests.client.clocks import WaitedClock
from tests.client.scripted import DROP, problem, scripted, stream_answer

ID = "01936b1e-5f3a-7c2d-9b1a-0c6a8f3e2d71"
AT = "2026-11-22T13:45:00.000000Z"


def record() -> Execution:
    return Execution(
        id=ID, number=1, kind="flow", workspace="default", namespace="default", flow="default/x", flow_version=1, status="running",
        reason=None, priority=5, queue="default", requires=[], tags={}, trigger=Trigger(kind="api", id=None, context=None),
        parent=None, root=ID, replay_of=None, idempotency_key=None, concurrency_key=None, recoveries=0, worker=None,
        created_at=AT, queued_at=None, started_at=None, finished_at=None, updated_at=AT, deadline_at=None,
        duration_ms=None, input={}, output=None, error=None,
    )  # fmt: skip


def handle(url: str, clock: WaitedClock) -> tuple[Transport, AsyncExecutionHandle]:
    policy = RetryPolicy(sleep=clock.sleep, clock=clock, jitter=lambda: 1.0, reconnect_s=10)
    transport = Transport(url, token=None, workspace=None, timeout_s=5, policy=policy)
    return transport, AsyncExecutionHandle(transport, record())


def frame(seq: int, type: str = "log") -> str:
    event = {
        "seq": seq, "cursor": str(seq), "execution": ID, "flow": "default/x", "type": type, "at": AT, "node": None,
        "ordinal": None, "attempt": None, "data": None,
    }  # fmt: skip
    return f"id: {seq}\nevent: {type}\ndata: {msgspec.json.encode(event).decode()}\n\n"


RESET = 'event: reset\ndata: {"reason":"gone"}\n\n'
END = "event: end\ndata: {}\n\n"


async def seqs(
    url: str, clock: WaitedClock, *, after: int = 0, broken: list[ClientError | None] | None = None
) -> list[int]:
    transport, execution = handle(url, clock)
    async with transport:
        told = (broken if broken is not None else []).append
        return [event.seq async for event in execution.events(after=after, on_reconnect=told)]


async def test_a_broken_stream_goes_on_behind_what_was_seen() -> None:
    broken: list[ClientError | None] = []
    answers = [
        stream_answer("retry: 100\n\n" + frame(1) + frame(2) + frame(3)[:40]),
        DROP,
        stream_answer(frame(2) + frame(3)),
        stream_answer(frame(4) + END),
    ]
    async with scripted(*answers) as server:
        assert await seqs(server.url, WaitedClock(), broken=broken) == [1, 2, 3, 4]
        assert [asked.headers["last-event-id"] for asked in server.asked] == ["0", "2", "2", "3"]
    assert len(broken) == 3


async def test_a_stream_begins_where_it_is_asked_to() -> None:
    async with scripted(stream_answer(frame(8) + END)) as server:
        assert await seqs(server.url, WaitedClock(), after=7) == [8]
        assert server.asked[0].headers["last-event-id"] == "7"


async def test_a_server_that_stays_away_is_given_up_in_time() -> None:
    clock = WaitedClock()
    async with scripted(stream_answer(frame(1)), *[DROP] * 50) as server:
        with pytest.raises(ServerUnreachable):
            await seqs(server.url, clock)
    assert 5 <= clock.seconds <= 10


async def test_a_server_that_comes_back_late_is_waited_for() -> None:
    clock = WaitedClock()
    async with scripted(
        stream_answer(frame(1)), DROP, problem(503, "draining"), stream_answer(frame(2) + END)
    ) as server:
        assert await seqs(server.url, clock) == [1, 2]


async def test_after_a_long_silence_too_a_broken_stream_is_taken_up_again() -> None:
    """An execution that waits for somebody says nothing for days; then the server is started anew."""
    clock = WaitedClock()
    async with scripted(stream_answer(frame(1)), DROP, DROP, stream_answer(frame(2) + END)) as server:
        transport, execution = handle(server.url, clock)
        async with transport:
            events = execution.events()
            assert (await anext(events)).seq == 1
            clock.seconds += 3600
            assert [event.seq async for event in events] == [2]


async def test_what_the_caller_did_wrong_is_told_at_once() -> None:
    clock = WaitedClock()
    async with scripted(problem(404, "execution_not_found")) as server:
        with pytest.raises(NotFound):
            await seqs(server.url, clock)
    assert clock.seconds == 0


async def test_a_ping_s_place_is_where_a_stream_goes_on() -> None:
    """A feed whose filter matches nothing would else begin where its reader came in, which may be gone by then."""
    answers = [stream_answer(frame(5) + ": ping\nid: 90\n\n"), stream_answer(frame(91)), problem(404, "not_found")]
    async with scripted(*answers) as server:
        transport, _ = handle(server.url, WaitedClock())
        async with transport:
            events = AsyncSystem(transport).events()
            assert [(await anext(events)).seq for _ in range(2)] == [5, 91]
            with pytest.raises(NotFound):
                await anext(events)
        assert [asked.headers.get("last-event-id") for asked in server.asked] == [None, "90", "91"]


async def test_a_large_event_arrives_whole() -> None:
    large = f"id: 1\nevent: log\ndata: {frame(1).split('data: ')[1].strip()}{' ' * 3_000_000}\n\n"
    async with scripted(stream_answer(large + END)) as server:
        assert await seqs(server.url, WaitedClock()) == [1]


async def test_a_reset_of_the_feed_is_told_and_the_feed_goes_on() -> None:
    resets: list[FeedReset] = []
    answers = (stream_answer(RESET + frame(5) + frame(6)), problem(404, "not_found"))
    async with scripted(*answers, *answers) as server:
        transport, _ = handle(server.url, WaitedClock())
        async with transport:
            for on_reset in (resets.append, None):
                events = AsyncSystem(transport).events(cursor="old", on_reset=on_reset)
                assert [((await anext(events)).seq, len(resets)) for _ in range(2)] == [(5, 1), (6, 1)]
                with pytest.raises(NotFound):
                    await anext(events)
        assert [asked.headers["last-event-id"] for asked in server.asked] == ["old", "6", "old", "6"]
    assert resets == [FeedReset(reason="gone")]
