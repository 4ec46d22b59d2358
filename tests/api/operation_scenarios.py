"""Scenarios of operations on many executions (see `scenarios.py`)."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2

from tests.api.scenarios import NOBODY, scenario, simple
from tests.api.world import World

for _route, _method, _suffix in (
    ("get_operation", "GET", ""),
    ("list_operation_items", "GET", "/items"),
    ("cancel_operation", "POST", "/cancel"),
):
    simple(_route, 404, "operation_not_found", _method, f"/operations/{NOBODY}{_suffix}")

_BULK = "/executions/bulk"
_SLOW: dict[str, Any] = {"action": "tag", "filter": {"flow": "api/slow"}, "arguments": {"set": {"seen": "yes"}}}

simple("change_executions", 200, None, "POST", _BULK, body={**_SLOW, "dry_run": True})
simple(
    "change_executions",
    422,
    "invalid_identifier",
    "POST",
    _BULK,
    body={"action": "delete", "filter": {"flow": "a/b/c"}},
)
simple(
    "change_executions", 422, "limit_exceeded", "POST", _BULK,
    body={"action": "retry", "ids": [NOBODY], "arguments": {"outputs": {"no": "x" * 70_000}}},
)  # fmt: skip
simple("list_operations", 400, "invalid_cursor", "GET", "/operations?cursor=zzz")


async def begun(world: World, **fields: Any) -> dict[str, Any]:
    """An operation on two executions of which one is not there, when it is over."""
    execution = await world.start("api/slow")
    body = {**_SLOW, "ids": [execution["id"], NOBODY], **fields}
    del body["filter"]
    response = await world.ask("POST", _BULK, body)
    assert response.status_code == 202, response.text
    found: dict[str, Any] = response.json()
    async with asyncio.timeout(30):
        while found["status"] in {"collecting", "running"}:
            found = (await world.ask("GET", f"/operations/{found['id']}")).json()
    return found


@scenario("change_executions", 202)
async def change(world: World) -> httpx2.Response:
    await world.start("api/slow")
    headers = {"idempotency-key": "bulk-once"}
    first = await world.ask("POST", _BULK, _SLOW, headers=headers)
    again = await world.ask("POST", _BULK, _SLOW, headers=headers)
    assert first.json()["id"] == again.json()["id"]
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    assert first.headers["location"] == f"/api/v1/operations/{first.json()['id']}"
    return first


@scenario("change_executions", 409, "idempotency_conflict")
async def change_otherwise(world: World) -> httpx2.Response:
    headers = {"idempotency-key": "bulk-other"}
    await world.ask("POST", _BULK, _SLOW, headers=headers)
    return await world.ask("POST", _BULK, {**_SLOW, "arguments": {"remove": ["seen"]}}, headers=headers)


@scenario("get_operation", 200)
async def one(world: World) -> httpx2.Response:
    operation = await begun(world)
    response = await world.ask("GET", f"/operations/{operation['id']}")
    found = response.json()
    assert (found["status"], found["total"], found["succeeded"], found["refused"]) == ("completed", 2, 1, 1)
    assert (found["arguments"], found["filter"], found["left"]) == ({"set": {"seen": "yes"}}, None, 0)
    return response


@scenario("list_operation_items", 200)
async def items(world: World) -> httpx2.Response:
    operation = await begun(world)
    path = f"/operations/{operation['id']}/items"
    response = await world.ask("GET", f"{path}?limit=1")
    following = await world.http.get(response.headers["link"].partition(">")[0][1:])
    assert following.json()["next"] is None
    [refused] = following.json()["data"]
    assert (refused["execution"], refused["code"]) == (NOBODY, "execution_not_found")
    for outcome, count in (("succeeded", 1), ("refused", 1), ("waiting", 0), ("skipped", 0), ("asked", 0)):
        assert len((await world.ask("GET", f"{path}?outcome={outcome}")).json()["data"]) == count, outcome
    return response


@scenario("list_operation_items", 400, "invalid_cursor")
async def items_behind_the_cursor_of_others(world: World) -> httpx2.Response:
    operation = await begun(world)
    path = f"/operations/{operation['id']}/items"
    cursor = (await world.ask("GET", f"{path}?limit=1")).json()["next"]
    return await world.ask("GET", f"{path}?outcome=refused&cursor={cursor}")


@scenario("list_operations", 200)
async def operations(world: World) -> httpx2.Response:
    made = [(await begun(world))["id"] for _ in range(2)]
    response = await world.ask("GET", "/operations?limit=1")
    following = await world.http.get(response.headers["link"].partition(">")[0][1:])
    assert [response.json()["data"][0]["id"], following.json()["data"][0]["id"]] == made[::-1]
    return response


@scenario("cancel_operation", 200)
async def cancel(world: World) -> httpx2.Response:
    """One that is cancelled in the moment in which it begins, or the next one."""
    while True:
        begun_now = await world.ask("POST", _BULK, {**_SLOW, "arguments": {"set": {"n": "1"}}})
        response = await world.ask("POST", f"/operations/{begun_now.json()['id']}/cancel")
        if response.status_code == 200:
            assert response.json()["status"] == "cancelled"
            return response


@scenario("cancel_operation", 409, "operation_ended")
async def cancel_too_late(world: World) -> httpx2.Response:
    operation = await begun(world)
    return await world.ask("POST", f"/operations/{operation['id']}/cancel")
