"""The supervisor: a small process that starts what the engine runs, and outlives the engine just long enough.

The engine speaks to it over one socket in messages of a single byte: `S` with descriptors (the
keeper's socket, then 0, 1, 2, … of the new process) asks for a keeper; `D` with one descriptor asks
to be answered there once no orphan is left. Children that the supervisor did not start itself are
orphans of a killed keeper: they are killed. When the engine dies (end of the socket; its pidfd,
where there are pidfds), everything is killed and the supervisor ends. Through a pipe the engine says
until when it may be believed to live (`MOMENT`, seconds of `now`): when that is over, everything is
killed as well, for an engine that stands still cannot do it, and others take over its work then.

Standard library only. Started as `python -I -S -c BOOT <import root> <socket fd> <pipe fd>`.
"""

from __future__ import annotations

import array
import contextlib
import gc
import math
import os
import select
import signal
import socket
import struct
import time
from typing import NoReturn

from perdure.nodes.isolation import keeper, linux

BOOT = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from perdure.nodes.isolation.supervisor import main; main(int(sys.argv[2]), int(sys.argv[3]))"
)
READY = b"R"
SPAWN = b"S"
DRAIN = b"D"
MAX_FDS = 16
MOMENT = struct.Struct("=d")
_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_SWEEP_MS = 5


def now() -> float:
    """Seconds on the clock of leases (`perdure.base.clock.boot_time`)."""
    return time.clock_gettime(_CLOCK)


def main(fd: int, moments: int) -> NoReturn:
    """Serve the engine at the other end of this socket until it is gone."""
    try:
        Supervisor(socket.socket(fileno=fd), moments).run()
    finally:
        os._exit(0)


class Supervisor:
    def __init__(self, engine: socket.socket, moments: int) -> None:
        self._engine = engine
        self._moments = moments
        self._until = math.inf
        """Until when what runs may run."""
        self._keepers: set[int] = set()
        self._draining: list[int] = []
        self._sweeping = False
        self._mark = linux.supervisor_mark(os.getpid()) if linux.IS_LINUX else ""
        self._cgroups = linux.own_cgroup() if linux.IS_LINUX else None
        self._woken, self._wake = os.pipe()

    def run(self) -> None:
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        os.set_inheritable(self._engine.fileno(), False)
        os.set_inheritable(self._moments, False)
        engine_pid = os.getppid()
        linux.become_subreaper()
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # Whoever means to stop perdure stops the engine, which drains and then ends this process.
            signal.signal(number, signal.SIG_IGN)
        if linux.IS_LINUX:
            linux.kill_all(linux.abandoned_by_dead_supervisors())
        # Forked keepers share these pages; a collection would copy them all.
        gc.collect()
        gc.disable()
        gc.freeze()
        try:
            self._engine.sendall(READY)
            self._serve(engine_pid)
        finally:
            self._end()

    def _serve(self, engine_pid: int) -> None:
        poller = select.poll()
        poller.register(self._engine, select.POLLIN)
        poller.register(self._woken, select.POLLIN)
        poller.register(self._moments, select.POLLIN)
        engine_fd = _pidfd(engine_pid)
        if engine_fd is not None:
            poller.register(engine_fd, select.POLLIN)
        if os.getppid() != engine_pid:
            return
        while True:
            ready = poller.poll(self._patience_ms())
            for fd, _ in ready:
                if fd == engine_fd:
                    return
                if fd == self._woken:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._woken, 4096)
                elif fd == self._moments:
                    self._hear_moments()
                elif not self._hear():
                    return
            if now() >= self._until:
                self._until = math.inf
                self._kill_all()
            self._reap()
            if self._sweeping:
                self._sweep()

    def _patience_ms(self) -> float | None:
        if self._sweeping:
            return _SWEEP_MS
        return None if self._until == math.inf else max(self._until - now(), 0) * 1000 + 1

    def _hear_moments(self) -> None:
        """The last one counts. A write is whole, for it is shorter than PIPE_BUF."""
        with contextlib.suppress(BlockingIOError):
            # Whoever stood still for long finds many, of which all but the last may be over.
            while told := os.read(self._moments, 512 * MOMENT.size):
                (self._until,) = MOMENT.unpack(told[-MOMENT.size :])

    def _hear(self) -> bool:
        """One message; False when the engine is gone."""
        fds = array.array("i")
        try:
            message, ancillary, _, _ = self._engine.recvmsg(
                1, socket.CMSG_SPACE(MAX_FDS * fds.itemsize), getattr(socket, "MSG_CMSG_CLOEXEC", 0)
            )
        except OSError:
            return False
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        if message == SPAWN:
            self._spawn(list(fds))
        elif message == DRAIN:
            self._draining += fds
            self._sweeping = True
        return bool(message)

    def _spawn(self, fds: list[int]) -> None:
        supervisor = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            # Closing the keeper's socket without a word tells the engine that there is no keeper.
            pid = -1
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for fd in (self._engine.detach(), self._moments, self._woken, self._wake, *self._draining):
                os.close(fd)
            control = socket.socket(fileno=fds[0])
            keeper.keep(control, fds[1:], supervisor=supervisor, mark=self._mark, cgroups=self._cgroups)
        if pid > 0:
            self._keepers.add(pid)
        for fd in fds:
            os.close(fd)

    def _reap(self) -> bool:
        """Collect dead children; False when there is none left at all."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid in self._keepers:
                self._keepers.discard(pid)
                if status != 0:
                    self._sweeping = True

    def _sweep(self) -> None:
        """Kill what killed keepers left to us; when nothing is left, answer those who wait for that."""
        orphans = [seen for seen in linux.descendants(os.getpid()) if self._is_orphan(seen)]
        if orphans:
            linux.kill_all(orphans)
            return
        for fd in self._draining:
            with contextlib.suppress(OSError):
                os.write(fd, READY)
            os.close(fd)
        self._draining.clear()
        self._sweeping = False

    def _is_orphan(self, seen: linux.Seen) -> bool:
        return seen.parent == os.getpid() and seen.pid not in self._keepers

    def _kill_all(self) -> None:
        for pid in self._keepers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, keeper.KILL_ALL)

    def _end(self) -> None:
        poller = select.poll()
        poller.register(self._woken, select.POLLIN)
        while self._reap():
            self._kill_all()
            self._sweep()
            poller.poll(_SWEEP_MS)
            with contextlib.suppress(BlockingIOError):
                os.read(self._woken, 4096)


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
