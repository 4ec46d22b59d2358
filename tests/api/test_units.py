"""Units over HTTP: hidden unless asked for, told of by the node runs whose attempts they make."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.conftest import Opened
from tests.api.sse import Stream, until
from tests.api.world import World

SPREAD: dict[str, Any] = {
    "id": "units/spread",
    "tags": {"team": "x"},
    "nodes": {"each": {"shell": "echo $N", "env": {"N": "${item}"}, "foreach": [1, 2, 3], "spread": True}},
    "output": "${nodes.each.output.map(one, one.json)}",
}
IDLE: dict[str, Any] = {
    "id": "units/idle",
    "nodes": {"train": {"shell": "echo $N", "env": {"N": "${item}"}, "foreach": [1, 2], "queue": "gpu"}},
}
PICKY: dict[str, Any] = {
    "id": "units/picky",
    "requires": ["strong"],
    "nodes": {"train": {"shell": "echo", "requires": ["gpu", "strong"]}},
}
UNSERVED: dict[str, Any] = {"id": "units/unserved", "requires": ["gpu", "fast"], "nodes": {"one": {"shell": "echo"}}}
BUSY: dict[str, Any] = {"id": "units/busy", "nodes": {"train": {"shell": "sleep 600", "queue": "cpu"}}}


@pytest.fixture(scope="module")
async def world(open_world: Opened) -> AsyncIterator[World]:
    async with open_world(queues=["default", "cpu"], tags=["strong"], worker_name="here") as opened:
        for flow in (SPREAD, IDLE, PICKY, UNSERVED, BUSY):
            await opened.put(flow)
        yield opened


async def suspended(world: World, flow: str) -> str:
    """Started, and waiting for its units."""
    id: str = (await world.start(flow))["id"]
    await until(world, id, "execution.suspended")
    return id


async def cancelled(world: World, id: str, **order: Any) -> None:
    await world.ask("POST", f"/executions/{id}/cancel", order)
    await until(world, id, "execution.cancelled")


async def listed(world: World, query: str) -> list[dict[str, Any]]:
    response = await world.ask("GET", f"/executions?{query}")
    assert response.status_code == 200, response.text
    return response.json()["data"]


async def test_units_are_listed_and_counted_only_where_they_are_asked_for(world: World) -> None:
    execution = await world.finished("units/spread")
    assert execution["output"] == [1, 2, 3]
    assert execution["kind"] == "flow"
    id = execution["id"]
    for query in (f"root={id}", "flow=units/spread", "tag=team:x"):
        assert [one["id"] for one in await listed(world, query)] == [id]
        assert {one["kind"] for one in await listed(world, f"{query}&kind=unit")} == {"unit"}
        assert len(await listed(world, f"{query}&kind=any")) == 4
    units = await listed(world, f"parent={id}&kind=unit&order=oldest")
    assert [unit["trigger"]["context"]["ordinal"] for unit in units] == [0, 1, 2]
    response = await world.ask("GET", f"/executions?parent={id}&kind=unit&count=exact&status=completed&limit=1")
    assert (response.json()["total"], response.json()["next"] is not None) == (3, True)
    response = await world.ask("GET", "/executions/stats?flow=units/spread&kind=unit")
    assert response.json()["data"] == [{"status": "completed", "count": 3}]
    response = await world.ask("GET", "/executions?kind=units")
    assert response.status_code == 422


async def test_a_unit_is_an_execution_to_look_into(world: World) -> None:
    execution = await world.finished("units/spread")
    runs = (await world.ask("GET", f"/executions/{execution['id']}/nodes/each")).json()["data"]
    unit = (await world.ask("GET", f"/executions/{runs[1]['child']}?include=nodes")).json()
    assert (unit["kind"], unit["parent"], unit["status"]) == ("unit", execution["id"], "completed")
    assert unit["input"]["env"] == {"N": "2"}
    assert unit["nodes"][0]["output"]["json"] == 2
    logs = (await world.ask("GET", f"/executions/{unit['id']}/logs")).json()["data"]
    assert [line["message"] for line in logs] == ["2"]
    graph = (await world.ask("GET", f"/executions/{execution['id']}/dag")).json()
    assert (graph["nodes"][0]["status"], graph["nodes"][0]["by_status"]) == ("completed", {"completed": 3})


async def test_a_run_whose_queue_nobody_serves_says_so(world: World) -> None:
    id = await suspended(world, "units/idle")
    runs = (await world.ask("GET", f"/executions/{id}/nodes")).json()["data"]
    place: dict[str, Any] = {"status": "queued", "queue": "gpu", "requires": [], "worker": None, "worker_name": None}
    assert [run["unit"] for run in runs] == [place, place]
    [wait, _] = (await world.ask("GET", f"/executions/{id}/waits")).json()["data"]
    assert (wait["kind"], wait["child"]) == ("unit", runs[0]["child"])
    why = (await world.ask("GET", f"/executions/{id}/why")).json()
    assert why["summary"] == "Node train is in queue gpu. No live worker serves the queue gpu."
    ahead = {cause["ordinal"]: (cause["kind"], cause["queue"], cause["ahead"]) for cause in why["waiting_for"]}
    assert ahead == {0: ("unit", "gpu", 0), 1: ("unit", "gpu", 1)}
    await cancelled(world, id)


async def test_what_a_node_requires_is_told_apart_from_the_queue(world: World) -> None:
    id = await suspended(world, "units/picky")
    execution = (await world.ask("GET", f"/executions/{id}")).json()
    assert (execution["queue"], execution["requires"]) == ("default", ["strong"])
    [run] = (await world.ask("GET", f"/executions/{id}/nodes")).json()["data"]
    assert (run["unit"]["queue"], run["unit"]["requires"]) == ("default", ["gpu", "strong"])
    why = (await world.ask("GET", f"/executions/{id}/why")).json()
    nobody = "No live worker with tags gpu and strong serves the queue default."
    assert why["summary"] == f"Node train is in queue default. {nobody}"
    assert (why["waiting_for"][0]["queue"], why["waiting_for"][0]["requires"]) == ("default", ["gpu", "strong"])
    await cancelled(world, id)


async def test_what_a_flow_requires_is_told_apart_from_the_queue(world: World) -> None:
    id = (await world.start("units/unserved"))["id"]
    [listed_one] = await listed(world, "flow=units/unserved&fields=id,queue,requires")
    assert listed_one == {"id": id, "queue": "default", "requires": ["fast", "gpu"]}
    why = (await world.ask("GET", f"/executions/{id}/why")).json()
    assert why["summary"] == "No live worker with tags fast and gpu serves the queue default."
    await world.ask("POST", f"/executions/{id}/cancel", {})


async def test_a_run_whose_unit_is_under_way_names_the_worker(world: World) -> None:
    id = await suspended(world, "units/busy")
    [run] = (await world.ask("GET", f"/executions/{id}/nodes")).json()["data"]
    await until(world, run["child"], "node.started")
    [run] = (await world.ask("GET", f"/executions/{id}/nodes")).json()["data"]
    assert (run["status"], run["unit"]["status"], run["unit"]["worker_name"]) == ("suspended", "running", "here")
    why = (await world.ask("GET", f"/executions/{id}/why")).json()
    assert why["summary"] == f"Node train is running on worker here, as unit {run['child']}."
    await cancelled(world, id, force=True)


@pytest.mark.parametrize(("kind", "expected"), [("", {"flow"}), ("&kind=any", {"flow", "unit"})])
async def test_the_feed_of_all_executions_tells_of_units_where_they_are_asked_for(
    world: World, kind: str, expected: set[str]
) -> None:
    execution = await world.finished("units/spread")
    units = {unit["id"] for unit in await listed(world, f"parent={execution['id']}&kind=unit")}
    found: set[str] = set()
    path = f"/api/v1/events?after=start&flow=units/spread&types=execution.completed{kind}"
    async with world.http.stream("GET", path, headers={"accept": "text/event-stream"}) as response:
        stream = Stream(response)
        while (message := await stream.next()) is not None:
            if message.data is None:
                continue
            if message.data["execution"] in units:
                found.add("unit")
            elif message.data["execution"] == execution["id"]:
                found.add("flow")
                # Its units ended before it did.
                break
    assert found == expected
