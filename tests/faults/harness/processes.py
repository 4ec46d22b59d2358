"""Processes as /proc shows them (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """`started` (clock ticks since boot) tells a process from a later one with the same pid."""

    pid: int
    started: int


class Usage(NamedTuple):
    """What one process holds."""

    descriptors: int
    threads: int
    children: int
    memory_kb: int


def _stat(pid: int) -> list[bytes] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return text[text.rindex(b")") + 2 :].split()


def process(pid: int) -> Process | None:
    """The living process with that pid; None when there is none, or a zombie only."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in b"ZX" else Process(pid, int(fields[19]))


def alive(processes: Iterable[Process]) -> list[Process]:
    return [one for one in processes if process(one.pid) == one]


def descendants(root: int) -> list[Process]:
    """Everything alive below `root`."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))) is not None:
            parents[int(name)] = int(fields[1])
    found: list[int] = []
    layer = {root}
    while layer:
        layer = {pid for pid, parent in parents.items() if parent in layer}
        found += layer
    return [one for pid in found if (one := process(pid)) is not None]


def usage(pid: int) -> Usage:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return Usage(
        descriptors=len(os.listdir(f"/proc/{pid}/fd")),
        threads=int(status["Threads"]),
        children=len(descendants(pid)),
        memory_kb=int(status["VmRSS"].split()[0]),
    )


def marked(text: str) -> list[Process]:
    """Living processes that have the text in their environment."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            environment = Path(f"/proc/{name}/environ").read_bytes()
        except OSError:
            continue
        if text.encode() in environment and (one := process(int(name))) is not None:
            found.append(one)
    return found
