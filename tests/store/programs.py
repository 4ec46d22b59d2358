"""Other processes: one that runs to its end (or its fault point), and one beside us that we talk to line by line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def environment(fault: str | None = None) -> dict[str, str]:
    found = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return found if fault is None else found | {"PERDURE_FAULT": fault}


def run_program(program: str, path: Path | str, *, fault: str | None = None) -> subprocess.CompletedProcess[str]:
    """With `fault`, the process ends at that fault point (`perdure.store.faults`)."""
    return subprocess.run(
        [sys.executable, "-c", program, str(path)], env=environment(fault), check=False, capture_output=True, text=True
    )


class Beside:
    """A process that prints lines, and goes on at each line that it is sent."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout

    def go_on(self) -> None:
        self._in.write("\n")
        self._in.flush()

    def next_line(self) -> str:
        """Empty when it has ended."""
        return self._out.readline().strip()


@contextmanager
def beside(program: str, path: Path) -> Iterator[Beside]:
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Beside(process)
        finally:
            process.kill()
