"""What Linux offers to hold on to processes: prctl, /proc, pidfds and cgroup v2.

Standard library only: this runs in the supervisor. Elsewhere (macOS, BSD) every function answers
with what can be had there, which is less: see `containment`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterable
from typing import NamedTuple

IS_LINUX = sys.platform == "linux"
MARKER = "PERDURE_SUPERVISOR"
"""Environment variable of everything a supervisor starts: `<pid namespace>:<pid>:<start time>` of that supervisor."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_OOM_SCORE = 300
_libc = ctypes.CDLL(None, use_errno=True) if IS_LINUX else None


class Seen(NamedTuple):
    """A process as /proc showed it. `started` (clock ticks since boot) tells it from a later one with the same pid."""

    pid: int
    parent: int
    started: int
    is_alive: bool


def containment() -> str:
    """How surely descendants are found: `cgroup`, `subreaper`, or (not on Linux) `process_group`."""
    if not IS_LINUX:
        return "process_group"
    return "cgroup" if own_cgroup() is not None else "subreaper"


def become_subreaper() -> None:
    """Orphans among this process's descendants become its children (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(parent: int, number: int) -> bool:
    """Get this signal when the parent dies (PR_SET_PDEATHSIG); False when it is dead already."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    return os.getppid() == parent


def offer_to_oom_killer() -> None:
    """When memory runs out, the kernel shall rather take this process (and what it starts) than the engine."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "r+") as file:
        if int(file.read()) < _OOM_SCORE:
            file.seek(0)
            file.write(str(_OOM_SCORE))


def look_at(pid: int) -> Seen | None:
    """None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.read(2048)
    except OSError:
        return None
    # The command's name stands in parentheses and may hold anything, parentheses too.
    fields = text[text.rindex(b")") + 2 :].split()
    return Seen(pid, int(fields[1]), int(fields[19]), fields[0] not in b"ZXx")


def all_processes() -> dict[int, Seen]:
    try:
        names = os.listdir("/proc")
    except OSError:
        return {}
    looks = (look_at(int(name)) for name in names if name.isdigit())
    return {seen.pid: seen for seen in looks if seen is not None}


def descendants(root: int) -> list[Seen]:
    """Everything alive below `root`, parents before children."""
    processes = all_processes()
    children: dict[int, list[Seen]] = {}
    for seen in processes.values():
        children.setdefault(seen.parent, []).append(seen)
    found: list[Seen] = []
    layer = [root]
    while layer:
        below = [child for pid in layer for child in children.get(pid, ())]
        found += below
        layer = [child.pid for child in below]
    return [seen for seen in found if seen.is_alive]


def send(seen: Seen, *numbers: int) -> None:
    """Signal exactly the process that was seen, never another one that has got its pid since."""
    try:
        handle = os.pidfd_open(seen.pid)
    except (AttributeError, OSError):
        handle = -1
    try:
        now = look_at(seen.pid)
        if now is None or now.started != seen.started:
            return
        for number in numbers:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if handle >= 0:
                    signal.pidfd_send_signal(handle, number)
                else:
                    os.kill(seen.pid, number)
    finally:
        if handle >= 0:
            os.close(handle)


def kill_all(processes: Iterable[Seen]) -> None:
    for seen in processes:
        send(seen, signal.SIGKILL)


def supervisor_mark(pid: int) -> str:
    """What `MARKER` holds for the supervisor with this pid."""
    seen = look_at(pid)
    return f"{_pid_namespace()}:{pid}:{seen.started if seen else 0}"


def abandoned_by_dead_supervisors() -> list[Seen]:
    """Processes whose marker names a supervisor of this pid namespace that is dead."""
    found = []
    for seen in all_processes().values():
        mark = _mark_of(seen.pid)
        namespace, _, rest = mark.partition(":")
        pid, _, started = rest.partition(":")
        if seen.is_alive and namespace == _pid_namespace() and pid.isdigit():
            supervisor = look_at(int(pid))
            if supervisor is None or not supervisor.is_alive or str(supervisor.started) != started:
                found.append(seen)
    return found


def _mark_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            environ = file.read(4 * 1024 * 1024)
    except OSError:
        return ""
    prefix = f"{MARKER}=".encode()
    for entry in environ.split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode(errors="replace")
    return ""


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return ""


def own_cgroup() -> str | None:
    """The folder of this process's cgroup (v2) when groups can be made and killed in it."""
    try:
        with open("/proc/self/cgroup") as file:
            place = next(line.rstrip("\n")[3:] for line in file if line.startswith("0::"))
        with open("/proc/self/mountinfo") as file:
            mounts = [line.split() for line in file if " - cgroup2 " in line]
    except (OSError, StopIteration):
        return None
    for mount in mounts:
        folder = mount[4] + place.rstrip("/")
        if os.access(folder, os.W_OK) and os.path.exists(f"{mount[4]}/cgroup.procs"):
            return folder
    return None


def kill_in_cgroup(folder: str, processes: Iterable[Seen]) -> None:
    """Catch a tree that forks faster than it can be walked: what is born in the group dies with the group.

    Does nothing where groups cannot be made or killed (kernels before 5.14).
    """
    with contextlib.suppress(OSError):
        os.mkdir(folder)
    for seen in processes:
        with contextlib.suppress(OSError):
            _write(f"{folder}/cgroup.procs", str(seen.pid))
    with contextlib.suppress(OSError):
        _write(f"{folder}/cgroup.kill", "1")


def remove_cgroup(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
