"""The server's life: ready fast, its lock, its drain, its end."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from perdure.errors import AddressUnavailable, StoreLocked
from perdure.server import Server
from perdure.store.sqlite.lock import owner_of
from tests.api.conftest import Opened
from tests.api.process import Process
from tests.api.world import API, World, settings

WAITING: dict[str, Any] = {
    "id": "api/waiting",
    "input": {"file": {"type": "string"}},
    "nodes": {"wait": {"shell": 'while [ ! -e "$FILE" ]; do sleep 0.05; done', "env": {"FILE": "${input.file}"}}},
}


async def test_the_lock_tells_where_the_server_answers(open_world: Opened, tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        owner = owner_of(tmp_path / "perdure.db")
        assert owner is not None
        assert (owner.pid, owner.url) == (os.getpid(), world.server.url)
        with pytest.raises(StoreLocked, match=world.server.url):
            await Server(settings(tmp_path)).start()
    owner = owner_of(tmp_path / "perdure.db")
    assert owner is None or owner.url is None


async def test_a_taken_port_is_told_by_name_and_leaves_nothing_behind(world: World, tmp_path: Path) -> None:
    port = int(world.server.url.rpartition(":")[2])
    with pytest.raises(AddressUnavailable, match=str(port)):
        await Server(settings(tmp_path, port=port)).start()
    async with Server(settings(tmp_path)):
        pass


async def test_what_was_started_is_there_after_a_restart(open_world: Opened, tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        started = await world.start("api/slow")
        done = await world.finished("api/quick")
    async with open_world(tmp_path) as world:
        again = (await world.ask("GET", f"/executions/{done['id']}")).json()
        assert again == done
        slow = (await world.ask("GET", f"/executions/{started['id']}")).json()
        assert slow["finished_at"] is None


async def test_a_draining_server_says_so_and_lets_attempts_end(open_world: Opened, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with open_world(drain=30_000_000) as world:
        await world.put(WAITING)
        execution = await world.start("api/waiting", {"file": str(gate)})
        await first_event(world, execution["id"], "node.started")
        stopping = asyncio.create_task(world.server.stop())
        while (ready := await world.ask("GET", "//health/ready")).status_code == 200:
            pass
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        for method, path, body in (
            ("POST", "/executions", {"flow": "api/quick"}),
            ("POST", "/executions/batch", {"executions": [{"flow": "api/quick"}]}),
            ("PUT", "/flows/api/waiting", WAITING),
        ):
            refused = await world.ask(method, path, body)
            assert (refused.status_code, refused.json()["code"]) == (503, "draining")
            assert int(refused.headers["retry-after"]) > 0
        live = await world.ask("GET", "//health/live")
        assert live.status_code == 200
        gate.touch()
        await stopping
        with pytest.raises(httpx2.TransportError):
            await world.ask("GET", "//health/live")


async def first_event(world: World, execution: str, kind: str) -> None:
    """Wait until an event of that type was committed."""
    url = f"{API}/executions/{execution}/events?types={kind}"
    async with world.http.stream("GET", url, headers={"accept": "text/event-stream"}) as response:
        async for line in response.aiter_lines():
            if line == f"event: {kind}":
                return


async def test_metrics_are_prometheus_text(world: World) -> None:
    await world.finished("api/quick")
    response = await world.ask("GET", "//metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(response.text)}
    executions = {sample.labels["status"]: sample.value for sample in families["perdure_executions"].samples}
    assert executions["completed"] >= 1
    ended = {sample.labels.get("status"): sample.value for sample in families["perdure_executions_ended"].samples}
    assert 1 <= ended["completed"] <= families["perdure_executions_started"].samples[0].value
    latency = families["perdure_http_request_seconds"].samples
    buckets = [sample.value for sample in latency if sample.labels == {"route": "start_execution", "le": "+Inf"}]
    counts = [
        sample.value
        for sample in latency
        if sample.name.endswith("_count") and sample.labels["route"] == "start_execution"
    ]
    assert buckets == counts != []
    assert {
        "perdure_streams",
        "perdure_commits",
        "perdure_commit_seconds",
        "perdure_executions_owned",
        "perdure_queue_depth",
    } <= families.keys()


async def test_an_unforeseen_error_is_a_problem_with_its_request_id_and_no_traceback(open_world: Opened) -> None:
    async with open_world() as world:
        world.server.services.openapi = lambda: 1 / 0  # type: ignore[assignment,return-value]
        response = await world.ask("GET", "//openapi.json")
        assert response.status_code == 500
        assert response.json()["code"] == "internal_error"
        assert response.json()["request_id"] == response.headers["x-request-id"]
        assert "ZeroDivision" not in response.text
        assert (await world.ask("GET", "//health/live")).status_code == 200


async def test_a_signal_drains_and_ends_with_zero(tmp_path: Path) -> None:
    server = await Process.start(tmp_path)
    async with httpx2.AsyncClient(base_url=server.url) as http:
        assert (await http.get("/health/ready")).status_code == 200
    server.process.send_signal(signal.SIGTERM)
    code, rest = await server.end()
    assert (code, "Traceback" in rest) == (0, False), rest
    owner = owner_of(tmp_path / "perdure.db")
    assert owner is None or owner.url is None


async def test_a_second_signal_does_not_wait_for_attempts(tmp_path: Path) -> None:
    server = await Process.start(tmp_path, drain=3_600_000_000)
    async with httpx2.AsyncClient(base_url=server.url) as http:
        await http.put(f"{API}/flows/api/waiting", json=WAITING)
        started = await http.post(
            f"{API}/executions", json={"flow": "api/waiting", "input": {"file": str(tmp_path / "never")}}
        )
        url = f"{API}/executions/{started.json()['id']}/events?types=node.started"
        async with http.stream("GET", url, headers={"accept": "text/event-stream"}) as response:
            async for line in response.aiter_lines():
                if line.startswith("event: node.started"):
                    break
    server.process.send_signal(signal.SIGINT)
    assert server.process.stderr is not None
    while b"draining" not in await server.process.stderr.readline():
        pass
    server.process.send_signal(signal.SIGINT)
    code, rest = await server.end()
    assert (code, "Traceback" in rest) == (0, False), rest
