"""Subscriptions of the client: several over one connection, going on by themselves when it breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import cast

import pytest

from perdure.client import AsyncClient, Client, RetryPolicy
from perdure.client.errors import ExecutionNotFound, ProblemError, ServerUnreachable
from perdure.client.live import live_events
from perdure.client.transport import Transport
from perdure.server import Server
from perdure.settings import ServerSettings
from perdure.wire.events import Event
from perdure.wire.live import Reset, Subscribe
from tests.client.clocks import WaitedClock
from tests.client.test_reconnect import CHATTY, Cutter

Generated = AsyncGenerator[tuple[str, Event]]
QUICK = 'id: quick\nnodes:\n  a: {transform: "${1 + 1}"}\n'


async def test_events_come_by_subscription_and_end_with_the_last_execution(tmp_path: Path) -> None:
    async with Server(ServerSettings(home=tmp_path, port=0)) as server, AsyncClient(server.url) as client:
        await client.flows.put("quick", QUICK)
        first = await client.executions.start("quick")
        second = await client.executions.start("quick")
        wanted = [
            Subscribe(id="first", execution=first.id),
            Subscribe(id="second", execution=second.id, types=["execution.completed"]),
        ]
        found = [(id, event.execution, event.type) async for id, event in client.system.live(wanted)]
        assert found.count(("second", second.id, "execution.completed")) == 1
        assert {execution for id, execution, _ in found if id == "first"} == {first.id}
        assert len(found) > 3


async def test_a_connection_that_is_cut_again_and_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async with Server(ServerSettings(home=tmp_path, port=0)) as server:
        cutter = Cutter(int(server.url.rpartition(":")[2]), after_bytes=6_000)
        proxy = await asyncio.start_server(cutter.serve, "127.0.0.1", 0)
        cut_url = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        policy = RetryPolicy(sleep=lambda _seconds: asyncio.sleep(0), attempts=10)
        async with proxy, AsyncClient(server.url) as straight, AsyncClient(cut_url, retries=policy) as cut:
            await straight.flows.put("chatty", CHATTY)
            id = (await straight.executions.start("chatty")).id
            wanted = [Subscribe(id="one", execution=id, logs=True), Subscribe(id="all", logs=True, after="start")]
            seqs: dict[str, list[int]] = {"one": [], "all": []}
            last = 0
            async with aclosing(cast("Generated", cut.system.live(wanted))) as events:
                async for name, event in events:
                    seqs[name].append(event.seq)
                    last = event.seq if event.type == "execution.completed" else last
                    if last and all(one[-1:] == [last] for one in seqs.values()):
                        break
        assert seqs == {"one": list(range(1, last + 1)), "all": list(range(1, last + 1))}
        assert cutter.cuts >= 2
        await asyncio.gather(*filter(None, cutter.connections))


async def test_what_the_server_refuses_is_raised(tmp_path: Path) -> None:
    async with Server(ServerSettings(home=tmp_path, port=0)) as server:
        async with AsyncClient(server.url) as client:
            with pytest.raises(ExecutionNotFound):
                await anext(client.system.live([Subscribe(id="a", execution="77")]))
        async with AsyncClient(server.url, token="perdure_" + "x" * 43) as stranger:
            with pytest.raises(ProblemError, match="unknown"):
                await anext(stranger.system.live([Subscribe(id="a")]))


async def test_after_a_long_silence_too_a_server_that_is_gone_is_told_only_when_it_does_not_come_back(
    tmp_path: Path,
) -> None:
    server = Server(ServerSettings(home=tmp_path, port=0, drain=0))
    await server.start()
    broke: list[object] = []
    clock = WaitedClock()
    policy = RetryPolicy(reconnect_s=10, clock=clock, sleep=clock.sleep)
    async with AsyncClient(server.url, retries=policy) as client:
        await client.flows.put("quick", QUICK)
        await client.executions.start("quick", wait_s=10)
        events = client.system.live([Subscribe(id="a", after="start")], on_reconnect=broke.append)
        await anext(events)
        clock.seconds += 3600
        await server.stop()
        with pytest.raises(ServerUnreachable):
            async for _ in events:
                pass
    assert len(broke) > 2


async def test_a_cursor_of_no_use_is_told_of(tmp_path: Path) -> None:
    resets: list[Reset] = []
    told = asyncio.Event()

    def note(reset: Reset) -> None:
        resets.append(reset)
        told.set()

    async with Server(ServerSettings(home=tmp_path, port=0)) as server, AsyncClient(server.url) as client:
        await client.flows.put("quick", QUICK)
        source = client.system.live([Subscribe(id="a", after="nonsense")], on_reset=note)
        async with aclosing(cast("Generated", source)) as events:
            reading = asyncio.ensure_future(anext(events))
            await told.wait()
            execution = await client.executions.start("quick")
            assert (await reading)[1].execution == execution.id
    assert [reset.id for reset in resets] == ["a"]


async def test_a_reader_who_stops_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.client.live.WAITING", 1)
    async with Server(ServerSettings(home=tmp_path, port=0)) as server, AsyncClient(server.url) as client:
        await client.flows.put("quick", QUICK)
        execution = await client.executions.start("quick", wait_s=10)
        policy = RetryPolicy()
        async with Transport(server.url, token=None, workspace=None, timeout_s=10, policy=policy) as transport:
            wanted = [Subscribe(id="a", execution=execution.id)]
            source = live_events(transport, wanted, on_reconnect=None, on_reset=None)
            async with aclosing(cast("Generated", source)) as events:
                await anext(events)
                # Meanwhile the next ones arrive, more than are kept.
                for _ in range(3):
                    await execution.refresh()
                async with asyncio.timeout(5) as limit:
                    await events.aclose()
    assert not limit.expired()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "live events"]


async def test_the_sync_client_reads_them_too(tmp_path: Path) -> None:
    def read() -> list[str]:
        with Client(server.url) as client:
            client.flows.put("quick", QUICK)
            execution = client.executions.start("quick")
            return [event.type for _, event in client.system.live([Subscribe(id="a", execution=execution.id)])]

    async with Server(ServerSettings(home=tmp_path, port=0)) as server:
        assert (await asyncio.to_thread(read))[-1] == "execution.completed"
