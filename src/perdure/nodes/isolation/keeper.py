"""The keeper: one small process between the supervisor and one process that the engine asked for.

It is that process's parent and the reaper of all its descendants, so it knows exactly when nothing
of it is left: when it has no child any more. It speaks with the engine over its own socket, in
lines of JSON: `{"pid"}` or `{"error", "where", "text"}` once, perhaps `{"left": [pid, …]}`, and
`{"code", "signal", "leftovers", "forced", "max_rss_kb"}` when everything is dead. The engine sends
the order to begin (four bytes of length, then JSON), then `stop <grace in ms>` lines. The end of
the socket means that the engine is gone: kill everything.

Standard library only, forked from the supervisor without exec.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from perdure.nodes.isolation import linux

KILL_ALL = signal.SIGUSR1
"""From the supervisor, or when it died: nothing of the process may go on."""
_PATIENCE_S = 10.0
"""How long killed processes may stay before the engine is told of them (a process in uninterruptible sleep)."""

_ROUNDS_BEFORE_CGROUP = 3
"""Rounds of killing after which a tree is taken to fork faster than it is killed."""


def keep(control: socket.socket, fds: Sequence[int], *, supervisor: int, mark: str, cgroups: str | None) -> NoReturn:
    """Run one process to its end, and answer for all that it started; never returns.

    Args:
        control: the socket to the engine.
        fds: what becomes the process's descriptors 0, 1, 2, 3, ….
        supervisor: pid of the parent.
        mark: value of `linux.MARKER` for the process.
        cgroups: folder in which cgroups can be made; None where there is none.
    """
    status = 1
    try:
        Keeper(control, supervisor=supervisor, cgroups=cgroups).run(fds, mark=mark)
        status = 0
    finally:
        os._exit(status)


class Keeper:
    def __init__(self, control: socket.socket, *, supervisor: int, cgroups: str | None) -> None:
        self._control = control
        self._supervisor = supervisor
        self._received = b""
        self._main = 0
        self._status: int | None = None
        self._max_rss_kb = 0
        self._kill_at: float | None = None
        self._was_asked = False
        self._forced = False
        self._leftovers = 0
        self._told_left = False
        self._cgroups = cgroups
        self._cgroup: str | None = None
        self._rounds = 0

    def run(self, fds: Sequence[int], *, mark: str) -> None:
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.signal(KILL_ALL, self._kill_soon)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        linux.become_subreaper()
        order = self._read_order()
        if order is None or not linux.die_with_parent(self._supervisor, KILL_ALL):
            return
        if self._start(order, fds, mark):
            self._watch(woken)

    def _kill_soon(self, number: int, frame: object) -> None:
        self._kill_at = 0.0

    def _read_order(self) -> dict[str, Any] | None:
        data = b""
        needed = 4
        while len(data) < needed:
            chunk = self._control.recv(min(1 << 20, needed - len(data)))
            if not chunk:
                return None
            data += chunk
            if len(data) == 4:
                needed = 4 + int.from_bytes(data, "little")
        order: dict[str, Any] = json.loads(data[4:])
        return order

    def _start(self, order: dict[str, Any], fds: Sequence[int], mark: str) -> bool:
        environ = {**order["env"], linux.MARKER: mark}
        fault, fault_end = os.pipe()
        keeper = os.getpid()
        self._main = os.fork()
        if self._main == 0:
            os.close(fault)
            _become(order, environ, fds, fault_end, keeper)
        os.close(fault_end)
        for fd in fds:
            os.close(fd)
        with open(fault, "rb") as file:
            told = file.read()
        if not told:
            self._tell({"pid": self._main})
            return True
        os.waitpid(self._main, 0)
        where, _, number = told.decode().partition(" ")
        self._tell({"error": int(number), "where": where, "text": os.strerror(int(number))})
        return False

    def _watch(self, woken: int) -> None:
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(woken, select.POLLIN)
        killing_since: float | None = None
        pause = 0.002
        while self._reap():
            now = time.monotonic()
            if self._kill_at is not None and now >= self._kill_at:
                killing_since = killing_since or now
                self._kill()
                if now - killing_since > _PATIENCE_S and not self._told_left:
                    self._told_left = True
                    self._tell({"left": [seen.pid for seen in linux.descendants(os.getpid())]})
                wait_s = pause
                pause = min(pause * 2, 0.1)
            else:
                wait_s = -1 if self._kill_at is None else self._kill_at - now
            for fd, _ in poller.poll(None if wait_s < 0 else wait_s * 1000 + 1):
                if fd == woken:
                    _drain(woken)
                elif not self._hear():
                    poller.unregister(self._control)
        self._tell_end()

    def _reap(self) -> bool:
        """Collect the dead; False when nothing is left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                break
            self._max_rss_kb = max(self._max_rss_kb, usage.ru_maxrss)
            if pid == self._main:
                self._status = status
        if self._status is not None and self._kill_at is None:
            # It ended by itself: what it left behind does not outlive it.
            self._leftovers = len(linux.descendants(os.getpid()))
            self._kill_at = 0.0
        return True

    def _hear(self) -> bool:
        """Take the engine's orders; False at the end of the socket."""
        try:
            data = self._control.recv(4096)
        except OSError:
            data = b""
        if not data:
            self._kill_at = 0.0
            return False
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            grace_s = int(line.split()[1]) / 1000
            kill_at = time.monotonic() + grace_s
            if not self._was_asked:
                self._was_asked = True
                self._ask_to_end()
            self._kill_at = kill_at if self._kill_at is None else min(self._kill_at, kill_at)
        return True

    def _ask_to_end(self) -> None:
        if not linux.IS_LINUX:
            _signal_group(self._main, signal.SIGTERM)
            return
        for seen in linux.descendants(os.getpid()):
            # A stopped process takes its TERM only once it goes on.
            linux.send(seen, signal.SIGTERM, signal.SIGCONT)

    def _kill(self) -> None:
        self._forced = self._was_asked
        self._rounds += 1
        if linux.IS_LINUX:
            tree = linux.descendants(os.getpid())
            if self._rounds > _ROUNDS_BEFORE_CGROUP and self._cgroups is not None:
                self._cgroup = f"{self._cgroups}/perdure-{os.getpid()}"
                linux.kill_in_cgroup(self._cgroup, tree)
            linux.kill_all(tree)
        else:
            _signal_group(self._main, signal.SIGKILL)

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._control.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self._kill_at = 0.0

    def _tell_end(self) -> None:
        if self._cgroup is not None:
            linux.remove_cgroup(self._cgroup)
        if not linux.IS_LINUX:
            _signal_group(self._main, signal.SIGKILL)
        status = self._status or 0
        signalled = os.WIFSIGNALED(status)
        self._tell(
            {
                "code": None if signalled else os.waitstatus_to_exitcode(status),
                "signal": os.WTERMSIG(status) if signalled else None,
                "leftovers": self._leftovers,
                "forced": self._forced,
                "max_rss_kb": self._max_rss_kb,
            }
        )


def _become(
    order: dict[str, Any],
    environ: dict[str, str],
    fds: Sequence[int],
    fault: int,
    keeper: int,
) -> NoReturn:
    """In the forked child: turn into the ordered program, or write `where errno` to `fault` and end."""
    where = "exec"
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD, KILL_ALL):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        if not linux.die_with_parent(keeper, signal.SIGKILL):
            os._exit(127)
        linux.offer_to_oom_killer()
        moved = [_move_up(fd) for fd in (fault, *fds)]
        fault = moved[0]
        for target, fd in enumerate(moved[1:]):
            os.dup2(fd, target, inheritable=True)
        where = "cwd"
        if order["cwd"] is not None:
            os.chdir(order["cwd"])
        where = "exec"
        os.execvpe(order["argv"][0], order["argv"], environ)
    except OSError as error:
        os.write(fault, f"{where} {error.errno or 0}".encode())
    except ValueError:
        # A NUL, which no path and no argument can hold.
        os.write(fault, f"{where} {errno.EINVAL}".encode())
    finally:
        os._exit(127)


def _signal_group(leader: int, number: int) -> None:
    """Without a subreaper the group is all that can be found of a tree."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _move_up(fd: int) -> int:
    """A close-on-exec double above all targets, so that no target overwrites a source."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64)


def _ignore(number: int, frame: object) -> None:
    """A handler that only wakes the poll."""


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 512):
            pass
    except BlockingIOError:
        pass
