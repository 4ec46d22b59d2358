"""A process and all its descendants, as Linux tells of them: memory and processor time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")


class Memory(NamedTuple):
    """`rss_mb` counts pages shared between the processes as often as they are mapped; `pss_mb` splits them fairly."""

    processes: int
    rss_mb: float
    pss_mb: float | None


class ProcessTree:
    """Raises FileNotFoundError where the kernel does not show its processes under /proc."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def pids(self) -> list[int]:
        """The root first. Those that end while one looks are left out."""
        children: dict[int, list[int]] = {}
        for pid, parent in _parents():
            children.setdefault(parent, []).append(pid)
        found = [self._pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def memory(self) -> Memory:
        pids = self.pids()
        rss_kib = 0
        pss_kib: int | None = 0
        for pid in pids:
            rss_kib += _field_kib(_PROC / str(pid) / "status", "VmRSS") or 0
            share = _field_kib(_PROC / str(pid) / "smaps_rollup", "Pss")
            pss_kib = None if pss_kib is None or share is None else pss_kib + share
        return Memory(len(pids), rss_kib * 1024 / 1e6, None if pss_kib is None else pss_kib * 1024 / 1e6)

    def cpu_s(self) -> float:
        """Seconds of processor time so far, of the living."""
        ticks = 0
        for pid in self.pids():
            try:
                fields = _stat_fields(pid)
            except OSError:
                continue
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def _parents() -> Iterator[tuple[int, int]]:
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), int(_stat_fields(int(entry.name))[1])
            except OSError:
                continue


def _stat_fields(pid: int) -> list[str]:
    """Of proc(5)'s stat what follows the name, which may contain anything: state, ppid, …"""
    return (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def _field_kib(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return None
