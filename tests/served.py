"""A real server in a process of its own, for tests that look at it from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

READY = re.compile(r'"url": ?"([^"]+)".*"event": ?"ready"')
PATIENCE_S = 30


class Served:
    """`url` is where it answers; `kill` is kill -9, `stop` a drain."""

    def __init__(self, process: subprocess.Popen[str], url: str, home: Path) -> None:
        self.process = process
        self.url = url
        self.home = home

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


def clean_environ(home: Path) -> dict[str, str]:
    """This environment without any setting of perdure, and with a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PERDURE_", "XDG_"))}
    return kept | {"HOME": str(home)}


@contextmanager
def serving(
    folder: Path, *options: str, port: int = 0, environ: dict[str, str] | None = None, command: str = "serve"
) -> Iterator[Served]:
    """`perdure serve` (or `worker`) in `folder`, with its store in `folder/.perdure`; gone when this ends."""
    process = subprocess.Popen(
        perdure(command, "--port", str(port), *options),
        cwd=folder,
        env=clean_environ(folder) | (environ or {}),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        told = ""
        for line in process.stderr:
            told += line
            if match := READY.search(line):
                break
        else:
            raise AssertionError(f"the server did not come up:\n{told}")
        # Nobody reads on: what it logs later goes where it disturbs nobody.
        with drained(process):
            yield Served(process, match[1], folder / ".perdure")
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def drained(process: subprocess.Popen[str]) -> Iterator[None]:
    """A full pipe would stop the server; `cat` takes what comes."""
    cat = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
    assert process.stderr is not None
    process.stderr.close()
    try:
        yield
    finally:
        cat.terminate()
        cat.wait()


def perdure(*args: str) -> Sequence[str]:
    """The command line of the installed command, whatever the working directory."""
    return [str(Path(sys.executable).with_name("perdure")), *args]
