"""Replays over HTTP: what a dry run tells, what a key repeats, where the new execution leads back to."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.client import AsyncClient
from tests.api.conftest import Opened
from tests.api.test_security import bearer, make
from tests.api.world import World

FLOW: dict[str, Any] = {
    "id": "api/repair",
    "input": {"ok": {"type": "boolean", "default": False}},
    "tags": {"team": "blue"},
    "nodes": {
        "first": {"transform": 41},
        "gate": {"fail": {"message": "not yet"}, "when": "!input.ok", "needs": ["first"]},
        "last": {"transform": "${nodes.first.output + 1}", "needs": ["gate"], "run_if": "succeeded_or_skipped"},
        "each": {"transform": "${item}", "foreach": [1, 2, 3]},
    },
    "output": "${nodes.last.output}",
}

GATED: dict[str, Any] = {
    "id": "api/gated",
    "input": {"cents": {"type": "integer", "default": 1}},
    "nodes": {
        "gate": {"approval": {"message": "Pay?", "on_expiry": "approve"}, "timeout": "1ms"},
        "pay": {"transform": "${input.cents}", "needs": ["gate"]},
    },
    "output": "${nodes.pay.output}",
}


@pytest.fixture
async def failed(world: World) -> dict[str, Any]:
    await world.put(FLOW)
    return await world.finished("api/repair", tags={"run": "1"}, priority=7, trigger_context={"by": "a test"})


async def asked(world: World, id: str, body: Any, *, to: str = "replay", **headers: str) -> tuple[int, dict[str, Any]]:
    response = await world.ask("POST", f"/executions/{id}/{to}", body, headers={"prefer": "wait=30", **headers})
    return response.status_code, response.json()


async def test_a_dry_run_writes_nothing_and_tells_why(world: World, failed: dict[str, Any]) -> None:
    status, plan = await asked(world, failed["id"], {"from": "failed", "dry_run": True})
    assert status == 200
    told = {
        node["node"]: (node["action"], node["reason"], node["because"], node["reused_runs"]) for node in plan["nodes"]
    }
    assert told == {
        "first": ("reuse", "recorded", [], 1),
        "gate": ("run", "failed", [], 0),
        "last": ("run", "depends", ["gate"], 0),
        "each": ("reuse", "recorded", [], 3),
    }
    assert (plan["execution"], plan["reused"], plan["run"]) == (failed["id"], 2, 2)
    replays = await world.ask("GET", f"/executions/{failed['id']}/replays")
    assert replays.json()["data"] == []


async def test_a_replay_is_a_start_that_leads_back(world: World, failed: dict[str, Any]) -> None:
    status, new = await asked(world, failed["id"], {"input": {"ok": True}}, to="retry")
    assert (status, new["status"], new["output"]) == (200, "completed", 42)
    assert new["replay_of"] == failed["id"]
    assert new["replay"] == {"from": "failed", "reuse": "independent", "input_edited": True, "edited": []}
    assert failed["replay"] is None
    assert new["trigger"] == {"kind": "replay", "id": None, "context": {"by": "a test"}}
    assert (new["tags"], new["priority"]) == ({"team": "blue", "run": "1"}, 7)
    nodes = (await world.ask("GET", f"/executions/{new['id']}/nodes")).json()["data"]
    assert {run["node"]: run["reused_from"] for run in nodes} == {
        "first": failed["id"], "each": failed["id"], "gate": None, "last": None,
    }  # fmt: skip
    events = (await world.ask("GET", f"/executions/{new['id']}/events?types=execution.created")).json()["data"]
    assert events[0]["data"]["replay_of"] == failed["id"]


async def test_the_same_key_and_request_give_the_first_replay(world: World, failed: dict[str, Any]) -> None:
    body = {"outputs": {"gate": None}}
    _, first = await asked(world, failed["id"], body, **{"idempotency-key": "replay once"})
    response = await world.ask("POST", f"/executions/{failed['id']}/replay", {**body, "idempotency_key": "replay once"})
    assert response.headers["idempotent-replayed"] == "true"
    assert response.json()["id"] == first["id"]
    other = await world.finished("api/repair")
    assert (await asked(world, other["id"], body, **{"idempotency-key": "replay once"}))[0] == 409


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"from": ["gatte"]}, "/from/0"),
        ({"from": []}, "/from"),
        ({"from": "start"}, "/from"),
        ({"outputs": {"each": 3}}, "/outputs/each"),
        ({"from": ["gate"], "outputs": {"gate": 1}}, "/outputs/gate"),
        ({"version": 0}, "/version"),
        ({"version": "newest"}, "/version"),
        ({"reuse": "all"}, "/reuse"),
        ({"to_route": "x"}, "/to_route"),
        ({"input": {"ok": 1}}, "/input/ok"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_told_with_its_place(
    world: World, failed: dict[str, Any], body: dict[str, Any], pointer: str
) -> None:
    for dry_run in (False, True):
        status, problem = await asked(world, failed["id"], {**body, "dry_run": dry_run})
        assert status == 422, problem
        assert pointer in {error["pointer"] for error in problem["errors"]}


async def test_an_edited_list_is_compared_item_by_item(world: World, failed: dict[str, Any]) -> None:
    _, new = await asked(world, failed["id"], {"outputs": {"each": [1, 5]}})
    diff = (await world.ask("GET", f"/executions/{new['id']}/diff?with={failed['id']}")).json()
    [each] = [node for node in diff["nodes"] if node["node"] == "each"]
    told = [(one["pointer"], one["before"], one["after"]) for one in each["output"]["data"]]
    assert (each["differing_runs"], told) == (2, [("/1", 2, 5), ("/2", 3, None)])


async def test_an_approval_is_for_the_input_of_then(world: World) -> None:
    await world.put(GATED)
    paid = await world.finished("api/gated")
    for edit, told in (({}, ("reuse", "recorded")), ({"input": {"cents": 99}}, ("run", "input_edited"))):
        _, plan = await asked(world, paid["id"], {"from": ["pay"], "dry_run": True, **edit})
        assert [(one["action"], one["reason"]) for one in plan["nodes"] if one["node"] == "gate"] == [told]


async def test_an_operator_puts_nothing_in_the_place_of_an_approval(open_world: Opened) -> None:
    async with open_world() as world:
        await world.put(GATED)
        id = (await world.finished("api/gated"))["id"]
        _, admin = await make(world, "admin")
        secrets = {role: (await world.ask("POST", "/tokens", {"name": role, "role": role}, headers=bearer(admin))).json()["secret"]
                   for role in ("operator", "editor")}  # fmt: skip
        edit = {"outputs": {"gate": {"approved": True}}}
        for role, wanted in (("operator", 403), ("editor", 200)):
            status, answer = await asked(world, id, {**edit, "dry_run": True}, **bearer(secrets[role]))
            assert (status, answer.get("code")) == (wanted, "permission_denied" if wanted == 403 else None)
            async with AsyncClient(world.server.url, token=secrets[role]) as client:
                operation = await client.operations.start("replay", ids=[id], arguments=edit)
                await client.operations.wait(operation.id, 30)
                [item] = [item async for item in client.operations.items(operation.id)]
            assert (item.outcome, item.code) == (
                ("refused", "permission_denied") if wanted == 403 else ("succeeded", None)
            )
        assert (await asked(world, id, {"outputs": {"pay": 5}}, **bearer(secrets["operator"])))[0] == 200


async def test_the_last_success_is_what_a_diff_compares_with(world: World, failed: dict[str, Any]) -> None:
    response = await world.ask("GET", f"/executions/{failed['id']}/diff?with=last_success")
    if response.status_code == 200:
        assert response.json()["before"]["execution"]["status"] == "completed"
    await asked(world, failed["id"], {"input": {"ok": True}}, to="retry")
    again = await world.finished("api/repair")
    diff = (await world.ask("GET", f"/executions/{again['id']}/diff")).json()
    assert diff["before"]["execution"]["status"] == "completed"
    assert diff["after"]["error"]["code"] == "failed_on_purpose"
    changes = {node["node"]: (node["change"], node["differing_runs"]) for node in diff["nodes"]}
    assert changes == {"first": ("same", 0), "each": ("same", 0), "gate": ("changed", 1), "last": ("changed", 1)}
    assert diff["output"]["data"] == [{"pointer": "", "change": "changed", "before": 42, "after": None, "cut": False}]
    bad = await world.ask("GET", f"/executions/{again['id']}/diff?with=yesterday")
    assert (bad.status_code, bad.json()["errors"][0]["parameter"]) == (422, "with")


async def test_a_first_failure_has_no_success_to_be_compared_with(world: World) -> None:
    await world.put({**FLOW, "id": "api/never"})
    execution = await world.finished("api/never")
    response = await world.ask("GET", f"/executions/{execution['id']}/diff")
    assert (response.status_code, response.json()["code"]) == (404, "execution_not_found")
