"""Repairing executions by the client, through both faces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from perdure.client import AsyncClient, Client
from perdure.client.errors import BadRequest, ExecutionNotEnded, NothingToRetry
from perdure.server import Server
from perdure.settings import ServerSettings

REPAIR = """
id: repair
input: {ok: {type: boolean, default: false}}
nodes:
  first: {transform: 41}
  gate: {fail: {message: not yet}, when: "!input.ok", needs: [first]}
  last: {transform: "${nodes.first.output + 1}", needs: [gate], run_if: succeeded_or_skipped}
  nap: {sleep: 1h, when: "false"}
output: ${nodes.last.output}
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with Server(ServerSettings(home=tmp_path, port=0, pool_size=1, drain=0)) as running:
        async with AsyncClient(running.url) as client:
            await client.flows.put("repair", REPAIR)
        yield running


async def test_a_failed_execution_is_planned_retried_and_compared(server: Server) -> None:
    async with AsyncClient(server.url) as client:
        failed = await client.executions.start("repair", wait_s=30)
        assert failed.status == "failed"
        plan = await failed.plan_replay(begin="failed")
        assert [node.node for node in plan.nodes if node.action == "run"] == ["gate", "last"]
        mended = await failed.replay(begin="failed", input={"ok": True})
        assert await mended.result(30) == 42
        assert [entry.id async for entry in failed.replays()] == [mended.id]
        diff = await mended.diff(failed.id)
        assert [(one.pointer, one.before, one.after) for one in diff.input.data] == [("/ok", False, True)]
        fixture = await mended.fixture()
        assert {run.node: run.status for run in fixture.runs}["gate"] == "skipped"
        with pytest.raises(NothingToRetry):
            await mended.retry()
        with pytest.raises(BadRequest):
            await mended.replay(begin=["lost"])


async def test_a_call_that_is_tried_again_replays_once(server: Server) -> None:
    async with AsyncClient(server.url) as client:
        failed = await client.executions.start("repair", wait_s=30)
        first = await failed.replay(outputs={"gate": None}, idempotency_key="once")
        again = await failed.replay(outputs={"gate": None}, idempotency_key="once")
        assert first.id == again.id
        assert await first.result(30) == 42


async def test_an_execution_that_goes_on_cannot_be_replayed_yet(server: Server) -> None:
    async with AsyncClient(server.url) as client:
        await client.flows.put("long", "id: long\nnodes:\n  nap: {sleep: 1h}\n")
        handle = await client.executions.start("long")
        with pytest.raises(ExecutionNotEnded):
            await handle.retry()


async def test_the_sync_face_does_the_same(server: Server) -> None:
    def repair() -> object:
        with Client(server.url) as client:
            failed = client.executions.start("repair", wait_s=30)
            mended = failed.retry()
            assert mended.wait(30).status == "failed"
            return failed.replay(begin=["last"], outputs={"gate": None}).result(30)

    assert await asyncio.to_thread(repair) == 42
