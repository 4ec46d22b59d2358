"""Operations on many executions by the client, through both faces."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure.client import AsyncClient, Client
from perdure.client.errors import BadRequest, IdempotencyConflict, OperationEnded, OperationNotFound
from perdure.server import Server
from perdure.settings import ServerSettings
from perdure.wire.operations import Operation

FAILING = """
id: failing
input: {ok: {type: boolean, default: false}}
nodes:
  first: {transform: 41}
  gate: {fail: {message: not yet}, when: "!input.ok", needs: [first]}
"""
NAP = "id: nap\nnodes:\n  nap: {sleep: 1h}\n"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with Server(ServerSettings(home=tmp_path, port=0, pool_size=1, drain=0)) as running:
        async with AsyncClient(running.url) as client:
            await client.flows.put("failing", FAILING)
            await client.flows.put("nap", NAP)
        yield running


async def outcomes(client: AsyncClient, operation: Operation) -> Counter[str]:
    return Counter([item.code or item.outcome async for item in client.operations.items(operation.id)])


async def test_what_failed_is_retried_tagged_and_deleted_by_a_filter(server: Server) -> None:
    async with AsyncClient(server.url) as client:
        failed = [await client.executions.start("failing", wait_s=30) for _ in range(5)]
        napping = await client.executions.start("nap")
        plan = await client.operations.plan("retry", filter={"flow": "failing", "status": ["failed"]})
        assert (plan.total, plan.by_status, plan.capped) == (5, {"failed": 5}, False)
        assert plan.sample == [one.id for one in failed]
        texts = await client.operations.plan("retry", filter={"q": "NOT yet"})
        assert (texts.total, texts.refused, texts.by_status) == (5, 0, {"failed": 5})
        ended = await client.operations.plan("cancel", ids=[one.id for one in failed] + [napping.id])
        assert (ended.total, ended.refused, ended.sample) == (6, 5, [napping.id])
        missing = await client.operations.plan(
            "delete", ids=[failed[0].id, "0193b1f2-0000-7000-8000-000000000000", napping.id]
        )
        assert (missing.total, missing.refused, missing.sample) == (3, 2, [failed[0].id])
        texts = await client.operations.plan("delete", filter={"flow": "nap"})
        assert (texts.total, texts.refused, texts.sample) == (1, 1, [])
        told: list[Operation] = []
        begun = await client.operations.start(
            "retry", filter={"flow": "failing", "status": ["failed"]}, arguments={"input": {"ok": True}}
        )
        retried = await client.operations.wait(begun.id, 30, on_progress=told.append)
        assert told[-1] == retried
        assert (retried.status, retried.total, retried.succeeded, retried.left) == ("completed", 5, 5, 0)
        assert (retried.filter, retried.arguments) == (
            {"flow": "failing", "status": ["failed"]}, {"input": {"ok": True}},
        )  # fmt: skip
        replays = [item.replay async for item in client.operations.items(retried.id)]
        for id in replays:
            assert id is not None
            assert (await (await client.executions.handle(id)).wait(30)).status == "completed"
        tag = await client.operations.start(
            "tag", ids=[one.id for one in failed], arguments={"set": {"case": "7"}, "remove": ["none"]}
        )
        assert (await client.operations.wait(tag.id, 30)).succeeded == 5
        assert await client.executions.count(tags={"case": "7"}) == 5
        found = await client.operations.start("tag", filter={"q": "not yet"}, arguments={"set": {"why": "gate"}})
        assert (await client.operations.wait(found.id, 30)).total == 5
        gone = await client.operations.start("delete", ids=[failed[0].id, failed[0].id, napping.id])
        deleted = await client.operations.wait(gone.id, 30)
        assert (deleted.total, deleted.succeeded, deleted.refused) == (2, 1, 1)
        assert await outcomes(client, deleted) == {"succeeded": 1, "execution_not_ended": 1}
        refused = [item async for item in client.operations.items(gone.id, outcome="refused")]
        assert [(item.n, item.execution, item.outcome) for item in refused] == [(2, napping.id, "refused")]
        stopped = await client.operations.wait(
            (await client.operations.start("cancel", filter={"flow": "nap"}, arguments={"reason": "no more"})).id, 30
        )
        assert (stopped.succeeded, (await napping.wait(30)).reason) == (1, "no more")
        assert [one.id async for one in client.operations.list(limit=2)] == [stopped.id, gone.id]


async def test_what_runs_is_cancelled_for_certain_before_it_counts(server: Server) -> None:
    async with AsyncClient(server.url) as client:
        busy = "id: busy\nnodes:\n  wait: {shell: 'sleep 600'}\n"
        await client.flows.put("busy", busy)
        running = [await client.executions.start("busy") for _ in range(3)]
        for one in running:
            async for _ in one.events(types=("node.started",)):
                break
        ids = [one.id for one in running]
        operation = await client.operations.start("cancel", ids=ids, arguments={"force": True})
        assert (await client.operations.wait(operation.id, 30)).succeeded == 3
        assert {(await one.wait(30)).status for one in running} == {"cancelled"}


async def test_asked_again_with_the_same_key_it_is_the_same_operation(server: Server) -> None:
    async with AsyncClient(server.url) as client:
        one = await client.executions.start("nap")
        first = await client.operations.start("cancel", ids=[one.id], idempotency_key="k")
        again = await client.operations.start("cancel", ids=[one.id], idempotency_key="k")
        assert first.id == again.id
        with pytest.raises(IdempotencyConflict):
            await client.operations.start("delete", ids=[one.id], idempotency_key="k")
        await client.operations.wait(first.id, 30)
        with pytest.raises(OperationEnded):
            await client.operations.cancel(first.id)
        with pytest.raises(OperationNotFound):
            await client.operations.get(one.id)
        begun = (await client.operations.get(first.id)).created_at
        at = datetime.fromisoformat(begun)
        found = client.operations.list(status="completed", action=["cancel", "tag"], created_after=at)
        assert [one.id async for one in found] == [first.id]
        assert [one async for one in client.operations.list(created_before=at)] == []
        with pytest.raises(BadRequest, match="earlier than created_after"):
            [one async for one in client.operations.list(created_after=at, created_before=at - timedelta(seconds=1))]
        with pytest.raises(BadRequest, match="did you mean 'running'"):
            [one async for one in client.operations.list(status="runing")]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"filter": {"statsu": ["failed"]}}, "/filter/statsu"),
    ({"filter": {}}, "/filter"),
    ({"filter": {"kind": "flow"}}, "/filter"),
    ({"filter": {"min_duration": "soon"}}, "/filter/min_duration"),
    ({"filter": {"flow": "a/b/c"}}, "/filter/flow"),
    ({"filter": {"q": "ab"}}, "/filter/q"),
    ({}, ""),
    ({"ids": ["x"]}, "/ids/0"),
    ({"filter": {"flow": "nap"}, "arguments": {"set": {"a": "b"}}}, "/arguments/set"),
    ({"filter": {"flow": "nap"}, "arguments": {"reasn": "no"}}, "/arguments/reasn"),
]


async def test_what_cannot_be_is_refused_with_its_place(server: Server) -> None:
    async with AsyncClient(server.url) as client:
        for asked, pointer in REFUSED:
            with pytest.raises(BadRequest) as refused:
                await client.operations.start("cancel", **asked)
            assert [problem.pointer for problem in refused.value.errors] == [pointer], asked
        with pytest.raises(BadRequest, match="tags to set"):
            await client.operations.start("tag", filter={"flow": "nap"})
        big = {"outputs": {"first": "x" * 70_000}}
        with pytest.raises(BadRequest, match="70"):
            await client.operations.start("replay", filter={"flow": "nap"}, arguments=big)
        with pytest.raises(BadRequest) as near:
            await client.operations.start("cancel", **REFUSED[0][0])
        assert "did you mean 'status'" in str(near.value)
        assert [one async for one in client.operations.list()] == []


async def test_the_blocking_client_does_the_same(server: Server) -> None:
    def use() -> tuple[str, int, list[str]]:
        with Client(server.url) as client:
            one = client.executions.start("failing", wait_s=30)
            assert client.operations.plan("tag", ids=[one.id], arguments={"set": {"a": "b"}}).total == 1
            begun = client.operations.start("tag", ids=[one.id], arguments={"set": {"a": "b"}})
            over = client.operations.wait(begun.id, 30)
            return over.status, over.succeeded, [item.outcome for item in client.operations.items(over.id)]

    assert await asyncio.to_thread(use) == ("completed", 1, ["succeeded"])
