"""Starting, finding and reading executions over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.api.scenarios import NOBODY
from tests.api.world import World

EVERY_FIELD = {
    "id", "number", "kind", "workspace", "namespace", "flow", "flow_version", "status", "reason", "priority", "queue",
    "requires", "tags",
    "trigger", "parent", "root", "replay_of", "idempotency_key", "concurrency_key", "recoveries", "worker",
    "created_at", "queued_at", "started_at", "finished_at", "updated_at", "deadline_at", "duration_ms",
}  # fmt: skip
VALUES = {"input", "output", "error"}


async def listed(world: World, query: str) -> dict[str, Any]:
    response = await world.ask("GET", f"/executions?{query}")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_an_execution_has_every_field_and_nothing_is_left_out(world: World) -> None:
    execution = await world.finished("api/quick", {"n": 3}, tags={"team": "blue"}, trigger_context={"why": "test"})
    assert execution.keys() == EVERY_FIELD | VALUES | {"replay"}
    assert execution["output"] == 7
    assert execution["input"] == {"n": 3}
    assert execution["error"] is None
    assert execution["tags"] == {"team": "blue"}
    assert execution["trigger"] == {"kind": "api", "id": None, "context": {"why": "test"}}
    assert execution["status"] == "completed"
    assert len(execution["created_at"]) == len("2026-11-22T13:45:00.000000Z")
    by_id = (await world.ask("GET", f"/executions/{execution['id']}")).json()
    by_number = (await world.ask("GET", f"/executions/{execution['number']}")).json()
    assert by_id == by_number == execution


async def test_the_command_line_says_that_it_started_it(world: World) -> None:
    for header, kind in (("cli", "cli"), ("schedule", "api")):
        response = await world.ask("POST", "/executions", {"flow": "api/quick"}, headers={"perdure-trigger": header})
        assert response.json()["trigger"]["kind"] == kind


async def test_a_failed_execution_tells_its_error(world: World) -> None:
    execution = await world.finished("api/fails")
    assert execution["status"] == "failed"
    assert execution["error"]["node"] == "no"
    assert "as it was told" in execution["error"]["message"]


async def test_defaults_of_the_flow_fill_the_input(world: World) -> None:
    execution = await world.finished("api/quick")
    assert execution["output"] == 3


async def test_include_adds_nodes_waits_artifacts_and_the_definition(world: World) -> None:
    started = await world.finished("api/files")
    response = await world.ask("GET", f"/executions/{started['id']}?include=nodes,artifacts&include=config,waits")
    execution = response.json()
    [node] = execution["nodes"]
    assert (node["node"], node["ordinal"], node["status"], node["attempt"]) == ("write", 0, "completed", 1)
    assert node["output"]["exit_code"] == 0
    assert {artifact["name"] for artifact in execution["artifacts"]} == {"report.txt", "page.html"}
    assert execution["config"]["id"] == "api/files"
    assert execution["waits"] == []


async def test_a_start_without_preference_does_not_wait(world: World) -> None:
    response = await world.ask("POST", "/executions", {"flow": "api/slow"})
    assert response.status_code == 202
    assert response.json()["finished_at"] is None
    assert "preference-applied" not in response.headers


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("wait=20", "wait=20"),
        ("Wait = 20", "wait=20"),
        ('wait="20"', "wait=20"),
        ("wait=020", "wait=20"),
        ("wait=0", "wait=0"),
        ("wait=20; strict", "wait=20"),
        ("respond-async, wait=20, handling=lenient", "wait=20"),
        ("wait=20, wait=0", "wait=20"),
    ],
)
async def test_prefer_wait_answers_at_the_end(world: World, prefer: str, applied: str) -> None:
    response = await world.ask("POST", "/executions", {"flow": "api/quick"}, headers={"prefer": prefer})
    assert response.headers["preference-applied"] == applied
    assert (response.status_code == 200) == (response.json()["finished_at"] is not None)
    assert response.status_code == 200 or applied == "wait=0"


async def test_prefer_wait_gives_up_in_time(world: World) -> None:
    response = await world.ask("POST", "/executions", {"flow": "api/slow"}, headers={"prefer": "wait=1"})
    assert response.status_code == 202
    assert response.headers["preference-applied"] == "wait=1"
    assert response.json()["status"] in {"running", "suspended"}


@pytest.mark.parametrize(
    "prefer",
    [
        "wait=soon", "wait=-1", "wait=+1", "wait=1.5", "wait=1s", "wait=1e1", "wait=", "wait", 'wait="1', "await=1",
        "handling=lenient; wait=1", "return=minimal", "wait=soon, wait=1", ",;=,", "",
    ],
)  # fmt: skip
async def test_a_preference_that_is_not_understood_is_ignored(world: World, prefer: str) -> None:
    response = await world.ask("POST", "/executions", {"flow": "api/slow"}, headers={"prefer": prefer})
    assert response.status_code == 202
    assert "preference-applied" not in response.headers


@pytest.mark.parametrize("seconds", ["301", "999999", "9" * 5_000])
async def test_a_wait_longer_than_the_limit_is_cut_to_it(world: World, seconds: str) -> None:
    response = await world.ask("POST", "/executions", {"flow": "api/quick"}, headers={"prefer": f"wait={seconds}"})
    assert response.headers["preference-applied"] == "wait=300"


async def test_preferences_on_lines_of_their_own_are_one_list(world: World) -> None:
    headers = [
        ("content-type", "application/json"),
        ("prefer", "respond-async"),
        ("prefer", "wait=20"),
        ("prefer", "x"),
    ]
    response = await world.http.post("/api/v1/executions", content=b'{"flow": "api/quick"}', headers=headers)
    assert response.headers["preference-applied"] == "wait=20"


async def test_a_wait_ends_with_its_client_and_the_execution_goes_on(world: World) -> None:
    held = len(world.server.engine.ends)
    asked = asyncio.create_task(
        world.ask(
            "POST", "/executions", {"flow": "api/slow", "tags": {"left": "alone"}}, headers={"prefer": "wait=300"}
        )
    )
    async with asyncio.timeout(10):
        while len(world.server.engine.ends) == held:
            await world.ask("GET", "//health/live")
        asked.cancel()
        while len(world.server.engine.ends) > held:
            await world.ask("GET", "//health/live")
    [found] = (await world.ask("GET", "/executions?tag=left:alone")).json()["data"]
    assert found["finished_at"] is None


async def test_fifty_starts_with_one_key_at_once_are_one_execution(world: World) -> None:
    async def start() -> Any:
        return await world.ask("POST", "/executions", {"flow": "api/quick"}, headers={"idempotency-key": "fifty"})

    responses = await asyncio.gather(*(start() for _ in range(50)))
    assert {response.status_code for response in responses} <= {200, 202}
    assert len({response.json()["id"] for response in responses}) == 1
    replayed = [response.headers.get("idempotent-replayed") for response in responses]
    assert replayed.count("true") == 49
    assert replayed.count(None) == 1


async def test_the_key_may_stand_in_the_body_and_the_order_of_fields_is_nothing(world: World) -> None:
    body = {"flow": "api/quick", "input": {"n": 1}, "idempotency_key": "field"}
    first = await world.ask("POST", "/executions", body)
    second = await world.ask("POST", "/executions", dict(reversed(body.items())))
    third = await world.ask(
        "POST", "/executions", {"input": {"n": 1}, "flow": "api/quick"}, headers={"idempotency-key": "field"}
    )
    assert first.json()["id"] == second.json()["id"] == third.json()["id"]
    assert third.headers["idempotent-replayed"] == "true"
    assert first.json()["idempotency_key"] == "field"


async def test_a_start_that_was_accepted_is_answered_again_though_its_flow_would_refuse_it_now(world: World) -> None:
    """Its answer was lost, say, and meanwhile somebody put a new version, or deleted the flow."""
    flow = {"id": "api/moved", "input": {"n": {"type": "integer"}}, "nodes": {"a": {"transform": "${input.n}"}}}
    body = {"flow": "api/moved", "input": {"n": 1}, "idempotency_key": "moved"}
    again = {"idempotency_key": "moved again"}
    await world.put(flow)
    first = await world.finished("api/moved", {"n": 1}, idempotency_key="moved")
    replay = (await world.ask("POST", f"/executions/{first['id']}/replay", {"version": "latest", **again})).json()
    await world.put({**flow, "input": {"n": {"type": "string"}}})
    refused = await world.ask("POST", "/executions", {**body, "idempotency_key": "new"})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    for deleted in (False, True):
        if deleted:
            await world.ask("GET", f"/executions/{replay['id']}/events", headers={"accept": "text/event-stream"})
            assert (await world.ask("DELETE", "/flows/api/moved")).status_code == 204
        response = await world.ask("POST", "/executions", body)
        assert (response.json()["id"], response.headers["idempotent-replayed"]) == (first["id"], "true")
        replayed = await world.ask("POST", f"/executions/{first['id']}/replay", {"version": "latest", **again})
        assert (replayed.json()["id"], replayed.headers["idempotent-replayed"]) == (replay["id"], "true")
        [one] = (await world.ask("POST", "/executions/batch", {"executions": [body]})).json()["data"]
        assert one["id"] == first["id"]
        other = await world.ask("POST", "/executions", {**body, "priority": 1})
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


async def test_two_keys_in_one_request_are_refused(world: World) -> None:
    body = {"flow": "api/quick", "idempotency_key": "one"}
    response = await world.ask("POST", "/executions", body, headers={"idempotency-key": "two"})
    assert response.status_code == 422


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
async def test_a_key_that_is_none_is_refused(world: World, key: str) -> None:
    response = await world.ask("POST", "/executions", {"flow": "api/quick", "idempotency_key": key})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/idempotency_key"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timeout", "soon"), ("timeout", -1), ("timeout", "-5s"), ("timeout", 10**12), ("timeout", "99999d"), ("timeout", 0),
        ("priority", -1), ("priority", 10), ("priority", 1.5), ("priority", "high"), ("version", 0), ("version", 10**12),
        ("queue", "Not A Queue"), ("queue", ""), ("tags", {"": "x"}), ("tags", {"a:b": "x"}), ("tags", {"a": "x" * 256}),
        ("tags", {f"k{n}": "" for n in range(33)}), ("tags", {"a": "\u0000"}), ("start_at", "2026-01-01T00:00:00"),
        ("start_at", "never"), ("flow", ""), ("flow", "a/b/c"), ("flow", "Upper"), ("flow", 7), ("input", [1]),
    ],
)  # fmt: skip
async def test_a_start_with_a_field_out_of_range_is_refused_and_nothing_is_stored(
    world: World, field: str, value: Any
) -> None:
    before = (await listed(world, "count=exact&limit=1"))["total"]
    response = await world.ask("POST", "/executions", {"flow": "api/quick", field: value})
    assert response.status_code == 422, response.text
    problems = response.json()["errors"]
    assert problems
    assert all((problem.get("pointer") or "").startswith(f"/{field}") for problem in problems), problems
    assert (await listed(world, "count=exact&limit=1"))["total"] == before


async def test_a_batch_with_refused_starts_starts_nothing_and_names_them_all(world: World) -> None:
    before = (await listed(world, "flow=api/quick&count=exact&limit=1"))["total"]
    starts = [
        {"flow": "api/quick"},
        {"flow": "api/quick", "input": {"n": "x"}},
        {"flow": "api/quick", "input": {"n": -1}},
    ]
    response = await world.ask("POST", "/executions/batch", {"executions": starts})
    assert response.status_code == 422
    places = {problem["pointer"] for problem in response.json()["errors"]}
    assert {place.split("/")[2] for place in places} == {"1", "2"}
    assert (await listed(world, "flow=api/quick&count=exact&limit=1"))["total"] == before


async def test_a_batch_has_bounds(world: World) -> None:
    for starts in ([], [{"flow": "api/quick"}] * 1_001):
        response = await world.ask("POST", "/executions/batch", {"executions": starts})
        assert response.status_code == 422
        assert response.json()["errors"][0]["pointer"] == "/executions"


async def test_a_thousand_starts_in_one_batch(world: World) -> None:
    starts = [{"flow": "api/quick", "input": {"n": n}, "tags": {"batch": "thousand"}} for n in range(1_000)]
    response = await world.ask("POST", "/executions/batch", {"executions": starts}, timeout=60)
    assert response.status_code == 202
    entries = response.json()["data"]
    assert [entry["number"] for entry in entries] == sorted(entry["number"] for entry in entries)
    assert entries[0].keys() == EVERY_FIELD
    assert (await listed(world, "tag=batch:thousand&count=exact&limit=1"))["total"] == 1_000


async def test_pages_by_cursor_hold_every_execution_once_in_either_order(world: World) -> None:
    wanted = [(await world.start("api/quick", tags={"walk": "here"}))["id"] for _ in range(7)]
    for order, expected in (("newest", wanted[::-1]), ("oldest", wanted)):
        found: list[str] = []
        path: str | None = f"/executions?tag=walk:here&limit=3&order={order}"
        while path is not None:
            response = await world.ask("GET", path)
            found += [entry["id"] for entry in response.json()["data"]]
            link = response.links.get("next")
            assert (link is None) == (response.json()["next"] is None)
            path = None if link is None else link["url"].removeprefix("/api/v1")
        assert found == expected


async def test_offset_skips_and_excludes_a_cursor(world: World) -> None:
    whole = [entry["id"] for entry in (await listed(world, "limit=6"))["data"]]
    part = [entry["id"] for entry in (await listed(world, "limit=3&offset=3"))["data"]]
    assert part == whole[3:6]
    page = await listed(world, "limit=1")
    response = await world.ask("GET", f"/executions?limit=1&offset=1&cursor={page['next']}")
    assert response.status_code == 422


async def test_filters_hold_together(world: World) -> None:
    failed = await world.finished("api/fails", tags={"colour": "red", "size": "xl"})
    done = await world.finished("api/quick", tags={"colour": "red"})
    assert {entry["id"] for entry in (await listed(world, "tag=colour:red"))["data"]} == {failed["id"], done["id"]}
    assert [entry["id"] for entry in (await listed(world, "tag=colour:red&tag=size"))["data"]] == [failed["id"]]
    assert [entry["id"] for entry in (await listed(world, "tag=colour:red&status=failed"))["data"]] == [failed["id"]]
    both = await listed(world, "tag=colour:red&status=failed,completed&namespace=api&trigger=api")
    assert len(both["data"]) == 2
    assert (await listed(world, "tag=colour:blue"))["data"] == []
    assert [entry["id"] for entry in (await listed(world, f"root={done['id']}"))["data"]] == [done["id"]]
    assert (await listed(world, f"parent={done['id']}"))["data"] == []
    later = await listed(world, f"tag=colour:red&created_after={done['created_at']}")
    assert failed["id"] not in {entry["id"] for entry in later["data"]}
    before = await listed(world, f"tag=colour:red&created_before={failed['created_at']}")
    assert done["id"] not in {entry["id"] for entry in before["data"]}


async def test_entries_are_summaries_unless_fields_ask_for_more_or_less(world: World) -> None:
    execution = await world.finished("api/quick", {"n": 5}, tags={"fields": "here"})
    [entry] = (await listed(world, "tag=fields"))["data"]
    assert entry.keys() == EVERY_FIELD
    [entry] = (await listed(world, "tag=fields&fields=status,output"))["data"]
    assert entry == {"id": execution["id"], "status": "completed", "output": 11}
    response = await world.ask("GET", "/executions?fields=outptu")
    assert response.json()["errors"][0]["parameter"] == "fields"


async def test_counts_are_none_capped_or_exact(world: World) -> None:
    await world.finished("api/fails", tags={"counted": "yes"})
    assert (await listed(world, "tag=counted"))["total"] is None
    for count in ("capped", "exact"):
        page = await listed(world, f"tag=counted&count={count}")
        assert (page["total"], page["total_capped"]) == (1, False)


async def test_stats_count_by_group(world: World) -> None:
    await world.finished("api/fails", tags={"stats": "here"})
    rows = (await world.ask("GET", "/executions/stats?group_by=flow,status&flow=api/fails")).json()["data"]
    assert rows
    assert {(row["flow"], row["status"]) for row in rows} == {("api/fails", "failed")}
    everything = (await world.ask("GET", "/executions/stats")).json()
    total = (await listed(world, "count=exact&limit=1"))["total"]
    assert sum(row["count"] for row in everything["data"]) == total


async def test_a_cancelled_execution_says_so_and_why(world: World) -> None:
    execution = await world.start("api/slow")
    async with asyncio.timeout(10):
        while execution["status"] != "suspended":
            execution = (await world.ask("GET", f"/executions/{execution['id']}")).json()
    why = (await world.ask("GET", f"/executions/{execution['id']}/why")).json()
    assert why["waiting_for"][0]["kind"] == "timer"
    waits = (await world.ask("GET", f"/executions/{execution['id']}/waits")).json()["data"]
    assert [wait["node"] for wait in waits] == ["rest"]
    response = await world.ask("POST", f"/executions/{execution['id']}/cancel", {"reason": "no longer needed"})
    assert response.json()["status"] == "cancelled"
    assert response.json()["reason"] == "no longer needed"


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("GET", "", None), ("GET", "/why", None), ("GET", "/diff?with=1", None), ("DELETE", "", None),
        ("PATCH", "/tags", {"set": {"a": "b"}}), ("POST", "/cancel", {}), ("POST", "/pause", {}), ("POST", "/replay", {}),
        ("POST", "/signal", {"name": "go"}),
    ],
)  # fmt: skip
async def test_details_name_the_execution_that_is_not_there(world: World, method: str, suffix: str, body: Any) -> None:
    response = await world.ask(method, f"/executions/{NOBODY}{suffix}", body)
    assert response.json()["details"] == {"id": NOBODY}


async def test_a_number_that_is_not_there_is_named_as_one(world: World) -> None:
    response = await world.ask("GET", "/executions/999999999")
    assert response.json()["details"] == {"number": 999999999}


@pytest.mark.parametrize(
    ("verb", "body"), [("cancel", {}), ("pause", {}), ("resume", None), ("signal", {"name": "go"})]
)
async def test_details_name_the_state_of_what_has_ended(world: World, verb: str, body: Any) -> None:
    id = (await world.finished("api/quick"))["id"]
    response = await world.ask("POST", f"/executions/{id}/{verb}", body)
    assert response.json()["details"] == {"id": id, "status": "completed"}


async def test_node_runs_are_paged_by_cursor(world: World) -> None:
    execution = await world.finished("api/each", {"items": list(range(12))})
    found: list[Any] = []
    cursor = ""
    while True:
        response = await world.ask("GET", f"/executions/{execution['id']}/nodes/item?limit=5{cursor}")
        found += response.json()["data"]
        if response.json()["next"] is None:
            break
        cursor = f"&cursor={response.json()['next']}"
    runs = [(run["ordinal"], run["output"]) for run in found if run["type"] == "transform"]
    assert runs == [(n, n) for n in range(12)]
    one = (await world.ask("GET", f"/executions/{execution['id']}/nodes/item/7")).json()
    assert (one["ordinal"], one["output"]) == (7, 7)


async def test_the_graph_of_an_execution_tells_what_became_of_each_node(world: World) -> None:
    execution = await world.finished("api/quick")
    graph = (await world.ask("GET", f"/executions/{execution['id']}/dag")).json()
    assert {node["id"]: node["status"] for node in graph["nodes"]} == {"double": "completed", "again": "completed"}
    assert graph["edges"] == [{"from": "double", "to": "again"}]
    stats = (await world.ask("GET", f"/executions/{execution['id']}/stats")).json()
    assert stats["runs"] == 2
    assert stats["by_status"] == {"completed": 2}
