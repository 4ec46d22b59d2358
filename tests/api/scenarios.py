"""One request for each way in which each route can answer, by the route's name and the status and code expected.

`test_coverage.py` runs them all and is red for a route, an outcome or a declared error without one.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import httpx2

from tests.api.world import FILES, LIMITED, QUICK, World

Run = Callable[[World], Awaitable[httpx2.Response]]
NOBODY = "018f0000-0000-7000-8000-000000000000"
YAML = {"content-type": "application/yaml"}


class Scenario(NamedTuple):
    route: str
    status: int
    code: str | None
    """The problem's; None for an outcome."""
    run: Run


SCENARIOS: list[Scenario] = []


def scenario(route: str, status: int, code: str | None = None) -> Callable[[Run], Run]:
    def note(run: Run) -> Run:
        SCENARIOS.append(Scenario(route, status, code, run))
        return run

    return note


def simple(route: str, status: int, code: str | None, method: str, path: str, **more: object) -> None:
    """A scenario of one request that needs nothing else."""

    async def run(world: World) -> httpx2.Response:
        return await world.ask(method, path, **more)

    SCENARIOS.append(Scenario(route, status, code, run))


async def _artifact(world: World) -> str:
    execution = await world.finished("api/files")
    listed = (await world.ask("GET", f"/executions/{execution['id']}/artifacts")).json()
    return str(next(entry["id"] for entry in listed["data"] if entry["name"].endswith("report.txt")))


async def _fresh_flow(world: World, name: str) -> str:
    await world.put({**QUICK, "id": f"api/{name}"})
    return f"/flows/api/{name}"


# Starting


@scenario("start_execution", 202)
async def start(world: World) -> httpx2.Response:
    response = await world.ask("POST", "/executions", {"flow": "api/slow"})
    assert response.headers["location"] == f"/api/v1/executions/{response.json()['id']}"
    return response


@scenario("start_execution", 200)
async def start_and_wait(world: World) -> httpx2.Response:
    response = await world.ask(
        "POST", "/executions", {"flow": "api/quick", "input": {"n": 4}}, headers={"prefer": "wait=30"}
    )
    assert response.headers["preference-applied"] == "wait=30"
    assert response.json()["output"] == 9
    return response


for _route, _path, _body in (
    ("start_execution", "/executions", lambda start: start),
    ("start_executions", "/executions/batch", lambda start: {"executions": [start]}),
):
    simple(_route, 404, "flow_not_found", "POST", _path, body=_body({"flow": "api/none"}))
    simple(_route, 404, "flow_version_not_found", "POST", _path, body=_body({"flow": "api/quick", "version": 99}))
    simple(_route, 422, "invalid_input", "POST", _path, body=_body({"flow": "api/quick", "input": {"n": "x"}}))
    simple(
        _route, 422, "limit_exceeded", "POST", _path,
        body=_body({"flow": "api/each", "input": {"items": ["x" * 1024] * 9_000}}),
    )  # fmt: skip


@scenario("start_execution", 409, "concurrency_limit_reached")
async def start_at_the_limit(world: World) -> httpx2.Response:
    await world.put({**LIMITED, "id": "api/full"})
    await world.start("api/full")
    return await world.ask("POST", "/executions", {"flow": "api/full"})


@scenario("start_executions", 409, "concurrency_limit_reached")
async def start_more_than_the_limit(world: World) -> httpx2.Response:
    await world.put({**LIMITED, "id": "api/crowded"})
    await world.start("api/crowded")
    return await world.ask("POST", "/executions/batch", {"executions": [{"flow": "api/crowded"}]})


@scenario("start_execution", 409, "idempotency_conflict")
async def start_otherwise_with_the_same_key(world: World) -> httpx2.Response:
    headers = {"idempotency-key": "scenario-conflict"}
    await world.ask("POST", "/executions", {"flow": "api/quick"}, headers=headers)
    return await world.ask("POST", "/executions", {"flow": "api/quick", "input": {"n": 2}}, headers=headers)


@scenario("start_executions", 409, "idempotency_conflict")
async def start_a_batch_otherwise_with_the_same_key(world: World) -> httpx2.Response:
    await world.start("api/quick", idempotency_key="scenario-batch")
    other = {"flow": "api/quick", "input": {"n": 2}, "idempotency_key": "scenario-batch"}
    return await world.ask("POST", "/executions/batch", {"executions": [other]})


@scenario("start_executions", 202)
async def start_many(world: World) -> httpx2.Response:
    response = await world.ask("POST", "/executions/batch", {"executions": [{"flow": "api/quick"}] * 3})
    assert len({entry["id"] for entry in response.json()["data"]}) == 3
    return response


# Reading


@scenario("list_executions", 200)
async def list_page(world: World) -> httpx2.Response:
    for _ in range(3):
        await world.finished("api/quick")
    response = await world.ask("GET", "/executions?limit=2&flow=api/quick&count=exact")
    assert response.headers["link"].endswith('rel="next"')
    assert response.json()["total"] >= 3
    return response


simple("list_executions", 400, "invalid_cursor", "GET", "/executions?cursor=zzz")
simple("list_executions", 422, "invalid_identifier", "GET", "/executions?flow=UPPER")
simple("execution_stats", 200, None, "GET", "/executions/stats?group_by=status,flow")
simple("execution_stats", 422, "invalid_identifier", "GET", "/executions/stats?flow=UPPER")
for _format in ("ndjson", "csv", "json", "parquet"):
    simple("export_executions", 200, None, "GET", f"/executions/export?format={_format}")
simple("export_executions", 422, "invalid_identifier", "GET", "/executions/export?flow=UPPER")


@scenario("get_execution", 200)
async def get_one(world: World) -> httpx2.Response:
    execution = await world.finished("api/quick")
    response = await world.ask("GET", f"/executions/{execution['number']}?include=nodes,waits,artifacts,config")
    assert response.json()["id"] == execution["id"]
    return response


@scenario("cancel_execution", 200)
async def cancel(world: World) -> httpx2.Response:
    execution = await world.start("api/slow")
    response = await world.ask("POST", f"/executions/{execution['id']}/cancel", {"reason": "enough"})
    assert response.json()["status"] in {"cancelling", "cancelled"}
    return response


@scenario("cancel_execution", 409, "execution_ended")
async def cancel_what_has_ended(world: World) -> httpx2.Response:
    execution = await world.finished("api/quick")
    return await world.ask("POST", f"/executions/{execution['id']}/cancel")


@scenario("tag_execution", 200)
async def tag(world: World) -> httpx2.Response:
    execution = await world.finished("api/quick", tags={"team": "blue", "old": "1"})
    body = {"set": {"team": "red"}, "remove": ["old", "never"]}
    response = await world.ask("PATCH", f"/executions/{execution['id']}/tags", body)
    assert response.json()["tags"] == {"team": "red"}
    return response


simple("tag_execution", 404, "execution_not_found", "PATCH", f"/executions/{NOBODY}/tags", body={"set": {"a": "b"}})


@scenario("delete_execution", 204)
async def delete_execution(world: World) -> httpx2.Response:
    execution = await world.finished("api/files")
    path = f"/executions/{execution['id']}"
    response = await world.ask("DELETE", path)
    assert (await world.ask("GET", path)).status_code == 404
    assert (await world.ask("DELETE", path)).status_code == 404
    return response


@scenario("delete_execution", 409, "execution_not_ended")
async def delete_what_goes_on(world: World) -> httpx2.Response:
    path = f"/executions/{(await world.start('api/slow'))['id']}"
    response = await world.ask("DELETE", path)
    assert response.json()["details"]["status"] in {"running", "suspended"}
    await world.ask("POST", f"{path}/cancel")
    return response


for _route, _method, _suffix in (
    ("get_execution", "GET", ""),
    ("delete_execution", "DELETE", ""),
    ("cancel_execution", "POST", "/cancel"),
    ("get_events", "GET", "/events"),
    ("get_logs", "GET", "/logs"),
    ("list_node_runs", "GET", "/nodes"),
    ("list_runs_of_node", "GET", "/nodes/double"),
    ("get_node_run", "GET", "/nodes/double/0"),
    ("get_execution_graph", "GET", "/dag"),
    ("get_execution_stats", "GET", "/stats"),
    ("get_waits", "GET", "/waits"),
    ("explain_execution", "GET", "/why"),
    ("list_artifacts", "GET", "/artifacts"),
):
    simple(_route, 404, "execution_not_found", _method, f"/executions/{NOBODY}{_suffix}")


def of_finished(route: str, suffix: str, status: int = 200, code: str | None = None, **more: object) -> None:
    """A GET on a finished execution of `api/files`."""

    async def run(world: World) -> httpx2.Response:
        execution = await world.finished("api/files")
        return await world.ask("GET", f"/executions/{execution['id']}{suffix}", **more)

    SCENARIOS.append(Scenario(route, status, code, run))


STREAM = {"accept": "text/event-stream"}
of_finished("get_events", "/events")
of_finished("get_events", "/events", headers=STREAM)
of_finished("get_events", "/events", 400, "invalid_cursor", headers={**STREAM, "last-event-id": "soon"})
of_finished("get_logs", "/logs?level=warning")
of_finished("get_logs", "/logs?follow=true")
of_finished("get_logs", "/logs", 400, "invalid_cursor", headers={**STREAM, "last-event-id": "99999"})
of_finished("list_node_runs", "/nodes")
of_finished("list_node_runs", "/nodes?cursor=zzz", 400, "invalid_cursor")
of_finished("list_runs_of_node", "/nodes/write")
of_finished("list_runs_of_node", "/nodes/write?cursor=zzz", 400, "invalid_cursor")
of_finished("list_runs_of_node", "/nodes/other", 404, "node_run_not_found")
of_finished("get_node_run", "/nodes/write/0")
of_finished("get_node_run", "/nodes/write/7", 404, "node_run_not_found")
of_finished("get_execution_graph", "/dag")
of_finished("get_execution_stats", "/stats")
of_finished("get_waits", "/waits")
of_finished("explain_execution", "/why")
of_finished("list_artifacts", "/artifacts")
of_finished("list_artifacts", "/artifacts?cursor=zzz", 400, "invalid_cursor")


@scenario("get_feed", 200)
async def feed(world: World) -> httpx2.Response:
    async with world.http.stream("GET", "/api/v1/events", headers=STREAM) as response:
        assert response.headers["content-type"] == "text/event-stream"
        return response


simple("get_feed", 400, "invalid_cursor", "GET", "/events?after=zzz")
simple("get_feed", 422, "invalid_identifier", "GET", "/events?flow=UPPER")
simple("get_feed", 406, "not_acceptable", "GET", "/events", headers={"accept": "application/json"})
simple("get_socket", 426, "upgrade_required", "GET", "/ws")


# Artifacts


@scenario("get_artifact", 200)
async def artifact(world: World) -> httpx2.Response:
    response = await world.ask("GET", f"/artifacts/{await _artifact(world)}")
    assert response.content == b"content"
    return response


@scenario("get_artifact", 206)
async def part_of_an_artifact(world: World) -> httpx2.Response:
    response = await world.ask("GET", f"/artifacts/{await _artifact(world)}", headers={"range": "bytes=1-3"})
    assert (response.content, response.headers["content-range"]) == (b"ont", "bytes 1-3/7")
    return response


@scenario("get_artifact", 304)
async def artifact_known_already(world: World) -> httpx2.Response:
    path = f"/artifacts/{await _artifact(world)}"
    etag = (await world.ask("GET", path)).headers["etag"]
    return await world.ask("GET", path, headers={"if-none-match": etag})


@scenario("get_artifact", 416, "range_not_satisfiable")
async def range_behind_the_end(world: World) -> httpx2.Response:
    response = await world.ask("GET", f"/artifacts/{await _artifact(world)}", headers={"range": "bytes=9-"})
    assert response.headers["content-range"] == "bytes */7"
    return response


simple("get_artifact", 404, "artifact_not_found", "GET", f"/artifacts/{NOBODY}")


# Flows

simple("list_flows", 200, None, "GET", "/flows?namespace=api")
simple("list_flows", 400, "invalid_cursor", "GET", "/flows?cursor=zzz")
simple("get_flow", 200, None, "GET", "/flows/api/quick")
simple("get_flow", 404, "flow_not_found", "GET", "/flows/none")


@scenario("get_flow", 304)
async def flow_known_already(world: World) -> httpx2.Response:
    etag = (await world.ask("GET", "/flows/api/quick")).headers["etag"]
    return await world.ask("GET", "/flows/api/quick", headers={"if-none-match": f'"x", {etag}'})


@scenario("put_flow", 201)
async def put_new(world: World) -> httpx2.Response:
    text = "id: fresh-one\nnodes:\n  one: {transform: '1'}\n"
    response = await world.ask("PUT", "/flows/fresh-one", content=text, headers={**YAML, "if-none-match": "*"})
    assert response.headers["location"] == "/api/v1/flows/default/fresh-one"
    return response


@scenario("put_flow", 200)
async def put_again(world: World) -> httpx2.Response:
    path = await _fresh_flow(world, "again")
    etag = (await world.ask("GET", path)).headers["etag"]
    changed = {**QUICK, "id": "api/again", "description": "Changed."}
    response = await world.ask("PUT", path, changed, headers={"if-match": etag})
    assert response.json()["version"] == 2
    return response


simple(
    "put_flow", 422, "invalid_flow", "PUT", "/flows/api/bad", body={"id": "api/bad", "nodes": {"a": {"needs": ["b"]}}}
)
simple("put_flow", 412, "precondition_failed", "PUT", "/flows/api/quick", body=QUICK, headers={"if-none-match": "*"})
simple("put_flow", 409, "flow_managed", "PUT", "/flows/folder/managed", body={**QUICK, "id": "folder/managed"})


def _batch(*definitions: dict[str, Any]) -> dict[str, Any]:
    documents = [{"text": json.dumps(one), "media_type": "application/json"} for one in definitions]
    return {"documents": documents}


simple("put_flows", 200, None, "POST", "/flows/batch", body=_batch({**QUICK, "id": "api/batch"}))
simple("put_flows", 422, "invalid_flow", "POST", "/flows/batch", body=_batch({"id": "api/bad", "nodes": {"a": {}}}))
simple("put_flows", 409, "flow_managed", "POST", "/flows/batch", body=_batch({**QUICK, "id": "folder/managed"}))


@scenario("delete_flow", 204)
async def delete(world: World) -> httpx2.Response:
    return await world.ask("DELETE", await _fresh_flow(world, "deleted"))


@scenario("delete_flow", 409, "flow_in_use")
async def delete_in_use(world: World) -> httpx2.Response:
    await world.put({**LIMITED, "id": "api/used"})
    await world.start("api/used")
    return await world.ask("DELETE", "/flows/api/used")


simple("delete_flow", 404, "flow_not_found", "DELETE", "/flows/none")
simple("delete_flow", 409, "flow_managed", "DELETE", "/flows/folder/managed")
simple("delete_flow", 412, "precondition_failed", "DELETE", "/flows/api/quick", headers={"if-match": '"0-x"'})
simple("list_flow_versions", 200, None, "GET", "/flows/api/quick/versions")
simple("list_flow_versions", 404, "flow_not_found", "GET", "/flows/api/none/versions")
simple("list_flow_versions", 400, "invalid_cursor", "GET", "/flows/api/quick/versions?cursor=zzz")
simple("get_flow_version", 200, None, "GET", "/flows/api/quick/versions/1")
simple("get_flow_version", 404, "flow_not_found", "GET", "/flows/api/none/versions/1")
simple("get_flow_version", 404, "flow_version_not_found", "GET", "/flows/api/quick/versions/99")
for _route, _suffix in (("get_flow_graph", "dag"), ("get_flow_schema", "schema")):
    simple(_route, 200, None, "GET", f"/flows/api/quick/{_suffix}")
    simple(_route, 404, "flow_not_found", "GET", f"/flows/api/none/{_suffix}")
    simple(_route, 404, "flow_version_not_found", "GET", f"/flows/api/quick/{_suffix}?version=99")
simple("validate_flow", 200, None, "POST", "/flows/validate", body=FILES)


# Tokens: a server of their own, since the first one closes it. `world.http` carries an admin's.


@scenario("create_token", 201)
async def make_token(world: World) -> httpx2.Response:
    response = await world.ask("POST", "/tokens", {"name": "ci", "role": "operator"})
    assert response.json()["secret"].startswith("perdure_")
    return response


simple("list_tokens", 200, None, "GET", "/tokens")


@scenario("revoke_token", 204)
async def revoke(world: World) -> httpx2.Response:
    made = (await world.ask("POST", "/tokens", {"name": "gone", "role": "viewer"})).json()
    return await world.ask("DELETE", f"/tokens/{made['id']}")


simple("revoke_token", 404, "token_not_found", "DELETE", f"/tokens/{NOBODY}")


# The server itself

for _route, _path in (("live", "//health/live"), ("ready", "//health/ready"), ("metrics", "//metrics"),
                      ("info", "//system/info"), ("list_workers", "/workers"), ("openapi", "//openapi.json"),
                      ("docs", "//docs")):  # fmt: skip
    simple(_route, 200, None, "GET", _path)
simple("root", 307, None, "GET", "//")


@scenario("openapi", 304)
async def openapi_known_already(world: World) -> httpx2.Response:
    etag = (await world.ask("GET", "//openapi.json")).headers["etag"]
    return await world.ask("GET", "//openapi.json", headers={"if-none-match": etag})


@scenario("docs", 304)
async def docs_known_already(world: World) -> httpx2.Response:
    etag = (await world.ask("GET", "//docs")).headers["etag"]
    return await world.ask("GET", "//docs", headers={"if-none-match": etag})
