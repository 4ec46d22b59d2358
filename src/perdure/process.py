"""This process: how it was started, how it is told to stop, how a fresh one takes its place."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import msgspec

from perdure.nodes.isolation import linux

HANDOVER = "PERDURE_HANDOVER"
"""Variable by which a process that replaces itself tells its successor what it leaves to it."""
_REAP_S = 2.0
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """What one image of this process leaves to the next.

    `times` counts replacements, `at` is when the last one happened (microseconds of the monotonic clock). `listening`
    is the descriptor of a socket that listens for `host` and `port`, as the settings had them; None for a worker without
    one.
    """

    pid: int
    times: int
    at: int
    host: str
    port: int
    listening: int | None

    def adopt(self, host: str, port: int) -> socket.socket | None:
        """The socket, when it is what these settings would listen on; otherwise it is closed."""
        if self.listening is None:
            return None
        with contextlib.suppress(OSError):
            adopted = socket.socket(fileno=self.listening)
            adopted.set_inheritable(False)
            if (host, port) == (self.host, self.port) and adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return adopted
            adopted.close()
        return None


def taken_over(environ: MutableMapping[str, str]) -> Handover | None:
    """What this process was left by the one whose place it took; None when it was started afresh."""
    text = environ.pop(HANDOVER, None)
    if text is None:
        return None
    try:
        handover = msgspec.json.decode(text, type=Handover)
    except msgspec.DecodeError:
        return None
    # A child that got the variable by accident has another process id.
    return handover if handover.pid == os.getpid() else None


class Command(NamedTuple):
    """How this process was started."""

    argv: list[str]
    environ: Mapping[str, str]
    folder: Path

    @classmethod
    def of_this_process(cls) -> Command:
        """To be asked for before code of nodes has had a chance to change any of it."""
        return cls([sys.executable, *sys.orig_argv[1:]], dict(os.environ), Path.cwd())

    def replace_process(self, handover: Handover) -> NoReturn:
        """Run the command again in this process (execve(2)): its id stays, its threads and its memory go.

        Nothing that must be closed may be open any more; other children than the supervisor's end here. Raises OSError.
        """
        _end_children()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.chdir(self.folder)
        if handover.listening is not None:
            os.set_inheritable(handover.listening, True)
        environ = {**self.environ, HANDOVER: msgspec.json.encode(handover).decode()}
        os.execve(self.argv[0], self.argv, environ)


def _end_children() -> None:
    """Processes that code of nodes started past the supervisor: the fresh image would not know them."""
    # The first process of a container is given the orphans of everybody, which are not ours to kill.
    are_ours = os.getpid() != 1
    deadline = time.monotonic() + _REAP_S
    while time.monotonic() < deadline:
        if are_ours:
            linux.kill_all(linux.descendants(os.getpid()))
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0 and not are_ours:
            return
        if pid == 0:
            time.sleep(0.005)


class StopSignals:
    """SIGTERM, SIGINT and SIGHUP (its terminal was closed), one after the other."""

    def __init__(self) -> None:
        # What we were started to ignore (nohup) we ignore.
        self._heeded = [number for number in _STOPS if signal.getsignal(number) is not signal.SIG_IGN]
        self._came = asyncio.Event()
        self.count = 0
        self.take()

    def take(self) -> None:
        """Signals are counted from now on."""
        loop = asyncio.get_running_loop()
        for number in self._heeded:
            loop.add_signal_handler(number, self._hung_up if number == signal.SIGHUP else self._came_one)

    async def wait(self) -> None:
        """Until the next one."""
        await self._came.wait()
        self._came.clear()

    async def wait_beside(self, work: asyncio.Future[Any], *, within_s: float | None = None) -> None:
        """Until the next one, the end of the work or that of the time, whichever is first."""
        waiting = asyncio.ensure_future(self.wait())
        await asyncio.wait({waiting, work}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def released(self) -> bool:
        """From now on a signal ends the process at once. False when one came before, which is to be heeded.

        `take` undoes it.
        """
        for number in self._heeded:
            signal.signal(number, signal.SIG_DFL)
        # What came before is on its way through the loop.
        for _ in range(3):
            await asyncio.sleep(0)
        return not self.count

    def _hung_up(self) -> None:
        """Shell and kernel both say so when a terminal is closed: that is no hurry."""
        if not self.count:
            self._came_one()

    def _came_one(self) -> None:
        self.count += 1
        if self.count > 2:
            os._exit(130)
        self._came.set()
