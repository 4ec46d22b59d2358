"""Other processes that a bench starts, waits for, and leaves none of behind."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TypeVar

from perdure.bench.figures import BenchFailed
from perdure.bench.http_load import connect, request_bytes
from perdure.bench.process_tree import ProcessTree

_LOOK_EVERY_S = 0.002
_READY_WITHIN_S = 30.0
_END_WITHIN_S = 20.0
_TOLD = 2_000
"""Bytes of a dead process's own words that the failure repeats."""

READY = request_bytes("GET", "/health/ready")


class Running:
    """A process of ours in a session of its own."""

    def __init__(self, process: asyncio.subprocess.Process, said: IO[bytes]) -> None:
        self._process = process
        self._said = said

    @property
    def pid(self) -> int:
        return self._process.pid

    def tree(self) -> ProcessTree:
        return ProcessTree(self.pid)

    def check(self) -> None:
        """Raises BenchFailed when it has ended."""
        if self._process.returncode is not None:
            raise BenchFailed(f"the process ended with {self._process.returncode}: {self._last_words()}")

    async def kill(self) -> None:
        """SIGKILL for the server alone, as a crash; what it leaves behind is its own affair."""
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for the whole session when that does not help."""
        try:
            if self._process.returncode is None:
                self._process.terminate()
                async with asyncio.timeout(_END_WITHIN_S):
                    await self._process.wait()
        except (TimeoutError, ProcessLookupError):
            pass
        finally:
            self._kill_session()
            await self._process.wait()

    def _kill_session(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _last_words(self) -> str:
        self._said.seek(0)
        return self._said.read()[-_TOLD:].decode(errors="replace").strip()


class ServerProcess(Running):
    """A server on a port of this machine."""

    def __init__(self, process: asyncio.subprocess.Process, said: IO[bytes], *, port: int) -> None:
        super().__init__(process, said)
        self.port = port

    async def ready(self) -> None:
        """Return at the first 200 on /health/ready. Raises BenchFailed when it ends before, or takes too long."""
        until = time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < until:
            self.check()
            try:
                connection = await connect(self.port)
            except OSError:
                await asyncio.sleep(_LOOK_EVERY_S)
                continue
            try:
                if (await connection.request(READY)).status == 200:
                    return
            except ConnectionError:
                pass
            finally:
                connection.close()
            await asyncio.sleep(_LOOK_EVERY_S)
        raise BenchFailed(f"the server was not ready within {_READY_WITHIN_S:g} s: {self._last_words()}")


R = TypeVar("R", bound=Running)


@asynccontextmanager
async def serve(home: Path, *, store: str, options: Sequence[str] = (), bytecode: Path) -> AsyncIterator[ServerProcess]:
    """`perdure serve`, begun but perhaps not yet ready; its bytecode is kept in that folder."""
    port = free_port()
    command = ["-m", "perdure", "serve", "--home", str(home), "--port", str(port), "--store", store, *options]
    async with _running(command, partial(ServerProcess, port=port), bytecode=bytecode, cwd=home) as server:
        yield server


@asynccontextmanager
async def work(home: Path, *, store: str, options: Sequence[str] = (), bytecode: Path) -> AsyncIterator[Running]:
    """`perdure worker`, begun."""
    command = ["-m", "perdure", "worker", "--home", str(home), "--store", store, *options]
    async with _running(command, Running, bytecode=bytecode, cwd=home) as worker:
        yield worker


@asynccontextmanager
async def bare_server(*, bytecode: Path) -> AsyncIterator[ServerProcess]:
    """uvicorn and Starlette with a fixed answer, ready."""
    port = free_port()
    command = ["-m", "perdure.bench.bare_server", str(port)]
    async with _running(command, partial(ServerProcess, port=port), bytecode=bytecode) as server:
        await server.ready()
        yield server


@asynccontextmanager
async def _running(
    arguments: Sequence[str],
    made: Callable[[asyncio.subprocess.Process, IO[bytes]], R],
    *,
    bytecode: Path,
    cwd: Path | None = None,
) -> AsyncIterator[R]:
    with TemporaryFile() as said:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=said, stderr=said, cwd=cwd, env=_environment(bytecode),
            start_new_session=True,
        )  # fmt: skip
        running = made(process, said)
        try:
            yield running
        finally:
            await running.stop()


def _environment(bytecode: Path) -> dict[str, str]:
    """Ours without settings of perdure's, and with compiled modules kept as they are on any user's machine."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**environment, "PYTHONPYCACHEPREFIX": str(bytecode)}


def allow_many_sockets() -> None:
    """Raise this process's soft limit of open files to the hard one: a thousand readers are a thousand sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
