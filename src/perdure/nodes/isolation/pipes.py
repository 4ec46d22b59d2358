"""Reading what a process writes to its descriptors, line by line, no faster than the lines are taken."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

from perdure.nodes.lines import LineSplitter

_CHUNK = 64 * 1024


def open_pipes(count: int) -> list[tuple[int, int]]:
    """Pairs of (end to read, end to write); none stays open when there are too few descriptors left (OSError)."""
    pipes: list[tuple[int, int]] = []
    try:
        for _ in range(count):
            pipes.append(os.pipe())  # noqa: PERF401
    except OSError:
        close_all(*(fd for pipe in pipes for fd in pipe))
        raise
    return pipes


def close_all(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


class PipeLines:
    """One pipe, read by the loop. While `ready` has not returned, nothing is read: the writer waits.

    Args:
        fd: the end to read from; closed by `close`.
        emit: takes the lines of a chunk.
        ready: returns when more may be emitted.
        keep: takes every chunk as it came, if it is given.
    """

    def __init__(
        self,
        fd: int,
        *,
        emit: Callable[[list[str]], None],
        ready: Callable[[], Awaitable[None]],
        keep: Callable[[bytes], None] | None = None,
    ) -> None:
        self._fd = fd
        self._emit = emit
        self._ready = ready
        self._keep = keep
        self._lines = LineSplitter()
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.Task[None] | None = None
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._read)

    def drain(self) -> bool:
        """Take at once what is in the pipe, at most its capacity; False when there was more."""
        return any(not self._take() for _ in range(32))

    async def finish(self) -> None:
        """Everything that dead writers left in the pipe, then the line without an end; closes the pipe."""
        if self._pause is not None:
            await asyncio.wait({self._pause})
        while not self.drain():
            await self._ready()
        self._tell(self._lines.flush())
        self.close()

    def flush(self) -> None:
        """End the line that has no end yet."""
        self._tell(self._lines.flush())

    def close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        if self._take():
            self._loop.remove_reader(self._fd)
            self._pause = self._loop.create_task(self._wait())

    def _take(self) -> bool:
        """Read one chunk; False when there is none now, or never again."""
        if self._fd < 0:
            return False
        try:
            chunk = os.read(self._fd, _CHUNK)
        except (BlockingIOError, InterruptedError):
            return False
        if not chunk:
            self._loop.remove_reader(self._fd)
            return False
        if self._keep is not None:
            self._keep(chunk)
        self._tell(self._lines.feed(chunk))
        return True

    def _tell(self, lines: list[str]) -> None:
        if lines:
            self._emit(lines)

    async def _wait(self) -> None:
        await self._ready()
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._read)
        self._pause = None
