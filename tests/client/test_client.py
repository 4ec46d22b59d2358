"""The client against a real server: every resource, through both faces."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from perdure.client import AsyncClient, Client, RetryPolicy
from perdure.client.errors import (
    BadRequest,
    ConcurrencyLimitReached,
    Conflict,
    ExecutionEnded,
    ExecutionEndedBadly,
    ExecutionNotEnded,
    ExecutionNotFound,
    FlowNotFound,
    IdempotencyConflict,
    InvalidFlow,
    InvalidInput,
    PermissionDenied,
    Unauthenticated,
    WaitTimedOut,
)
from perdure.client.transport import CALLS_AT_ONCE
from perdure.server import Server
from perdure.settings import ServerSettings
from perdure.wire.executions import StartExecution
from perdure.wire.flows import FlowDocument

GREET = """
id: greet
input: {name: {type: string}}
nodes:
  greet: {shell: 'echo "hello $NAME"; printf hi > "$PERDURE_ARTIFACTS/hi.txt"', env: {NAME: "${input.name}"}}
output: ${nodes.greet.output.stdout}
"""
LONG = """
id: ops/long
concurrency: {limit: 1, on_limit: reject}
nodes:
  wait: {sleep: 1h}
"""
LOUD = """
id: loud
input: {naps: {type: boolean}}
nodes:
  say: {shell: "seq 1 5000"}
  nap: {sleep: 1h, when: input.naps, needs: [say]}
"""
FAILING = """
id: failing
nodes:
  no: {fail: {message: not today}}
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with Server(ServerSettings(home=tmp_path / "home", port=0)) as server:
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.url) as client:
        for id, document in (("greet", GREET), ("ops/long", LONG), ("failing", FAILING)):
            await client.flows.put(id, document)
        yield client


async def asked(server: Server, route: str) -> float:
    """How often that route of an execution has been called."""
    async with httpx2.AsyncClient() as http:
        text = (await http.get(f"{server.url}/metrics")).text
    counts = re.findall(rf'^perdure_http_requests_total\{{.*/{route}".*\}} (\S+)', text, re.MULTILINE)
    return sum(map(float, counts))


@pytest.mark.parametrize("id", ["..", "../flows", "a/cancel", "a?include=nodes", "%2e%2e", "a#b", "é"])
async def test_an_id_leads_to_no_other_path(client: AsyncClient, id: str) -> None:
    for call in (
        client.executions.get(id),
        client.artifacts.read(id),
        client.tokens.revoke(id),
        client.flows.get(f"ops/{id}"),
    ):
        with pytest.raises(BadRequest) as caught:
            await call
        assert caught.value.code == "invalid_identifier"


async def test_a_batch_leaves_its_requests_as_they_were(client: AsyncClient) -> None:
    request = StartExecution(flow="greet", input={"name": "you"})
    first = await client.executions.start_batch([request, request])
    again = await client.executions.start_batch([request])
    assert request.idempotency_key is None
    assert len({one.id for one in [*first, *again]}) == 3


async def test_streams_take_no_call_its_turn(server: Server) -> None:
    """Whoever waits for more executions than there are calls at once can still cancel one of them."""
    async with AsyncClient(server.url, timeout_s=2, retries=RetryPolicy(connect_attempts=1)) as client:
        await client.flows.put("ops/long", LONG)
        execution = await client.executions.start("ops/long")
        streams = [execution.events() for _ in range(CALLS_AT_ONCE + 1)]
        first = await asyncio.gather(*(anext(stream) for stream in streams))
        assert {event.seq for event in first} == {1}
        await execution.cancel()
        assert [event.type async for event in streams[-1]][-1] == "execution.cancelled"


@pytest.mark.parametrize(("naps", "most"), [(False, 1), (True, 6)])
async def test_long_logs_and_histories_take_few_requests(
    server: Server, client: AsyncClient, naps: bool, most: int
) -> None:
    await client.flows.put("loud", LOUD)
    execution = await client.executions.start("loud", input={"naps": naps})
    async for event in execution.events():
        if event.type in {"execution.completed", "execution.suspended"}:
            break
    await execution.refresh()
    logs, events = await asked(server, "logs"), await asked(server, "events")
    assert [line.message async for line in execution.logs()] == [str(n) for n in range(1, 5001)]
    seqs = [event.seq async for event in execution.past_events()]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) > 5_000
    assert await asked(server, "logs") - logs <= most
    assert await asked(server, "events") - events <= most
    if naps:
        await execution.cancel()


async def test_an_execution_from_its_start_to_its_result(client: AsyncClient) -> None:
    execution = await client.executions.start("greet", input={"name": "you"}, tags={"a": "b"})
    assert await execution.result(timeout=20) == "hello you\n"
    assert execution.ended
    assert execution.record.tags == {"a": "b"}
    assert (await client.executions.get(execution.record.number)).id == execution.id
    events = [event async for event in execution.events()]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].type == "execution.completed"
    assert [event async for event in execution.events(after=3)] == events[3:]
    assert [event async for event in execution.past_events(after=3)] == events[3:]
    assert [line.message async for line in execution.logs()] == ["hello you"]
    assert [line.message async for line in execution.logs(follow=True)] == ["hello you"]
    assert [line.message async for line in execution.logs(q="YOU")] == ["hello you"]
    assert [line async for line in execution.logs(q="me")] == []
    assert [(run.node, run.status) async for run in execution.nodes()] == [("greet", "completed")]
    [artifact] = [found async for found in execution.artifacts()]
    assert await client.artifacts.read(artifact.id) == b"hi"
    assert b"".join([chunk async for chunk in client.artifacts.chunks(artifact.id)]) == b"hi"
    assert (await execution.graph()).nodes[0].status == "completed"
    assert (await execution.why()).summary == "It has ended: completed."


async def test_the_server_may_hold_the_answer_back_until_the_end(client: AsyncClient) -> None:
    execution = await client.executions.start("greet", input={"name": "you"}, wait_s=20)
    assert execution.status == "completed"


async def test_bad_ends_are_errors_of_their_own(client: AsyncClient) -> None:
    execution = await client.executions.start("failing")
    with pytest.raises(ExecutionEndedBadly, match="not today") as bad:
        await execution.result(timeout=20)
    assert bad.value.status == "failed"
    assert (await execution.wait()).status == "failed", "waiting alone judges nothing"


async def test_a_wait_ends_in_time_and_a_cancelled_execution_at_once(client: AsyncClient) -> None:
    execution = await client.executions.start("ops/long")
    with pytest.raises(WaitTimedOut) as late:
        await execution.wait(0.05)
    assert late.value.execution_id == execution.id
    with pytest.raises(ConcurrencyLimitReached):
        await client.executions.start("ops/long")
    await execution.cancel(reason="enough")
    assert (await execution.wait(20)).status == "cancelled"
    with pytest.raises(ExecutionEnded):
        await execution.cancel()


async def test_tags_are_changed_and_what_has_ended_is_deleted(client: AsyncClient) -> None:
    execution = await client.executions.start("greet", input={"name": "you"}, tags={"old": "1"})
    await execution.wait(timeout=30)
    assert (await execution.tag({"team": "blue"}, remove=["old"])).tags == {"team": "blue"}
    assert [one.id async for one in client.executions.list(tags={"team": "blue"})] == [execution.id]
    with pytest.raises(BadRequest) as refused:
        await execution.tag({f"k{n}": "v" for n in range(33)})
    assert refused.value.status == 422
    going_on = await client.executions.start("ops/long")
    with pytest.raises(ExecutionNotEnded):
        await going_on.delete()
    await going_on.cancel(force=True)
    await execution.delete()
    with pytest.raises(ExecutionNotFound):
        await execution.refresh()


async def test_what_is_wrong_has_its_class_and_its_place(client: AsyncClient) -> None:
    with pytest.raises(FlowNotFound):
        await client.executions.start("nothing")
    with pytest.raises(InvalidInput) as refused:
        await client.executions.start("greet", input={"name": 1})
    assert [problem.pointer for problem in refused.value.errors] == ["/input/name"]
    with pytest.raises(ExecutionNotFound):
        await client.executions.get("01936b1e-5f3a-7c2d-9b1a-0c6a8f3e2d71")
    with pytest.raises(InvalidFlow) as broken:
        await client.flows.put("x", "id: x\nnodes:\n  a: {slep: 1s}\n")
    assert [problem.line for problem in broken.value.errors] == [3]


async def test_the_same_key_gives_the_same_execution(client: AsyncClient) -> None:
    first = await client.executions.start("greet", input={"name": "a"}, idempotency_key="k")
    again = await client.executions.start("greet", input={"name": "a"}, idempotency_key="k")
    assert first.id == again.id
    with pytest.raises(IdempotencyConflict):
        await client.executions.start("greet", input={"name": "b"}, idempotency_key="k")


async def test_lists_fetch_their_pages_by_themselves(client: AsyncClient) -> None:
    requests = [StartExecution(flow="greet", input={"name": str(n)}, tags={"batch": "1"}) for n in range(600)]
    later = datetime.now(UTC) + timedelta(hours=1)  # noqa: TID251
    for request in requests:
        request.start_at = later
    started = await client.executions.start_batch(requests)
    ids = [execution.id for execution in started]
    assert [found.id async for found in client.executions.list(tags={"batch": "1"})] == ids[::-1]
    assert [
        found.id async for found in client.executions.list(tags={"batch": "1"}, oldest_first=True, limit=300)
    ] == ids[:300]
    assert [found.id async for found in client.executions.list(status=["pending"], flow="greet", limit=3)] == ids[
        :-4:-1
    ]
    assert [found.id async for found in client.executions.list(status=["failed"])] == []
    stats = await client.executions.stats(group_by=["flow", "status"])
    assert {"flow": "default/greet", "status": "pending", "count": 600} in stats.data


async def test_flows(client: AsyncClient) -> None:
    assert [flow.id async for flow in client.flows.list()] == ["default/failing", "default/greet", "ops/long"]
    await client.flows.put("greet", GREET + "description: Changed.\n")
    assert [version.number async for version in client.flows.versions("greet")] == [2, 1]
    assert (await client.flows.version("greet", 1)).source_text == GREET
    assert (await client.flows.get("greet")).description == "Changed."
    assert [node.id for node in (await client.flows.graph("greet")).nodes] == ["greet"]
    assert (await client.flows.validate(GREET)).valid
    assert not (await client.flows.validate("id: 1")).valid
    batch = [FlowDocument(text=GREET), FlowDocument(text="id: other\nnodes:\n  a: {sleep: 1ms}\n")]
    planned = await client.flows.put_batch(batch, dry_run=True)
    assert [(one.flow, one.version, one.change) for one in planned] == [
        ("default/greet", None, "changed"), ("default/other", None, "new"),
    ]  # fmt: skip
    assert [one.version for one in await client.flows.put_batch(batch)] == [1, 1]
    await client.flows.delete("other")
    await client.flows.delete("failing")
    with pytest.raises(FlowNotFound):
        await client.flows.get("failing")
    execution = await client.executions.start("ops/long")
    with pytest.raises(Conflict):
        await client.flows.delete("ops/long")
    await execution.cancel()


async def test_tokens_open_what_they_may(client: AsyncClient, server: Server) -> None:
    admin = await client.tokens.create("admin")
    with pytest.raises(Unauthenticated):
        await client.tokens.list()
    async with AsyncClient(server.url, token=admin.secret) as owner:
        viewer = await owner.tokens.create("viewer", role="viewer")
        async with AsyncClient(server.url, token=viewer.secret) as reader:
            assert [flow.id async for flow in reader.flows.list(limit=1)] == ["default/failing"]
            with pytest.raises(PermissionDenied):
                await reader.executions.start("greet")
            await owner.tokens.revoke(viewer.id)
            with pytest.raises(Unauthenticated):
                await reader.system.info()
        assert [token.name for token in await owner.tokens.list()] == ["admin", "viewer"]


async def test_the_system_tells_of_itself(client: AsyncClient) -> None:
    assert (await client.system.ready()).status == "ok"
    assert (await client.system.info()).open
    assert len(await client.system.workers()) == 1
    assert (await client.system.openapi())["openapi"].startswith("3.1")


async def test_the_feed_tells_of_all_executions(client: AsyncClient) -> None:
    await (await client.executions.start("greet", input={"name": "a"})).wait(20)
    seen = []
    async for event in client.system.events(cursor="start"):
        seen.append(event.type)
        if event.type == "execution.completed":
            break
    assert seen[0] == "execution.created"


async def test_the_sync_client_does_the_same(client: AsyncClient, server: Server) -> None:
    def use() -> list[str]:
        with Client(server.url) as sync:
            execution = sync.executions.start("greet", input={"name": "sync"})
            lines = [line.message for line in execution.logs(follow=True)]
            assert execution.result(timeout=20) == "hello sync\n"
            assert [found.id for found in sync.executions.list(limit=1)] == [execution.id]
            with pytest.raises(FlowNotFound):
                sync.executions.start("nothing")
            return lines

    # The server lives on this loop, so the sync client has to wait for it from another thread.
    assert await asyncio.to_thread(use) == ["hello sync"]
