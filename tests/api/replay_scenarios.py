"""Scenarios of replaying, retrying and comparing executions (see `scenarios.py`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import httpx2

from perdure.base.clock import HOUR
from perdure.base.ids import id_text, new_id
from perdure.store.commands import StartExecutions
from perdure.store.records import NewExecution, Value
from tests.api.scenarios import NOBODY, SCENARIOS, Scenario, scenario, simple
from tests.api.world import FAILS, LIMITED, World

for _route, _method, _suffix in (
    ("replay_execution", "POST", "/replay"),
    ("retry_execution", "POST", "/retry"),
    ("list_replays", "GET", "/replays"),
    ("compare_executions", "GET", "/diff"),
    ("get_fixture", "GET", "/fixture"),
):
    simple(_route, 404, "execution_not_found", _method, f"/executions/{NOBODY}{_suffix}")


def of_failed(route: str, suffix: str, status: int, code: str | None, body: object, flow: str = "api/fails") -> None:
    """A call on an execution of `flow` that has ended."""

    async def run(world: World) -> httpx2.Response:
        execution = await world.finished(flow, {"items": []} if flow == "api/each" else None)
        return await world.ask("POST", f"/executions/{execution['id']}/{suffix}", body)

    SCENARIOS.append(Scenario(route, status, code, run))


for _route, _suffix in (("replay_execution", "replay"), ("retry_execution", "retry")):
    of_failed(_route, _suffix, 200, None, {"dry_run": True})
    of_failed(_route, _suffix, 404, "flow_version_not_found", {"version": 99})
    of_failed(_route, _suffix, 422, "invalid_input", {"input": 3})
    of_failed(_route, _suffix, 422, "limit_exceeded", {"outputs": {"no": "x" * 8_500_000}})
of_failed("replay_execution", "replay", 202, None, None)
of_failed("retry_execution", "retry", 202, None, None)
of_failed("replay_execution", "replay", 409, "nothing_to_retry", {"from": "failed"}, "api/quick")
of_failed("retry_execution", "retry", 409, "nothing_to_retry", None, "api/quick")


async def _unfinished(world: World, suffix: str) -> httpx2.Response:
    execution = await world.start("api/slow")
    return await world.ask("POST", f"/executions/{execution['id']}/{suffix}")


async def _at_the_limit(world: World, suffix: str) -> httpx2.Response:
    await world.put({**LIMITED, "id": f"api/full-{suffix}"})
    execution = await world.start(f"api/full-{suffix}")
    await world.ask("POST", f"/executions/{execution['id']}/cancel")
    await world.start(f"api/full-{suffix}")
    return await world.ask("POST", f"/executions/{execution['id']}/{suffix}")


async def _latest_of_a_deleted_flow(world: World, suffix: str) -> httpx2.Response:
    flow = {**FAILS, "id": f"api/gone-{suffix}"}
    await world.put(flow)
    execution = await world.finished(flow["id"])
    await world.ask("DELETE", f"/flows/{flow['id']}")
    kept = await world.ask("POST", f"/executions/{execution['id']}/{suffix}")
    assert kept.status_code in {200, 202}, "the version that it ran stays"
    return await world.ask("POST", f"/executions/{execution['id']}/{suffix}", {"version": "latest"})


async def _same_key(world: World, suffix: str) -> httpx2.Response:
    execution = await world.finished("api/fails")
    headers = {"idempotency-key": f"scenario-{suffix}"}
    await world.ask("POST", f"/executions/{execution['id']}/{suffix}", headers=headers)
    return await world.ask("POST", f"/executions/{execution['id']}/{suffix}", {"input": {"n": 2}}, headers=headers)


def _both(status: int, code: str, run: Callable[..., Awaitable[httpx2.Response]]) -> None:
    for route, suffix in (("replay_execution", "replay"), ("retry_execution", "retry")):
        SCENARIOS.append(Scenario(route, status, code, partial(run, suffix=suffix)))


_both(404, "flow_not_found", _latest_of_a_deleted_flow)
_both(409, "execution_not_ended", _unfinished)
_both(409, "concurrency_limit_reached", _at_the_limit)
_both(409, "idempotency_conflict", _same_key)


@scenario("list_replays", 200)
async def replays(world: World) -> httpx2.Response:
    execution = await world.finished("api/fails")
    for _ in range(2):
        await world.ask("POST", f"/executions/{execution['id']}/retry")
    response = await world.ask("GET", f"/executions/{execution['id']}/replays?limit=1")
    assert response.headers["link"].endswith('rel="next"')
    following = await world.http.get(response.headers["link"].partition(">")[0][1:])
    assert following.json()["next"] is None
    assert {entry["replay_of"] for entry in (*response.json()["data"], *following.json()["data"])} == {execution["id"]}
    return response


@scenario("list_replays", 400, "invalid_cursor")
async def replays_behind_a_bad_cursor(world: World) -> httpx2.Response:
    execution = await world.finished("api/fails")
    return await world.ask("GET", f"/executions/{execution['id']}/replays?cursor=zzz")


@scenario("compare_executions", 200)
async def compare(world: World) -> httpx2.Response:
    before = await world.finished("api/quick", {"n": 1})
    after = await world.finished("api/quick", {"n": 2})
    response = await world.ask("GET", f"/executions/{after['id']}/diff?with={before['number']}")
    assert response.json()["input"]["data"] == [
        {"pointer": "/n", "change": "changed", "before": 1, "after": 2, "cut": False}
    ]
    return response


@scenario("get_fixture", 200)
async def fixture(world: World) -> httpx2.Response:
    execution = await world.finished("api/each", {"items": [1, 2]})
    response = await world.ask("GET", f"/executions/{execution['id']}/fixture")
    assert [run["output"] for run in response.json()["runs"]] == [1, 2]
    return response


@scenario("get_fixture", 409, "execution_not_ended")
async def fixture_of_an_unfinished_one(world: World) -> httpx2.Response:
    execution = await world.start("api/slow")
    return await world.ask("GET", f"/executions/{execution['id']}/fixture")


@scenario("get_fixture", 404, "flow_version_not_found")
async def fixture_of_one_whose_flow_is_not_here(world: World) -> httpx2.Response:
    engine = world.server.engine
    at = engine.clock.now()
    id = new_id(at)
    new = NewExecution(
        id=id, root=id, workspace="default", flow="api/elsewhere", flow_version=1, input=Value("{}", None, 2), priority=5,
        queue="default", tags={}, trigger_kind="api", created_at=at, start_at=at + HOUR,
    )  # fmt: skip
    await engine.recorder.execute(StartExecutions(at=at, executions=[new]))
    await engine.cancel_executions("default", [id])
    return await world.ask("GET", f"/executions/{id_text(id)}/fixture")


@scenario("get_fixture", 422, "limit_exceeded")
async def fixture_of_too_much(world: World) -> httpx2.Response:
    large = {f"n{index}": {"transform": "${input.text}"} for index in range(5)}
    await world.put({"id": "api/large", "nodes": large, "output": 1})
    execution = await world.finished("api/large", {"text": "x" * 7_500_000})
    return await world.ask("GET", f"/executions/{execution['id']}/fixture")
