"""The scenarios of waits: approvals, questions, signals, pauses (see `scenarios.py`)."""

from __future__ import annotations

import json
from typing import Any

import httpx2

from tests.api.scenarios import NOBODY, scenario, simple
from tests.api.sse import until
from tests.api.world import World

APPROVE: dict[str, Any] = {
    "id": "api/approve",
    "input": {"approvers": {"type": "array", "default": []}, "quorum": {"type": "integer", "default": 1}},
    "nodes": {
        "approve": {
            "approval": {"message": "Go?", "approvers": "${input.approvers}", "quorum": "${string(input.quorum)}"}
        }
    },
}
ASK: dict[str, Any] = {
    "id": "api/ask",
    "nodes": {"ask": {"ask": {"message": "How many?", "form": {"n": {"type": "integer"}, "why": {"type": "string"}}}}},
    "output": "${nodes.ask.output.answer}",
}
LISTEN: dict[str, Any] = {"id": "api/listen", "nodes": {"wait": {"signal": "paid"}, "over": {"signal": "over"}}}


async def waiting(world: World, flow: dict[str, Any], input: Any = None) -> str:
    """The path of an execution of the flow that has gone to sleep."""
    await world.put(flow)
    id: str = (await world.start(flow["id"], input))["id"]
    await until(world, id, "execution.suspended")
    return f"/executions/{id}"


async def approve(world: World, path: str, **more: Any) -> httpx2.Response:
    return await world.ask("POST", f"{path}/respond", {"approved": True, **more})


simple("list_waits", 200, None, "GET", "/waits?kind=approval,ask&approver=me&due_before=2040-01-01T00:00:00Z&limit=2")
simple("list_waits", 400, "invalid_cursor", "GET", "/waits?cursor=nonsense")
simple("list_waits", 422, "invalid_identifier", "GET", "/waits?flow=No/Such/Flow")
simple("get_waits", 404, "execution_not_found", "GET", f"/executions/{NOBODY}/waits")
for _route, _body in (
    ("respond", {"approved": True}), ("signal", {"name": "paid"}), ("pause", None), ("resume", None),
):  # fmt: skip
    simple(f"{_route}_execution", 404, "execution_not_found", "POST", f"/executions/{NOBODY}/{_route}", body=_body)

    @scenario(f"{_route}_execution", 409, "execution_ended")
    async def ended(world: World, route: str = _route, body: Any = _body) -> httpx2.Response:
        execution = await world.finished("api/quick")
        return await world.ask("POST", f"/executions/{execution['id']}/{route}", body)

    @scenario(f"{_route}_execution", 409, "execution_stopping")
    async def stopping(world: World, route: str = _route, body: Any = _body) -> httpx2.Response:
        path = await waiting(world, STUBBORN)
        await world.ask("POST", f"{path}/cancel")
        response = await world.ask("POST", f"{path}/{route}", body)
        await world.ask("POST", f"{path}/cancel", {"force": True})
        return response


STUBBORN: dict[str, Any] = {
    "id": "api/stubborn",
    "nodes": {
        "approve": {"approval": "Go?"},
        "clean": {"signal": "never", "needs": ["approve"], "run_if": "always"},
    },
}


@scenario("list_waits", 200)
async def page_of_waits(world: World) -> httpx2.Response:
    await waiting(world, ASK)
    await waiting(world, ASK)
    response = await world.ask("GET", "/waits?limit=1&flow=api/ask")
    assert response.json()["next"]
    assert "rel=" in response.headers["link"]
    return response


@scenario("get_waits", 200)
async def waits(world: World) -> httpx2.Response:
    response = await world.ask("GET", f"{await waiting(world, APPROVE)}/waits")
    [wait] = response.json()["data"]
    assert (wait["kind"], wait["id"], wait["message"]) == ("approval", "approve@1", "Go?")
    return response


@scenario("respond_execution", 200)
async def respond(world: World) -> httpx2.Response:
    return await world.ask("POST", f"{await waiting(world, ASK)}/respond", {"answer": {"n": 1, "why": "so"}})


@scenario("respond_execution", 409, "wait_not_open")
async def respond_to_nothing(world: World) -> httpx2.Response:
    path = f"/executions/{(await world.start('api/slow'))['id']}"
    return await approve(world, path)


@scenario("respond_execution", 409, "wait_answered")
async def respond_twice(world: World) -> httpx2.Response:
    path = await waiting(world, APPROVE)
    await as_other(world, path)
    response = await approve(world, path)
    assert response.json()["details"]["by"] == "olga"
    return response


@scenario("respond_execution", 409, "already_responded")
async def respond_again(world: World) -> httpx2.Response:
    path = await waiting(world, APPROVE, {"quorum": 2})
    first = await as_other(world, path)
    assert first.json()["missing"] == 1, first.text
    return await as_other(world, path)


@scenario("respond_execution", 403, "not_an_approver")
async def respond_uninvited(world: World) -> httpx2.Response:
    return await approve(world, await waiting(world, APPROVE, {"approvers": ["somebody else"]}))


@scenario("respond_execution", 403, "self_approval")
async def respond_to_oneself(world: World) -> httpx2.Response:
    path = await waiting(world, APPROVE)
    response = await approve(world, path)
    if response.status_code != 200:
        return response
    raise AssertionError("whoever started it approved it")


@scenario("respond_execution", 422, "invalid_answer")
async def respond_amiss(world: World) -> httpx2.Response:
    response = await world.ask("POST", f"{await waiting(world, ASK)}/respond", {"answer": {"n": "one"}})
    assert {problem["pointer"] for problem in response.json()["errors"]} == {"/answer", "/answer/n"}
    return response


@scenario("respond_execution", 422, "limit_exceeded")
async def respond_at_length(world: World) -> httpx2.Response:
    path = await waiting(world, {**ASK, "id": "api/free", "nodes": {"ask": {"ask": "Say"}}})
    return await world.ask("POST", f"{path}/respond", {"answer": "x" * 70_000})


@scenario("signal_execution", 200)
async def signal(world: World) -> httpx2.Response:
    path = await waiting(world, LISTEN)
    response = await world.ask("POST", f"{path}/signal", {"name": "paid", "payload": [1]})
    assert response.json()["wait"] == "wait@1"
    kept = await world.ask("POST", f"{path}/signal", {"name": "other"})
    assert kept.json()["buffered"] == 1
    return response


@scenario("signal_execution", 422, "limit_exceeded")
async def signal_at_length(world: World) -> httpx2.Response:
    path = await waiting(world, LISTEN)
    return await world.ask("POST", f"{path}/signal", {"name": "paid", "payload": "x" * 70_000})


@scenario("pause_execution", 200)
async def pause(world: World) -> httpx2.Response:
    response = await world.ask("POST", f"{await waiting(world, LISTEN)}/pause", {"reason": "dinner"})
    assert (response.json()["status"], response.json()["reason"]) == ("suspended", "paused")
    return response


@scenario("resume_execution", 200)
async def resume(world: World) -> httpx2.Response:
    path = await waiting(world, LISTEN)
    await world.ask("POST", f"{path}/pause")
    return await world.ask("POST", f"{path}/resume")


@scenario("resume_execution", 409, "not_paused")
async def resume_what_runs(world: World) -> httpx2.Response:
    return await world.ask("POST", f"{await waiting(world, LISTEN)}/resume")


async def as_other(world: World, path: str) -> httpx2.Response:
    """An approval by an operator who did not start it."""
    secret = OTHERS.get(world.server.url)
    if secret is None:
        made = await world.ask("POST", "/tokens", {"name": "olga", "role": "operator"})
        secret = OTHERS[world.server.url] = str(made.json()["secret"])
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    return await world.http.post(f"/api/v1{path}/respond", headers=headers, content=json.dumps({"approved": True}))


OTHERS: dict[str, str] = {}
"""By server."""
