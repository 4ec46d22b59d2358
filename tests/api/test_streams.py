"""Event streams: nothing missed and nothing twice, whatever the reader does; and no reader can hold up another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from perdure.api.metrics import Metrics
from perdure.api.resources import history
from perdure.api.streaming import END, PIECE, RETRY, Stream, StreamLimits, Streams
from perdure.base.clock import SystemClock
from perdure.errors import StoreBusy
from perdure.store.commands import TrimFeed
from tests.api.conftest import Opened
from tests.api.sse import Still, opened
from tests.api.world import World

NOISY: dict[str, Any] = {
    "id": "api/noisy",
    "input": {"lines": {"type": "integer"}},
    "nodes": {"talk": {"shell": "i=0; while [ $i -lt $LINES_WANTED ]; do echo \"line $i $PAD\"; i=$((i+1)); done",
                       "env": {"LINES_WANTED": "${input.lines}", "PAD": "x" * 200}}},
}  # fmt: skip


async def seqs_of(world: World, execution: str) -> list[int]:
    """The numbers of all its events, from the JSON pages."""
    found: list[int] = []
    while True:
        after = found[-1] if found else 0
        page = (await world.ask("GET", f"/executions/{execution}/events?after={after}&limit=7")).json()
        found += [event["seq"] for event in page["data"]]
        if page["next"] is None:
            return found


async def test_a_page_behind_an_event_that_there_is_not_is_refused(world: World) -> None:
    execution = await world.finished("api/files")
    last = (await seqs_of(world, execution["id"]))[-1]
    for kind in ("events", "logs"):
        path = f"/executions/{execution['id']}/{kind}"
        assert (await world.ask("GET", f"{path}?after={last}")).json()["data"] == []
        response = await world.ask("GET", f"{path}?after={last + 1}")
        assert (response.status_code, response.json()["code"]) == (400, "invalid_cursor")


async def test_a_stream_of_a_finished_execution_tells_all_and_ends(world: World) -> None:
    execution = await world.finished("api/files")
    async with opened(world, f"/executions/{execution['id']}/events") as stream:
        events = await stream.events()
        assert await stream.next() is None
    assert [event.data["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event.id for event in events] == [str(event.data["seq"]) for event in events]
    assert events[0].event == "execution.created"
    assert events[-1].event == "execution.completed"
    assert {event.data["execution"] for event in events} == {execution["id"]}
    assert await seqs_of(world, execution["id"]) == [event.data["seq"] for event in events]


async def test_a_live_stream_goes_on_to_the_end(world: World) -> None:
    execution = await world.start("api/slow")
    async with opened(world, f"/executions/{execution['id']}/events") as stream:
        while (await stream.events(1))[0].event != "execution.suspended":
            pass
        await world.ask("POST", f"/executions/{execution['id']}/cancel")
        rest = await stream.events()
    assert rest[-1].event == "execution.cancelled"


async def test_a_stream_resumes_behind_the_last_event_id_without_gap_or_double(world: World) -> None:
    execution = await world.finished("api/files")
    path = f"/executions/{execution['id']}/events"
    seen: list[int] = []
    while True:
        headers = {"last_event_id": str(seen[-1])} if seen else {}
        async with opened(world, path, **headers) as stream:
            some = await stream.events(2)
        seen += [event.data["seq"] for event in some]
        if len(some) < 2:
            break
    assert seen == await seqs_of(world, execution["id"])


async def test_types_narrow_a_stream_and_its_end_is_told_all_the_same(world: World) -> None:
    execution = await world.finished("api/files")
    async with opened(world, f"/executions/{execution['id']}/events?types=node.completed,log") as stream:
        events = await stream.events()
    assert {event.event for event in events} == {"node.completed", "log"}


async def test_a_last_event_id_beyond_the_end_or_of_another_kind_is_refused(world: World) -> None:
    execution = await world.finished("api/quick")
    for text in ("x", "-1", "1.5", "9999", "٣", "9" * 40):
        response = await world.ask(
            "GET", f"/executions/{execution['id']}/events",
            headers={"accept": "text/event-stream", "last-event-id": text.encode()},
        )  # fmt: skip
        assert (response.status_code, response.json()["code"]) == (400, "invalid_cursor"), text


async def test_logs_are_paged_filtered_and_followed(world: World) -> None:
    execution = await world.finished("api/files")
    path = f"/executions/{execution['id']}/logs"
    lines = (await world.ask("GET", path)).json()["data"]
    assert [line["message"] for line in lines if line["stream"] == "stdout"] == ["first", "second"]
    assert [line["message"] for line in lines if line["stream"] == "stderr"] == ["oops"]
    assert {line["node"] for line in lines} == {"write"}
    paged: list[Any] = []
    after = 0
    while True:
        page = (await world.ask("GET", f"{path}?limit=1&after={after}")).json()
        paged += page["data"]
        if page["next"] is None:
            break
        after = page["next"]
    assert paged == lines
    assert (await world.ask("GET", f"{path}?node=other")).json()["data"] == []
    assert (await world.ask("GET", f"{path}?level=error")).json()["data"] == []
    assert (await world.ask("GET", f"{path}?since=1h")).json()["data"] == lines
    assert (await world.ask("GET", f"{path}?since=2100-01-01T00:00:00Z")).json()["data"] == []
    found = (await world.ask("GET", f"{path}?q=IRS")).json()["data"]
    assert [line["message"] for line in found] == ["first"]
    assert (await world.ask("GET", f"{path}?q=")).status_code == 422
    for query, wanted in (("", lines), ("&q=irs", found)):
        async with opened(world, f"{path}?follow=true{query}") as stream:
            assert [event.data for event in await stream.events()] == wanted


async def test_a_filter_that_finds_late_what_it_looks_for_gets_there_page_by_page(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "SCANNED_PAGES", 1)
    await world.put(NOISY)
    execution = await world.finished("api/noisy", {"lines": 150})
    for path, wanted in (
        (f"/executions/{execution['id']}/events?types=execution.completed&limit=1", ["execution.completed"]),
        (f"/executions/{execution['id']}/logs?node=other&limit=1", []),
    ):
        found: list[str] = []
        places = [0]
        while True:
            page = (await world.ask("GET", f"{path}&after={places[-1]}")).json()
            found += [item["type"] for item in page["data"]]
            if page["next"] is None:
                break
            places.append(int(page["next"]))
            assert places[-1] > places[-2]
        assert found == wanted
        assert len(places) > 1


async def test_a_bad_since_is_refused(world: World) -> None:
    execution = await world.finished("api/quick")
    for text in ("soon", "2026-01-01T00:00:00", "-5m"):
        response = await world.http.get(f"/api/v1/executions/{execution['id']}/logs", params={"since": text})
        assert response.status_code == 422
        assert response.json()["errors"][0]["parameter"] == "since"


async def test_the_feed_tells_of_all_executions_from_now_on(world: World) -> None:
    async with opened(world, "/events?types=execution.completed&namespace=api") as stream:
        ids = {(await world.finished("api/quick"))["id"] for _ in range(3)}
        events = await stream.events(3)
    assert {event.data["execution"] for event in events} == ids


async def test_the_feed_resumes_inside_a_commit_without_gap_or_double(world: World) -> None:
    async with opened(world, "/events?flow=api/files") as stream:
        execution = await world.finished("api/files")
        seen: list[tuple[int, str]] = []
        wanted = await seqs_of(world, execution["id"])
        while len(seen) < len(wanted):
            [event] = await stream.events(1)
            assert event.data["execution"] == execution["id"]
            seen.append((event.data["seq"], event.id or ""))
    assert [seq for seq, _ in seen] == wanted
    for at, (seq, cursor) in enumerate(seen[:-1]):
        async with opened(world, "/events?flow=api/files", last_event_id=cursor) as stream:
            [following] = await stream.events(1)
        assert following.data["seq"] == seen[at + 1][0], f"after {seq}"


async def test_the_feed_from_the_start_has_every_event_in_order(world: World) -> None:
    execution = await world.finished("api/quick")
    async with opened(world, "/events?after=start&flow=api/quick") as stream:
        by_execution: dict[str, list[int]] = {}
        while True:
            [event] = await stream.events(1)
            by_execution.setdefault(event.data["execution"], []).append(event.data["seq"])
            if event.data["execution"] == execution["id"] and event.event == "execution.completed":
                break
    assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in by_execution.values())


async def test_a_cursor_whose_events_are_no_longer_kept_is_told_so(open_world: Opened) -> None:
    async with open_world() as world:
        async with opened(world, "/events") as stream:
            await world.finished("api/quick")
            [first] = await stream.events(1)
        for _ in range(3):
            await world.finished("api/quick")
        engine = world.server.engine
        await engine.recorder.execute(TrimFeed(at=engine.clock.now(), before=engine.clock.now() + 1))
        async with opened(world, "/events", last_event_id=first.id or "") as stream:
            [reset] = await stream.events(1)
            assert reset.event == "reset"
            done = await world.finished("api/quick")
            while (await stream.events(1))[0].data["execution"] != done["id"]:
                pass


async def test_many_readers_of_the_feed_see_the_same(world: World) -> None:
    wanted = 5

    async def read(path: str) -> list[tuple[str, int]]:
        async with opened(world, path) as stream:
            started.append(path)
            if len(started) == 20:
                ready.set()
            found: list[tuple[str, int]] = []
            ends = 0
            while ends < wanted:
                for event in await stream.events(1):
                    found.append((event.data["execution"], event.data["seq"]))
                    ends += event.event == "execution.completed"
            return found

    started: list[str] = []
    ready = asyncio.Event()
    readers = [asyncio.create_task(read("/events?flow=api/each")) for _ in range(20)]
    await ready.wait()
    for _ in range(wanted):
        await world.finished("api/each", {"items": [1, 2, 3]})
    first, *others = await asyncio.gather(*readers)
    assert len(set(first)) == len(first)
    assert all(other == first for other in others)


async def test_an_idle_stream_is_pinged_and_told_when_to_come_back(open_world: Opened) -> None:
    async with open_world(stream_ping=1_000_000) as world:
        execution = await world.start("api/slow")
        async with opened(world, f"/executions/{execution['id']}/events") as stream:
            first = await stream.next()
            assert first is not None
            assert first.data is None
            while True:
                message = await stream.next()
                assert message is not None
                if message.comment == "ping":
                    break
        async with opened(world, "/events?flow=api/none") as stream:
            while True:
                message = await stream.next()
                assert message is not None
                if message.comment == "ping":
                    assert message.id
                    break


async def test_a_reader_that_stands_still_is_cut_and_holds_up_nobody(open_world: Opened) -> None:
    async with open_world(stream_stall=1_000_000) as world:
        await world.put(NOISY)
        noisy = await world.start("api/noisy", {"lines": 60_000})
        still = Still(world, f"/executions/{noisy['id']}/logs?follow=true")
        try:
            await still.ask()
            async with opened(world, f"/executions/{noisy['id']}/logs?follow=true") as stream:
                lines = await stream.events()
            assert len(lines) == 60_000
            await world.server.services.streams.wait_empty()
            assert world.server.services.metrics.streams_cut == 1
            received = await still.drain()
            assert received.startswith(b"HTTP/1.1 200")
            assert not received.endswith(b"event: end\ndata: {}\n\n")
        finally:
            still.close()


async def test_there_are_at_most_as_many_streams_as_the_server_allows(open_world: Opened) -> None:
    async with open_world(streams=2) as world:
        async with opened(world, "/events"), opened(world, "/events"):
            response = await world.ask("GET", "/events")
            assert response.status_code == 503
            assert response.json()["code"] == "too_many_streams"
            assert int(response.headers["retry-after"]) > 0
        await world.server.services.streams.wait_empty()
        async with opened(world, "/events"):
            pass


async def test_shutdown_ends_streams_with_a_word(open_world: Opened) -> None:
    async with open_world() as world:
        execution = await world.start("api/slow")
        async with opened(world, f"/executions/{execution['id']}/events") as stream:
            await stream.events(1)
            stopping = asyncio.create_task(world.server.stop())
            comments = []
            while (message := await stream.next()) is not None:
                comments.append(message.comment)
                assert message.event != "end"
        assert "the server is shutting down" in comments
        await stopping


async def test_a_ping_never_stands_inside_a_frame(world: World) -> None:
    frame = b"data: %b\n\n" % (b"x" * 3 * PIECE)
    written: list[bytes] = []
    stands, moves = asyncio.Event(), asyncio.Event()

    async def send(message: Any) -> None:
        written.append(message.get("body", b""))
        if len(written) == 3:
            stands.set()
            await moves.wait()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def source() -> AsyncGenerator[bytes]:
        yield frame

    authority = world.server.services.authority
    streams = Streams(authority=authority, clock=SystemClock(), metrics=Metrics(), limits=StreamLimits())
    stream = Stream(streams, source(), scope={}, token_id=None)
    answer = asyncio.create_task(stream.respond(headers=[], head_only=False, receive=receive, send=send))
    await stands.wait()
    await stream.ping()
    moves.set()
    assert await answer == 200
    assert b"".join(written) == RETRY + frame + END


async def test_a_store_that_cannot_be_read_breaks_a_stream_off_so_that_its_reader_comes_again(world: World) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def source() -> AsyncGenerator[bytes]:
        yield b"id: 1\n\n"
        raise StoreBusy("all readers are busy")

    metrics, authority = Metrics(), world.server.services.authority
    streams = Streams(authority=authority, clock=SystemClock(), metrics=metrics, limits=StreamLimits())
    stream = Stream(streams, source(), scope={}, token_id=None)
    assert await stream.respond(headers=[], head_only=False, receive=receive, send=send) == 200
    written = b"".join(message.get("body", b"") for message in sent)
    assert written == RETRY + b"id: 1\n\n"
    assert sent[-1]["more_body"] is False
    assert len(streams) == 0
