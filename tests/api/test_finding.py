"""Finding executions over HTTP: every filter, texts, and whole histories as one stream."""

from __future__ import annotations

import csv
import io
import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.world import World


async def ids(world: World, query: str) -> list[str]:
    response = await world.ask("GET", f"/executions?{query}")
    assert response.status_code == 200, response.text
    return [one["id"] for one in response.json()["data"]]


async def test_times_and_durations_narrow_a_list(world: World) -> None:
    first = await world.finished("api/quick")
    second = await world.finished("api/quick")
    begun = quote(second["started_at"])
    assert await ids(world, f"started_after={begun}") == [second["id"]]
    assert await ids(world, f"started_before={begun}&flow=api/quick") == [first["id"]]
    assert await ids(world, f"finished_after={quote(first['finished_at'])}&finished_before={begun}") == [first["id"]]
    assert await ids(world, "min_duration=1h") == []
    assert await ids(world, "max_duration=3600&min_duration=0s") == [second["id"], first["id"]]
    waiting = await world.start("api/slow")
    assert waiting["id"] in await ids(world, "min_duration=0.000001")


async def test_triggers_workers_and_replays_narrow_a_list(world: World) -> None:
    started = await world.start("api/slow")
    assert (await ids(world, "trigger=api"))[0] == started["id"]
    assert await ids(world, "trigger=api:somebody") == []
    assert await ids(world, "trigger=schedule:nightly") == []
    assert await ids(world, f"replay_of={started['id']}") == []
    assert await ids(world, "worker=nobody") == []


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("min_duration=soon", "min_duration"),
        ("max_duration=-1s", "max_duration"),
        ("trigger=API", "trigger"),
        ("trigger=api:", "trigger"),
        ("started_after=yesterday", "started_after"),
        ("finished_before=2026-11-22T10:00:00", "finished_before"),
        ("enforcement=1", "enforcement"),
        ("schedule=1", "schedule"),
        ("q=ab", "q"),
        ("input_contains=", "input_contains"),
        ("q=abc&count=exact", "count"),
        ("q=abc&offset=3", "offset"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(world: World, query: str, parameter: str) -> None:
    response = await world.ask("GET", f"/executions?{query}")
    assert response.status_code == 422, response.text
    assert [error["parameter"] for error in response.json()["errors"]] == [parameter]


async def test_texts_are_found_in_input_output_and_error(world: World) -> None:
    number = await world.finished("api/quick", {"n": 41_417})
    failed = await world.finished("api/fails")
    assert await ids(world, "q=41417") == [number["id"]]
    assert await ids(world, "input_contains=41417") == [number["id"]]
    assert await ids(world, "output_contains=41417") == []
    assert await ids(world, f"output_contains={2 * 41_417 + 1}") == [number["id"]]
    assert await ids(world, "q=AS%20IT%20WAS%20TOLD") == [failed["id"]]
    assert await ids(world, "q=as%20it%20was&status=completed") == []
    answer = (await world.ask("GET", "/executions?q=41417&fields=id")).json()
    assert answer["searched_until"] >= number["finished_at"]


async def test_the_index_tells_of_itself(world: World) -> None:
    info = (await world.ask("GET", "//system/info")).json()
    assert info["search"].keys() == {"status", "lag_s", "waiting"}
    metrics = (await world.ask("GET", "//metrics")).text
    assert "perdure_search_lag_seconds " in metrics
    assert "perdure_search_waiting " in metrics


async def export(world: World, query: str) -> str:
    response = await world.ask("GET", f"/executions/export?{query}")
    assert response.status_code == 200, response.text
    assert response.headers["content-disposition"].startswith("attachment")
    return response.text


async def test_every_format_holds_what_the_list_holds(world: World) -> None:
    for n in range(300):
        await world.start("api/quick", {"n": n}, tags={"kept": "yes"})
    everything = [line async for line in _pages(world)]
    lines = [json.loads(line) for line in (await export(world, "tag=kept")).splitlines()]
    assert [line["id"] for line in lines] == [one["id"] for one in everything]
    assert lines[0].keys() == (await world.ask("GET", f"/executions/{lines[0]['id']}")).json().keys() - {"replay"}
    assert json.loads(await export(world, "tag=kept&format=json&order=oldest&fields=id,input")) == [
        {"id": line["id"], "input": line["input"]} for line in lines[::-1]
    ]
    rows = list(csv.DictReader(io.StringIO(await export(world, "tag=kept&format=csv&fields=input,flow,parent,tags"))))
    assert rows[0].keys() == {"id", "flow", "tags", "parent", "input"}
    assert [json.loads(row["input"]) for row in rows] == [line["input"] for line in lines]
    assert {(row["flow"], row["parent"], row["tags"]) for row in rows} == {("api/quick", "", '{"kept":"yes"}')}


async def _pages(world: World) -> Any:
    cursor = ""
    while True:
        answer = (await world.ask("GET", f"/executions?tag=kept&limit=70{cursor}")).json()
        for one in answer["data"]:
            yield one
        if answer["next"] is None:
            return
        cursor = f"&cursor={answer['next']}"


async def test_an_export_is_narrowed_as_a_list_is(world: World) -> None:
    await world.finished("api/quick", {"n": 52_527})
    await world.finished("api/fails")
    assert json.loads(await export(world, "format=json&status=failed&fields=flow"))[0]["flow"] == "api/fails"
    assert [json.loads(line)["flow"] for line in (await export(world, "q=52527")).splitlines()] == ["api/quick"]
    assert await export(world, "format=json&flow=api/nobody") == "[]\n"
    assert (await export(world, "format=csv&fields=id,status&flow=api/nobody")).strip() == "id,status"
    assert (await world.ask("GET", "/executions/export?q=ab")).status_code == 422
    assert (await world.ask("GET", "/executions/export?format=xml")).status_code == 422
    assert (await world.ask("HEAD", "/executions/export")).text == ""


async def test_statistics_tell_how_long_it_took_and_how_fast_it_went(world: World) -> None:
    execution = await world.finished("api/quick")
    answer = (await world.ask("GET", "/executions/stats?group_by=status&flow=api/quick&durations=true")).json()
    [row] = [row for row in answer["data"] if row["status"] == "completed"]
    assert row["duration_ms"].keys() == {"p50", "p95", "p99"}
    assert 0 < row["duration_ms"]["p50"] <= row["duration_ms"]["p99"] < 3_600_000
    assert answer["exact"] is True
    [hour] = (await world.ask("GET", "/executions/stats?group_by=hour")).json()["data"][-1:]
    assert hour["hour"][14:] == "00:00.000000Z"
    assert hour["hour"] <= execution["created_at"]
    assert hour["throughput_per_s"] == hour["count"] / 3_600
    assert "duration_ms" not in hour
    begun = quote(execution["created_at"])
    rows = (
        await world.ask("GET", f"/executions/stats?created_after={begun}&created_before=2999-01-01T00:00:00Z")
    ).json()
    assert all(row["throughput_per_s"] > 0 for row in rows["data"])
    tagged = (await world.ask("GET", "/executions/stats?tag=none&exact=false&durations=true")).json()
    assert tagged == {"data": [], "exact": True}
