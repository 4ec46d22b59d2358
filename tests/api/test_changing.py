"""Tags and deletion over HTTP: what readers, lists and streams see of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.sse import Stream
from tests.api.world import World


async def tagged(world: World, id: str, **body: Any) -> Any:
    return await world.ask("PATCH", f"/executions/{id}/tags", body)


async def found(world: World, query: str) -> list[str]:
    listed = (await world.ask("GET", f"/executions?{query}")).json()
    return [one["id"] for one in listed["data"]]


async def test_a_tag_is_found_at_once_and_is_an_event_after_the_end(world: World) -> None:
    id = (await world.finished("api/quick", tags={"stage": "one"}))["id"]
    assert (await tagged(world, id, set={"stage": "two", "case": "4711"})).status_code == 200
    assert await found(world, "tag=case:4711") == await found(world, "tag=case&tag=stage:two") == [id]
    assert await found(world, "tag=stage:one") == []
    events = (await world.ask("GET", f"/executions/{id}/events")).json()["data"]
    assert events[-1]["type"] == "execution.tagged"
    assert events[-1]["data"] | {"by": ""} == {"set": {"case": "4711", "stage": "two"}, "remove": [], "by": ""}
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


async def test_a_stream_of_what_was_tagged_after_its_end_ends_with_the_end(world: World) -> None:
    id = (await world.finished("api/quick"))["id"]
    await tagged(world, id, set={"a": "b"})
    seen = []
    accept = {"accept": "text/event-stream"}
    async with world.http.stream("GET", f"/api/v1/executions/{id}/events", headers=accept) as response:
        stream = Stream(response)
        while (message := await stream.next()) is not None:
            if message.data is not None and "type" in message.data:
                seen.append(message.data["type"])
    assert "execution.completed" in seen
    assert seen[-1] in {"execution.completed", "execution.tagged"}


@pytest.mark.parametrize(
    "body",
    [
        {"set": {"a:b": "c"}},
        {"set": {"": "c"}},
        {"set": {"a": "x" * 256}},
        {"set": {"a": "b\u0000"}},
        {"remove": ["a:b"]},
        {"set": {str(n): "v" for n in range(33)}},
        {"tags": {}},
    ],
)
async def test_tags_keep_to_their_limits(world: World, body: dict[str, Any]) -> None:
    id = (await world.finished("api/quick"))["id"]
    assert (await tagged(world, id, **body)).status_code == 422


async def test_no_more_tags_than_there_may_be_in_all(world: World) -> None:
    id = (await world.finished("api/quick", tags={"own": "1"}))["id"]
    many = {f"k{n}": "v" for n in range(32)}
    refused = await tagged(world, id, set=many)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/set")
    assert (await tagged(world, id, set=many, remove=["own"])).status_code == 200


async def test_a_deleted_execution_is_not_counted_and_frees_its_key(world: World) -> None:
    async def counted() -> int:
        total: int = (await world.ask("GET", "/executions?flow=api/quick&count=exact&limit=1")).json()["total"]
        return total

    first = await world.finished("api/quick", idempotency_key="only-once")
    before = await counted()
    assert (await world.ask("DELETE", f"/executions/{first['id']}")).status_code == 204
    assert await counted() == before - 1
    second = await world.ask("POST", "/executions", {"flow": "api/quick", "idempotency_key": "only-once"})
    assert second.json()["id"] != first["id"]


async def test_a_replay_outlives_its_original(world: World) -> None:
    original = await world.finished("api/files")
    replayed = await world.ask(
        "POST",
        f"/executions/{original['id']}/replay",
        {"outputs": {"write": {"edited": True}}},
        headers={"prefer": "wait=30"},
    )
    assert replayed.status_code == 200, replayed.text
    assert (await world.ask("DELETE", f"/executions/{original['id']}")).status_code == 204
    after = (await world.ask("GET", f"/executions/{replayed.json()['id']}?include=nodes")).json()
    assert (after["replay_of"], after["output"]) == (original["id"], replayed.json()["output"])
    assert [node["output"] for node in after["nodes"]] == [{"edited": True}]


async def test_a_text_is_not_found_any_more_in_what_is_gone(world: World) -> None:
    doomed, other = [(await world.finished("api/quick", {"n": 90_417_233}))["id"] for _ in range(2)]
    assert set(await found(world, "q=90417233")) == {doomed, other}
    await world.ask("DELETE", f"/executions/{doomed}")
    assert await found(world, "q=90417233") == [other]
