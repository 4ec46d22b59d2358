"""Events reach a reader once each, in order, whatever happens to the connection or the server."""

import asyncio
from contextlib import suppress
from pathlib import Path

from perdure.client import AsyncClient, RetryPolicy
from perdure.server import Server
from perdure.settings import ServerSettings

CHATTY = """
id: chatty
nodes:
  talk: {shell: 'for n in $(seq 60); do echo line $n; sleep 0.02; done'}
"""


class Cutter:
    """Stands between a client and a server, and cuts every connection after so many bytes."""

    def __init__(self, port: int, *, after_bytes: int) -> None:
        self._port = port
        self._after_bytes = after_bytes
        self.cuts = 0
        self.connections: list[asyncio.Task[None] | None] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(asyncio.current_task())
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._port)
        asking = asyncio.create_task(self._copy(reader, upstream_writer))
        left = self._after_bytes
        with suppress(ConnectionError):
            while left > 0 and (data := await upstream_reader.read(min(left, 512))):
                writer.write(data)
                await writer.drain()
                left -= len(data)
        self.cuts += left == 0
        asking.cancel()
        await asyncio.wait({asking})
        for end in (upstream_writer, writer):
            end.transport.abort()
            end.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


async def test_a_connection_that_is_cut_again_and_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async with Server(ServerSettings(home=tmp_path, port=0)) as server:
        port = int(server.url.rpartition(":")[2])
        cutter = Cutter(port, after_bytes=3_000)
        proxy = await asyncio.start_server(cutter.serve, "127.0.0.1", 0)
        cut_url = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        policy = RetryPolicy(sleep=lambda _seconds: asyncio.sleep(0), attempts=10)
        async with proxy, AsyncClient(server.url) as straight, AsyncClient(cut_url, retries=policy) as cut:
            await straight.flows.put("chatty", CHATTY)
            id = (await straight.executions.start("chatty")).id
            followed = await cut.executions.handle(id)
            seen = [event async for event in followed.events()]
            assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
            assert seen[-1].type == "execution.completed"
            lines = [line.message async for line in (await cut.executions.handle(id)).logs(follow=True)]
            assert lines == [f"line {n}" for n in range(1, 61)]
        assert cutter.cuts >= 3
        await asyncio.gather(*filter(None, cutter.connections))


async def test_a_server_that_is_started_again_is_followed_on(tmp_path: Path) -> None:
    settings = ServerSettings(home=tmp_path, port=0, drain=0)
    first = Server(settings)
    await first.start()
    port = int(first.url.rpartition(":")[2])
    broke = asyncio.Event()
    policy = RetryPolicy(reconnect_s=60)
    async with AsyncClient(first.url, retries=policy) as client:
        await client.flows.put("wait", "id: wait\nnodes:\n  a: {sleep: 6s}\n")
        execution = await client.executions.start("wait")
        seen: list[int] = []

        begun = asyncio.Event()

        async def follow() -> None:
            async for event in execution.events(on_reconnect=lambda _error: broke.set()):
                begun.set()
                seen.append(event.seq)

        following = asyncio.create_task(follow())
        await begun.wait()
        await first.stop()
        await broke.wait()
        async with Server(ServerSettings(home=tmp_path, port=port)):
            await following
            assert (await execution.refresh()).status == "completed"
    assert seen == list(range(1, len(seen) + 1))
