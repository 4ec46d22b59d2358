"""Finding executions over HTTP: every filter, texts, and whole histories as one stream."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest

from perdure.api.resources import lists
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
        ("trigger=bogus:id", "trigger"),
        ("tag=a=b", "tag"),
        ("tag=:b", "tag"),
        ("tag=a%09b", "tag"),
        (f"tag={'k' * 64}", "tag"),
        (f"tag=k:{'v' * 256}", "tag"),
        ("min_duration=2s&max_duration=1999ms", "max_duration"),
        ("created_after=2026-11-22T10:00:01Z&created_before=2026-11-22T10:00:00Z", "created_before"),
        ("started_after=2026-11-22T10:00:00Z&started_before=2026-11-22T10:00:00%2B01:00", "started_before"),
        ("finished_after=2026-11-22T10:00:01Z&finished_before=2026-11-22T10:00:00Z", "finished_before"),
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


BOGUS = {
    "trigger": (
        "scheduled:nightly",
        '"scheduled" is none of api, cli, flow, replay, rule, schedule, webhook; did you mean',
    ),
    "tag": ("region=eu", "write region:eu"),
    "max_duration": ("1m", "less than min_duration (1h)"),
    "created_before": ("2026-11-21T10:00:00Z", "earlier than created_after (2026-11-22T10:00:00+00:00)"),
}
"""What is wrong, and what would be right; beside what is right alone."""
RIGHT = {"min_duration": "1h", "created_after": "2026-11-22T10:00:00Z"}


async def test_lists_counts_statistics_exports_and_operations_refuse_the_same(world: World) -> None:
    wrong = {name: value for name, (value, _) in BOGUS.items()}
    query = "&".join(f"{name}={quote(value)}" for name, value in (wrong | RIGHT).items())
    listed = [name + query for name in ("?", "?count=exact&limit=1&", "/stats?", "/stats?group_by=hour&", "/export?")]
    for path in listed:
        response = await world.ask("GET", f"/executions{path}")
        assert response.status_code == 422, response.text
        told = {error["parameter"]: error["detail"] for error in response.json()["errors"]}
        assert told.keys() == BOGUS.keys()
        assert all(right in told[name] for name, (_, right) in BOGUS.items()), told
    filter = wrong | RIGHT | {"tag": ["region=eu"]}
    response = await world.ask("POST", "/executions/bulk", {"action": "cancel", "filter": filter, "dry_run": True})
    told = {error["pointer"]: error["detail"] for error in response.json()["errors"]}
    assert {f"/filter/{name}" for name in BOGUS} == told.keys()
    assert all(right in told[f"/filter/{name}"] for name, (_, right) in BOGUS.items()), told


async def test_a_key_with_an_equals_sign_is_found_with_its_value(world: World) -> None:
    body = {"flow": "api/quick", "input": {}, "tags": {"a=b": "c"}}
    id = (await world.ask("POST", "/executions", body)).json()["id"]
    assert await ids(world, "tag=a%3Db:c") == [id]


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


async def test_large_values_are_read_once_however_many_answers_they_take(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    executions = world.server.engine.store.executions
    read: list[bytes] = []
    payloads = executions.payloads

    async def noting(workspace: str, ids: Sequence[bytes]) -> Any:
        read.extend(ids)
        return await payloads(workspace, ids)

    monkeypatch.setattr(executions, "payloads", noting)
    monkeypatch.setattr(lists, "ANSWER_BYTES", 16)
    for n in range(12):
        await world.start("api/quick", {"n": n}, tags={"large": "yes"})
    read.clear()
    lines = (await export(world, "tag=large&order=oldest&fields=input")).splitlines()
    assert [json.loads(line)["input"]["n"] for line in lines] == list(range(12))
    assert len(read) == len(set(read)) == 12


async def test_a_text_that_spreadsheets_would_run_is_defused_in_csv_alone(world: World) -> None:
    keys = ["=1+1", "+1", "-1", "@SUM(A1)", "\uff1dA1", "plain", "a=b", "'=kept"]
    for key in keys:
        await world.start("api/quick", {"n": 5}, idempotency_key=key, tags={"runs": "no"})
    text = await export(world, "tag=runs:no&format=csv&order=oldest&fields=idempotency_key,input")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["idempotency_key"] for row in rows] == [*(f"'{key}" for key in keys[:5]), *keys[5:]]
    assert {row["input"] for row in rows} == {'{"n":5}'}
    lines = (await export(world, "tag=runs:no&order=oldest&fields=idempotency_key")).splitlines()
    assert [json.loads(line)["idempotency_key"] for line in lines] == keys


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
