"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import msgspec

_MOUNTS = Path("/proc/self/mounts")
_MEMORY = Path("/proc/meminfo")
_CPU = Path("/proc/cpuinfo")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    system: str
    cpu: str
    cores: int
    memory_mb: int | None
    python: str
    database: str
    """With its version and what its speed depends on."""
    file_system: str
    load_average: float | None
    """Over the minute before: figures of a busy machine mean little."""


def machine(home: Path, *, database: str) -> Machine:
    """The machine, the database, and the file system that `home` is on."""
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        cpu=_field(_CPU, "model name") or platform.machine(),
        cores=_cores(),
        memory_mb=_memory_mb(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        database=database,
        file_system=_file_system(home),
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_mb() -> int | None:
    text = _field(_MEMORY, "MemTotal")
    return None if text is None else int(text.split()[0]) // 1024


def _field(path: Path, name: str) -> str | None:
    """The first `name: value` of a file of the kernel's."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _file_system(home: Path) -> str:
    """The type of the mount that holds the folder."""
    try:
        mounts = [line.split()[1:3] for line in _MOUNTS.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "unknown"
    place = home.resolve()
    found = ("", "unknown")
    for mount, kind in mounts:
        point = mount.encode().decode("unicode_escape")
        if place.is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]
