"""A reader's terminal: one bash that runs a page's commands in a fresh folder."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

PATIENCE_S = 60.0
END = "--- end of this command"


class Terminal:
    """Commands see one another's variables and jobs, as in a real one; `run` gives what they print."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def run(self, command: str) -> tuple[list[str], int]:
        """What the command printed on both outputs, line by line, and its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\nprintf '\\n%s %s\\n' '{END}' $?\n".encode())
        await self._process.stdin.drain()
        lines: list[str] = []
        async for line in self._lines(command, lines):
            if ended := re.fullmatch(rf"{END} (\d+)", line):
                return lines, int(ended[1])
            lines.append(line)
        raise AssertionError("unreachable")

    async def begin(self, command: str, *, until: str) -> list[str]:
        """Start a command that goes on; what it printed up to the line that matches `until`."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        lines: list[str] = []
        async for line in self._lines(command, lines):
            lines.append(line)
            if re.search(until, line):
                break
        return lines

    async def _lines(self, command: str, printed: list[str]) -> AsyncIterator[str]:
        """What comes, line by line; when nothing more comes in time, an error that shows what did."""
        assert self._process.stdout is not None
        while True:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    line = await self._process.stdout.readline()
            except TimeoutError:
                line = b""
            if not line:
                raise AssertionError("\n".join([f"no end of: {command}", "printed:", *printed]))
            yield line.decode().rstrip("\n")


@asynccontextmanager
async def terminal(folder: Path, environ: dict[str, str]) -> AsyncIterator[Terminal]:
    """A bash in `folder`; all that it started is gone when this ends."""
    process = await asyncio.create_subprocess_exec(
        "bash", "--norc", "--noprofile", cwd=folder, env=environ, stdin=PIPE, stdout=PIPE, stderr=STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield Terminal(process)
    finally:
        for sent in (signal.SIGTERM, signal.SIGKILL):
            if _signal_group(process.pid, sent):
                try:
                    async with asyncio.timeout(15):
                        await process.communicate()
                except TimeoutError:
                    continue
        await process.wait()


def reader_environ(home: Path) -> dict[str, str]:
    """What a reader's shell has, with nothing of this machine's own settings in it; it shows what a terminal would."""
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ours = {"PERDURE_PORT": str(free_port()), "PERDURE_LOG_FORMAT": "console"}
    return kept | ours | {"PATH": path, "HOME": str(home), "TERM": "dumb", "NO_COLOR": "1"}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _signal_group(pid: int, sent: signal.Signals) -> bool:
    try:
        os.killpg(pid, sent)
    except ProcessLookupError:
        return False
    return True
