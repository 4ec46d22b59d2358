"""The WebSocket: subscriptions side by side without a gap or a double, for those who may, and never for whom they do not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from perdure.api import websocket
from perdure.api.cursors import encode_cursor
from perdure.api.resources import live as resource
from perdure.store.commands import TrimFeed
from tests.api.conftest import Opened
from tests.api.sockets import HANDSHAKE, StillSocket, connected, masked
from tests.api.sse import opened
from tests.api.test_requests import connection
from tests.api.test_security import bearer, make
from tests.api.test_streams import NOISY, seqs_of
from tests.api.world import API, World


async def test_one_connection_has_many_subscriptions_each_with_its_own_events(world: World) -> None:
    async with connected(world) as live:
        assert (await live.subscribe("files", flow="api/files"))["type"] == "subscribed"
        assert (await live.subscribe("ends", namespace="api", types=["execution.completed"]))["type"] == "subscribed"
        quick = await world.finished("api/quick")
        files = await world.finished("api/files")
        found: dict[str, list[Any]] = {"files": [], "ends": []}
        while len(found["ends"]) < 2 or found["files"][-1:] != ["execution.completed"]:
            message = await live.next()
            event = message["event"]
            found[message["id"]].append(event["type"] if message["id"] == "files" else event["execution"])
        assert found["ends"] == [quick["id"], files["id"]]
        assert found["files"][0] == "execution.created"
        assert "log" not in found["files"]
        await live.tell("unsubscribe", id="files")
        assert await live.next() == {"type": "unsubscribed", "id": "files"}
        await world.finished("api/files")
        assert (await live.next())["id"] == "ends"


async def test_events_and_cursors_are_those_of_the_event_stream(world: World) -> None:
    async with connected(world) as live, opened(world, "/events?flow=api/files") as stream:
        await live.subscribe("a", flow="api/files", logs=True)
        execution = await world.finished("api/files")
        count = len(await seqs_of(world, execution["id"]))
        assert [one.data for one in await stream.events(count)] == await live.events("a", count)


async def test_a_subscription_resumes_behind_each_cursor_without_gap_or_double(world: World) -> None:
    async with connected(world) as live:
        await live.subscribe("a", flow="api/files", logs=True)
        execution = await world.finished("api/files")
        wanted = await seqs_of(world, execution["id"])
        seen = await live.events("a", len(wanted))
    assert [event["seq"] for event in seen] == wanted
    async with connected(world) as live:
        for at, event in enumerate(seen[:-1]):
            assert await live.subscribe(str(at), flow="api/files", logs=True, after=event["cursor"]) == {
                "type": "subscribed", "id": str(at), "cursor": event["cursor"],
            }  # fmt: skip
            [following] = await live.events(str(at), 1)
            # A cursor says of what time it is, too.
            assert following | {"cursor": None} == seen[at + 1] | {"cursor": None}
            await live.tell("unsubscribe", id=str(at))
            while (await live.next())["type"] != "unsubscribed":
                pass


async def test_an_execution_is_told_from_its_start_to_its_end(world: World) -> None:
    done = await world.finished("api/files")
    wanted = await seqs_of(world, done["id"])
    async with connected(world) as live:
        assert (await live.subscribe("a", execution=done["id"], logs=True))["cursor"] == "0"
        seen = await live.events("a")
        assert [event["seq"] for event in seen] == wanted
        # It has ended; its id is free again.
        await live.subscribe("a", execution=str(done["number"]), logs=True, after=seen[2]["cursor"])
        assert await live.events("a") == seen[3:]
        slow = await world.start("api/slow")
        await live.subscribe("b", execution=slow["id"], types=["execution.cancelled"])
        await world.ask("POST", f"/executions/{slow['id']}/cancel")
        assert [event["type"] for event in await live.events("b")] == ["execution.cancelled"]


async def test_a_cursor_lives_longer_than_its_server(open_world: Opened, tmp_path: Path) -> None:
    async with open_world(tmp_path) as world, connected(world) as live:
        await live.subscribe("a", flow="api/quick")
        first = await world.finished("api/quick")
        [event] = await live.events("a", 1)
    async with open_world(tmp_path) as world, connected(world) as live:
        await live.subscribe("a", flow="api/quick", after=event["cursor"])
        second = await world.finished("api/quick")
        seen = [event]
        while (seen[-1]["execution"], seen[-1]["type"]) != (second["id"], "execution.completed"):
            seen += await live.events("a", 1)
        for execution in (first, second):
            seqs = [one["seq"] for one in seen if one["execution"] == execution["id"]]
            assert seqs == list(range(1, len(seqs) + 1))


async def test_a_cursor_whose_events_are_gone_is_told_so(open_world: Opened) -> None:
    async with open_world() as world, connected(world) as live:
        await live.subscribe("a")
        for _ in range(3):
            await world.finished("api/quick")
        [first] = await live.events("a", 1)
        await live.tell("unsubscribe", id="a")
        while (await live.next())["type"] != "unsubscribed":
            pass
        engine = world.server.engine
        await engine.recorder.execute(TrimFeed(at=engine.clock.now(), before=engine.clock.now() + 1))
        await live.subscribe("a", after=first["cursor"])
        assert (await live.next())["type"] == "reset"
        done = await world.finished("api/quick")
        while (await live.events("a", 1))[0]["execution"] != done["id"]:
            pass


@pytest.mark.parametrize(
    "cursor",
    ["nonsense", "x" * 4096, encode_cursor("feed", "other", [[[1, 5]], 0, 0, 0]), encode_cursor("list", "default", 5)],
    ids=["nonsense", "long", "of another workspace", "of a list"],
)
async def test_a_cursor_that_is_none_begins_now_and_says_so(world: World, cursor: str) -> None:
    async with connected(world) as live:
        assert (await live.subscribe("a", after=cursor))["type"] == "subscribed"
        assert (await live.next())["type"] == "reset"
        done = await world.finished("api/quick")
        assert (await live.events("a", 1))[0]["execution"] == done["id"]


async def test_where_a_subscription_begins_is_told_inside_a_commit_too(world: World) -> None:
    async with connected(world) as live:
        await live.subscribe("a", flow="api/quick")
        done = await world.finished("api/quick")
        first = (await live.events("a", 4))[0]
        await live.tell("unsubscribe", id="a")
        while (await live.next())["type"] != "unsubscribed":
            pass
        begun = await live.subscribe("b", flow="api/quick", after=first["cursor"])
        assert [event["seq"] for event in await live.events("b", 3)] == [2, 3, 4]
    async with connected(world) as live:
        await live.subscribe("c", flow="api/quick", after=begun["cursor"])
        found = await live.events("c", 3)
    assert [(event["execution"], event["seq"]) for event in found] == [(done["id"], seq) for seq in (2, 3, 4)]


async def test_a_cursor_from_the_future_of_a_restored_store_begins_now_and_says_so(world: World) -> None:
    end = await world.server.engine.store.events.feed_end()
    ahead = encode_cursor("feed", "default", [[[writer, n + 50] for writer, n in end.items()], 1, 0, 0, 0])
    async with connected(world) as live, opened(world, "/events", last_event_id=ahead) as stream:
        # Whoever came back with the cursor of no use might be behind it by then, and miss what lies between.
        assert (await live.subscribe("a", after=ahead))["cursor"] != ahead
        assert (await live.next())["type"] == "reset"
        [reset] = await stream.events(1)
        assert reset.event == "reset"
        assert reset.id
        done = await world.finished("api/quick")
        assert (await live.events("a", 1))[0]["execution"] == done["id"]
        assert (await stream.events(1))[0].data["execution"] == done["id"]
    finished = await world.finished("api/quick")
    async with connected(world) as live:
        await live.subscribe("b", execution=finished["id"], after="9999")
        assert (await live.next())["type"] == "reset"
        assert await live.events("b") == []


@pytest.mark.parametrize(
    ("message", "code", "place"),
    [
        ("{", "malformed_document", None),
        ("[]", "invalid_request", ""),
        ("{}", "invalid_request", "/type"),
        ('{"type": 1}', "invalid_request", "/type"),
        ('{"type": "dance"}', "invalid_request", "/type"),
        ('{"type": "subscribe"}', "invalid_request", "/id"),
        ('{"type": "subscribe", "id": "a", "more": 1}', "invalid_request", "/more"),
        ('{"type": "subscribe", "id": ""}', "invalid_request", "/id"),
        ('{"type": "subscribe", "id": "a", "types": ["node.dreamt"]}', "invalid_request", "/types/0"),
        ('{"type": "subscribe", "id": "a", "flow": "A B"}', "invalid_identifier", None),
        ('{"type": "subscribe", "id": "a", "execution": "x"}', "invalid_identifier", None),
        ('{"type": "subscribe", "id": "a", "execution": "999999"}', "execution_not_found", None),
        ('{"type": "subscribe", "id": "taken"}', "subscription_exists", None),
        ('{"type": "unsubscribe", "id": "a"}', "subscription_not_found", None),
        ('{"type": "auth"}', "invalid_request", "/token"),
        ('{"type": "auth", "token": "x"}', "invalid_request", None),
    ],
)
async def test_a_bad_message_is_a_problem_and_the_connection_goes_on(
    world: World, message: str, code: str, place: str | None
) -> None:
    async with connected(world) as live:
        await live.subscribe("taken", flow="api/none")
        await live.socket.send_text(message)
        answer = await live.next()
        assert answer["type"] == "error"
        assert answer["problem"]["code"] == code
        assert answer["problem"]["request_id"]
        assert place in {None, *(one.get("pointer") for one in answer["problem"]["errors"])}
        await live.tell("unsubscribe", id="taken")
        assert (await live.next())["type"] == "unsubscribed"


async def test_subscriptions_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "SUBSCRIPTIONS", 2)
    async with connected(world) as live:
        answers = [await live.subscribe(id, flow="api/none") for id in "abc"]
    assert [answer["type"] for answer in answers] == ["subscribed", "subscribed", "error"]
    assert answers[-1]["problem"]["code"] == "too_many_subscriptions"


async def test_messages_are_text_of_bounded_size(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "MESSAGE_BYTES", 1024)
    async with connected(world) as live:
        await live.socket.send_text("x" * 1025)
        assert (await live.closing())[0] == 1009
    async with connected(world) as live:
        await live.socket.send_bytes(b"{}")
        assert (await live.closing())[0] == 1003


async def test_a_message_of_empty_frames_is_of_bounded_size_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "MESSAGE_BYTES", 1024)
    async with connection(world) as (reader, writer), asyncio.timeout(10):
        head = "".join(f"{name}: {value}\r\n" for name, value in HANDSHAKE.items())
        writer.write(f"GET {API}/ws HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        writer.write(masked(b"", first=0x01) + masked(b"", first=0x00) * 1024)
        await reader.readuntil(b"\x88")
        await reader.readuntil((1009).to_bytes(2))


async def test_frames_that_are_none_end_the_connection(world: World) -> None:
    unmasked = b"\x81\x02{}"
    for broken in (unmasked, masked(b"\xff\xfe"), masked(b"", first=0x83), masked(b"x" * 126, first=0x89)):
        async with connection(world) as (reader, writer), asyncio.timeout(10):
            head = "".join(f"{name}: {value}\r\n" for name, value in HANDSHAKE.items())
            writer.write(f"GET {API}/ws HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
            writer.write(broken)
            rest = await reader.read()
            assert b"\x88" in rest, "no close was sent"
    await world.server.services.streams.wait_empty()


@pytest.mark.parametrize("missing", [*HANDSHAKE, "right key", "right version"])
async def test_what_is_no_handshake_is_told_how_to_make_one(world: World, missing: str) -> None:
    wrong = {"right key": {"sec-websocket-key": "short"}, "right version": {"sec-websocket-version": "8"}}
    headers = {**{name: value for name, value in HANDSHAKE.items() if name != missing}, **wrong.get(missing, {})}
    response = await world.ask("GET", "/ws", headers=headers)
    assert (response.status_code, response.json()["code"]) == (426, "upgrade_required")
    assert response.headers["upgrade"] == "websocket"
    assert response.headers["sec-websocket-version"] == "13"


async def test_pages_of_other_sites_get_no_socket(world: World) -> None:
    response = await world.ask("GET", "/ws", headers={**HANDSHAKE, "origin": "https://evil.example"})
    assert (response.status_code, response.json()["code"]) == (403, "origin_refused")
    response = await world.ask("GET", "/ws", headers={**HANDSHAKE, "host": "evil.example"})
    assert (response.status_code, response.json()["code"]) == (421, "host_refused")
    async with connected(world, origin=world.server.url) as live:
        assert (await live.subscribe("a"))["type"] == "subscribed"


async def test_callers_prove_themselves_by_header_or_by_the_first_message(open_world: Opened) -> None:
    async with open_world() as world:
        _, admin = await make(world, "admin")
        world.http.headers.update(bearer(admin))
        id, secret = await make(world, "viewer")
        async with connected(world, authorization=f"Bearer {secret}") as live:
            assert (await live.subscribe("a"))["type"] == "subscribed"
        bad = await world.ask("GET", "/ws", headers={**HANDSHAKE, **bearer("perdure_" + "x" * 43)})
        assert (bad.status_code, bad.json()["code"]) == (401, "unauthenticated")
        async with connected(world, authenticates=True) as live:
            await live.tell("auth", token=secret)
            assert await live.next() == {"type": "ready", "workspace": "default"}
            await live.subscribe("a", flow="api/quick")
            await world.finished("api/quick")
            assert await live.events("a", 1)
            await world.ask("DELETE", f"/tokens/{id}")
            assert await live.closing() == (1008, "the token is no longer good")


@pytest.mark.parametrize(
    "first",
    ['{"type": "auth", "token": "perdure_nobody"}', '{"type": "subscribe", "id": "a"}', "{", '{"type": "auth"}'],
)
async def test_who_does_not_say_who_he_is_gets_nothing(open_world: Opened, first: str) -> None:
    async with open_world() as world:
        await make(world, "viewer")
        async with connected(world, authenticates=True) as live:
            await live.socket.send_text(first)
            assert (await live.next())["type"] == "error"
            assert (await live.closing())[0] == 1008


async def test_who_says_nothing_is_closed_in_time(open_world: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "AUTH_S", 0.1)
    async with open_world() as world:
        await make(world, "viewer")
        async with connected(world, authenticates=True) as live:
            message = await live.next()
            assert message["problem"]["code"] == "unauthenticated"
            assert await live.closing() == (1008, "unauthenticated")


async def test_in_silence_the_place_is_told_and_the_reader_is_pinged(open_world: Opened) -> None:
    async with open_world(stream_ping=1_000_000) as world, connected(world) as live:
        await live.subscribe("a", flow="api/none")
        done = await world.finished("api/quick")
        told = await live.next()
        assert (told["type"], told["id"]) == ("cursor", "a")
        later = await world.finished("api/quick")
        await live.subscribe("b", flow="api/quick", after=told["cursor"])
        seen = {event["execution"] for event in await live.events("b", 3)}
        assert later["id"] in seen
        assert done["id"] not in seen


async def test_a_reader_that_stands_still_is_cut_and_holds_up_nobody(open_world: Opened) -> None:
    async with open_world(stream_stall=4_000_000) as world:
        await world.put(NOISY)
        noisy = await world.start("api/noisy", {"lines": 30_000})
        still = StillSocket(world, "/ws")
        try:
            await still.subscribe(execution=noisy["id"], logs=True)
            async with connected(world) as live:
                await live.subscribe("a", execution=noisy["id"], types=["log"])
                assert len(await live.events("a")) == 30_000
            await world.server.services.streams.wait_empty()
            assert world.server.services.metrics.streams_cut == 1
            await still.drain()
        finally:
            still.close()


async def test_a_reader_that_does_not_answer_pings_is_cut(open_world: Opened) -> None:
    async with open_world(stream_ping=1_000_000, stream_stall=1_000_000) as world:
        still = StillSocket(world, "/ws")
        try:
            await still.subscribe(flow="api/none")
            async with connected(world) as live:
                await still.cut()
                assert world.server.services.metrics.streams_cut == 1
                # One that answers stays.
                assert (await live.subscribe("a"))["type"] == "subscribed"
        finally:
            still.close()


async def test_sockets_count_as_streams(open_world: Opened) -> None:
    async with open_world(streams=2) as world:
        async with connected(world), opened(world, "/events"):
            response = await world.ask("GET", "/ws", headers=HANDSHAKE)
            assert (response.status_code, response.json()["code"]) == (503, "too_many_streams")
        await world.server.services.streams.wait_empty()
        async with connected(world):
            pass


async def test_shutdown_closes_with_a_word(open_world: Opened) -> None:
    async with open_world() as world, connected(world) as live:
        await live.subscribe("a")
        stopping = asyncio.create_task(world.server.stop())
        assert await live.closing() == (1001, "the server is shutting down")
        await stopping


async def test_the_first_token_ends_what_an_open_server_let_in(open_world: Opened) -> None:
    async with open_world() as world, connected(world) as live:
        await live.subscribe("a")
        await make(world, "admin")
        assert await live.closing() == (1008, "the token is no longer good")


async def test_readers_that_come_and_go_leave_nothing_behind(world: World) -> None:
    async def come_and_go() -> None:
        async with connection(world) as (reader, writer):
            head = "".join(f"{name}: {value}\r\n" for name, value in HANDSHAKE.items())
            writer.write(f"GET {API}/ws HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())
            await reader.readline()
            writer.write(masked(b'{"type": "subscribe", "id": "a"}'))

    await asyncio.gather(*(come_and_go() for _ in range(100)))
    async with asyncio.timeout(10):
        await world.server.services.streams.wait_empty()
    assert len(world.server.engine.hub) == 0


async def test_a_request_for_another_upgrade_is_served_as_it_is(world: World) -> None:
    headers = {"upgrade": "h2c", "connection": "Upgrade"}
    async with httpx2.AsyncClient(base_url=world.server.url) as http:
        assert (await http.get(f"{API}/flows", headers=headers)).status_code == 200
