"""A disk that is too small, and grows on demand.

Where mounting is permitted it is a tmpfs. Where it is not (a container without the right), the same write errors
come from a limit on the size of files (RLIMIT_FSIZE), which the kernel lets us lift on a running process: then the
error is EFBIG instead of ENOSPC, and `is_real` is False.
"""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.harness.processes import descendants

MIB = 1024 * 1024


class SmallDisk:
    """`folder` may hold `size` bytes (of each file, where it is no real disk)."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size
        folder.mkdir(parents=True, exist_ok=True)
        options = f"size={size},mode=0755"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "perdure-test", folder], capture_output=True, check=False
        )
        self.is_real = mounted.returncode == 0

    def apply(self, pid: int) -> None:
        """Put the process, and all that it started, under the limit, where that is how the disk is small."""
        if not self.is_real:
            _limit_files(pid, self.size)

    def grow(self, size: int, pid: int | None = None) -> None:
        """Space returns, for the process that runs into the limit, if one does."""
        if self.is_real:
            subprocess.run(["mount", "-o", f"remount,size={size}", self.folder], check=True)
        elif pid is not None:
            _limit_files(pid, resource.RLIM_INFINITY)

    def remove(self) -> None:
        if self.is_real:
            subprocess.run(["umount", "--lazy", self.folder], check=True)


def _limit_files(pid: int, size: int) -> None:
    for one in (pid, *(process.pid for process in descendants(pid))):
        with suppress(ProcessLookupError):
            resource.prlimit(one, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@contextmanager
def small_disk(folder: Path, size: int = 2 * MIB) -> Iterator[SmallDisk]:
    disk = SmallDisk(folder, size)
    try:
        yield disk
    finally:
        disk.remove()
