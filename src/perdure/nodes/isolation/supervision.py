"""The engine's side of the supervisor: starting processes, and ending them for certain."""

from __future__ import annotations

import array
import asyncio
import contextlib
import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

import perdure
from perdure.nodes.isolation import linux, supervisor

_T = TypeVar("_T")
_END_S = 15
IMPORT_ROOT = str(Path(perdure.__file__).parents[1])


class SpawnFailed(Exception):
    """The process could not be started. `where` is `exec`, `cwd` or `supervisor`; `errno` is 0 where there is none."""

    def __init__(self, *, where: str, errno: int, text: str) -> None:
        super().__init__(text)
        self.where = where
        self.errno = errno
        self.text = text


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended, told when nothing of it and of its descendants is left.

    `leftovers` counts descendants that had to be killed after it ended by itself; `forced` says
    that the stop needed SIGKILL; `lost` says why its end was not seen (its keeper was killed).
    """

    code: int | None = None
    signal: int | None = None
    leftovers: int = 0
    forced: bool = False
    max_rss_kb: int = 0
    lost: str | None = None


class Child:
    """A process and all its descendants, held by a keeper."""

    def __init__(self, keeper: _KeeperLine) -> None:
        self.pid = 0
        self._keeper = keeper

    @property
    def is_over(self) -> bool:
        return self._keeper.ended.done()

    @property
    def unkillable(self) -> tuple[int, ...]:
        """Pids that are still there long after SIGKILL (in uninterruptible sleep, or of another user)."""
        return self._keeper.left

    async def ended(self) -> Ended:
        """Returns when the process and all that it started are dead."""
        return await asyncio.shield(self._keeper.ended)

    async def stop(self, grace_us: int) -> Ended | None:
        """TERM, the grace, then KILL, to everything; returns when nothing is left.

        None: some of it cannot be killed (see `unkillable`); the keeper goes on trying.
        """
        self.hurry(grace_us)
        either: set[asyncio.Future[Any]] = {self._keeper.ended, self._keeper.stuck}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return self._keeper.ended.result() if self._keeper.ended.done() else None

    def hurry(self, grace_us: int) -> None:
        """Have a stop that is under way end sooner: at most this much grace from now on."""
        self._keeper.ask(b"stop %d\n" % max(0, grace_us // 1000))


class Supervision:
    """The supervisor process of this engine: started with it, started anew when it is killed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._starting = asyncio.Lock()
        self._sending = asyncio.Lock()
        self._closing = False
        self._watcher: asyncio.Task[None] | None = None
        self._until = math.inf
        self._moments: tuple[int, int] | None = None
        """Reading end, which every supervisor inherits, and writing end."""
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Returns when the supervisor serves. Raises SpawnFailed when it does not come up."""
        async with self._starting:
            if self._socket is not None or self._closing:
                return
            if self._moments is None:
                self._moments = os.pipe()
                for end in self._moments:
                    os.set_blocking(end, False)
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            with theirs:
                fds = [theirs.fileno(), self._moments[0]]
                argv = [sys.executable, "-I", "-S", "-c", supervisor.BOOT, IMPORT_ROOT, *map(str, fds)]
                # The fork itself takes a millisecond, once.
                process = subprocess.Popen(  # noqa: ASYNC220
                    argv, pass_fds=fds, stdin=subprocess.DEVNULL, start_new_session=True
                )
            try:
                said = await asyncio.get_running_loop().sock_recv(ours, 1)
            except BaseException:
                # Nobody else knows of it yet; whoever was cancelled would leave it behind.
                ours.close()
                process.kill()
                process.wait()
                raise
            if said != supervisor.READY:
                ours.close()
                await asyncio.to_thread(process.wait)
                raise SpawnFailed(where="supervisor", errno=0, text="the supervisor ended before it was ready")
            self._process, self._socket = process, ours
            self.let_run_until(self._until)
            self._watcher = asyncio.create_task(self._watch(process, ours))

    def let_run_until(self, moment: float) -> None:
        """Whatever runs by then (`boot_time`) is killed, should this process stand still; the last word counts.

        Called in any thread.
        """
        self._until = moment
        if self._moments is not None:
            # A supervisor that has not read thousands of them stands still itself.
            with contextlib.suppress(BlockingIOError):
                os.write(self._moments[1], supervisor.MOMENT.pack(moment))

    async def stop(self) -> None:
        """End the supervisor and with it everything that is still running."""
        try:
            await self._stop()
        finally:
            moments, self._moments = self._moments, None
            for end in moments or ():
                os.close(end)

    async def _stop(self) -> None:
        self._closing = True
        async with self._starting:
            watcher, process, sock = self._watcher, self._process, self._socket
            if sock is None or process is None or watcher is None:
                return
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            await asyncio.wait({watcher}, timeout=_END_S)
            if not watcher.done():
                # It waits for what cannot be killed; without it that is at least nobody's child any more.
                process.kill()
                await watcher

    async def spawn(
        self,
        argv: Sequence[str],
        *,
        env: dict[str, str],
        cwd: str | None,
        fds: Sequence[int],
    ) -> Child:
        """Start a process in a session of its own.

        Args:
            argv: program and arguments; the program is looked up in PATH of `env`.
            env: its whole environment.
            cwd: where it starts; None for the engine's directory.
            fds: its descriptors 0, 1, 2, …; the caller closes its own copies afterwards.

        Raises:
            SpawnFailed: no such program or directory, no supervisor, no process or descriptor left.
        """
        await self.start()
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            loop = asyncio.get_running_loop()
            _, line = await loop.create_unix_connection(lambda: _KeeperLine(self), sock=ours)
            line.order({"argv": list(argv), "env": env, "cwd": cwd})
            try:
                await self._send_spawn([theirs.fileno(), *fds])
            except OSError as error:
                line.hang_up()
                raise SpawnFailed(where="supervisor", errno=error.errno or 0, text=str(error)) from error
        child = Child(line)
        try:
            child.pid = await line.started
        except asyncio.CancelledError:
            await surely(child.stop(0))
            raise
        return child

    async def drain(self) -> None:
        """Returns when no orphan of a killed keeper is left.

        A supervisor that is started anew has killed what the one before it left, before it answers.
        """
        loop = asyncio.get_running_loop()
        answer = b""
        while not answer and not self._closing:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                ours.setblocking(False)
                try:
                    await self.start()
                    await self._send(supervisor.DRAIN, [theirs.fileno()])
                except SpawnFailed:
                    return
                except OSError:
                    await self._gone()
                    continue
                theirs.close()
                with contextlib.suppress(OSError):
                    answer = await loop.sock_recv(ours, 1)

    def describe(self) -> dict[str, Any]:
        return {"pid": self.pid, "restarts": self.restarts, "containment": linux.containment()}

    async def _send_spawn(self, fds: Sequence[int]) -> None:
        try:
            await self._send(supervisor.SPAWN, fds)
        except BrokenPipeError:
            await self._gone()
            await self._send(supervisor.SPAWN, fds)

    async def _send(self, message: bytes, fds: Sequence[int]) -> None:
        async with self._sending:
            sock = self._socket
            if sock is None:
                raise BrokenPipeError("the supervisor is gone")
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
            while True:
                try:
                    sock.sendmsg([message], ancillary)
                    return
                except BlockingIOError:
                    await _writable(sock)

    async def _gone(self) -> None:
        """Returns when a supervisor that died is known to be dead, and the next one serves."""
        if self._watcher is not None:
            await asyncio.wait({self._watcher})

    async def _watch(self, process: subprocess.Popen[bytes], sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_recv(sock, 1)
        self._socket = None
        sock.close()
        await asyncio.to_thread(process.wait)
        self._process = None
        if not self._closing:
            self.restarts += 1
            with contextlib.suppress(SpawnFailed):
                await self.start()


class _KeeperLine(asyncio.Protocol):
    """The line to one keeper."""

    def __init__(self, supervision: Supervision) -> None:
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[int] = loop.create_future()
        self.ended: asyncio.Future[Ended] = loop.create_future()
        self.stuck: asyncio.Future[None] = loop.create_future()
        self.left: tuple[int, ...] = ()
        self._supervision = supervision
        self._transport: asyncio.WriteTransport | None = None
        self._received = b""
        self._end: Ended | None = None
        self._outliving: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def order(self, order: dict[str, Any]) -> None:
        data = msgspec.json.encode(order)
        self.ask(len(data).to_bytes(4, "little") + data)

    def ask(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def hang_up(self) -> None:
        self.started.cancel()
        self.ended.cancel()
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._take(msgspec.json.decode(line))

    def _take(self, message: dict[str, Any]) -> None:
        if "pid" in message:
            if not self.started.done():
                self.started.set_result(message["pid"])
        elif "error" in message:
            self._refuse(SpawnFailed(where=message["where"], errno=message["error"], text=message["text"]))
            self._end = Ended()
        elif "left" in message:
            self.left = tuple(message["left"])
            if not self.stuck.done():
                self.stuck.set_result(None)
        else:
            self._end = msgspec.convert(message, Ended)
            if not self.ended.done():
                self.ended.set_result(self._end)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._end is None:
            self._refuse(SpawnFailed(where="supervisor", errno=0, text="the supervisor could not start a keeper"))
            self._outliving = asyncio.get_running_loop().create_task(self._outlive_keeper())
        elif not self.ended.done():
            self.ended.set_result(self._end)

    def _refuse(self, failure: SpawnFailed) -> None:
        if not self.started.done():
            self.started.set_exception(failure)
            # Whoever was cancelled while it waited does not ask any more.
            self.started.exception()

    async def _outlive_keeper(self) -> None:
        await self._supervision.drain()
        if not self.ended.done():
            self.ended.set_result(Ended(lost="its keeper was killed"))


async def surely(work: Coroutine[Any, Any, _T], *, again: Callable[[], None] | None = None) -> _T:
    """Carry work to its end whatever cancels the caller meanwhile; the cancellation is passed on afterwards.

    `again` is called at each such cancellation.
    """
    task = asyncio.create_task(work)
    cancelled = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
            if again is not None:
                again()
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(sock, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_writer(sock)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
