"""A node runtime with real processes, and calls whose sink keeps what it is told."""

import asyncio
import contextlib
import os
import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from perdure.nodes.interface import Call, NodeFailed, NodeType
from perdure.nodes.isolation import linux
from perdure.nodes.registry import load_node_types
from perdure.nodes.runtime import NodeRuntime, RuntimeSettings

_numbers = count(1)


class RecordingSink:
    """Keeps everything; `line` waits for a message. A `gate` that is closed holds up whoever logs."""

    def __init__(self) -> None:
        self.logs: list[tuple[str, str, str | None]] = []
        self.artifacts: list[dict[str, Any]] = []
        self.told: list[tuple[float | None, str | None]] = []
        self.is_placed = True
        self.gate = asyncio.Event()
        self.gate.set()
        self.changed = asyncio.Event()
        self.attempt: asyncio.Task[Any] | None = None

    def log(self, level: str, message: str, *, stream: str | None = None, at: int | None = None) -> None:
        self.logs.append((level, message, stream))
        self.changed.set()

    def waiting(self) -> None:
        self.is_placed = False
        self.changed.set()

    def placed(self) -> None:
        self.is_placed = True

    async def waits(self) -> None:
        """Returns when the attempt waits for a place."""
        while self.is_placed:
            self.changed.clear()
            await self.changed.wait()

    async def ready(self) -> None:
        await self.gate.wait()

    def artifact(self, *, name: str, path: str, media_type: str, size_bytes: int, sha256: bytes) -> None:
        self.artifacts.append(
            {"name": name, "path": path, "media_type": media_type, "size_bytes": size_bytes, "sha256": sha256}
        )

    def progress(self, fraction: float | None, message: str | None = None) -> None:
        self.told.append((fraction, message))

    @property
    def lines(self) -> list[str]:
        return [message for _, message, _ in self.logs]

    async def line(self, start: str) -> str:
        """The first message that begins so, as soon as there is one, without that beginning."""
        while True:
            for message in self.lines:
                if message.startswith(start):
                    return message.removeprefix(start)
            if self.attempt is not None and self.attempt.done():
                raise AssertionError(f"no {start!r} in {self.lines}; the attempt has ended: {self.attempt}")
            self.changed.clear()
            await self.changed.wait()


def make_call(config: Any, *, sink: RecordingSink | None = None, **fields: Any) -> Call:
    number = next(_numbers)
    values: dict[str, Any] = {
        "execution_id": f"execution-{number}",
        "execution_number": number,
        "workspace": "default",
        "flow": "default/test",
        "flow_version": 1,
        "node": "work",
        "ordinal": 0,
        "label": "",
        "attempt": 1,
        "attempt_id": f"attempt-{number}-{os.getpid()}",
        "epoch": 1,
        "with_": {},
        "env": {},
        "isolation": None,
        "grace_us": 200_000,
        "quarantine": False,
    }
    return Call(config=config, sink=sink or RecordingSink(), **{**values, **fields})


class Nodes:
    """A runtime that runs, its node types, and a flow folder to write modules into."""

    def __init__(self, runtime: NodeRuntime, folder: Path) -> None:
        self.runtime = runtime
        self.folder = folder
        self.types: dict[str, NodeType] = load_node_types(runtime)

    def module(self, name: str, text: str) -> None:
        path = self.folder / f"{name}.py"
        if path.exists() and path.read_text() != text:
            self.runtime.recycle()
        path.write_text(text)

    async def run(self, type_name: str, config: Any, **fields: Any) -> Any:
        return await self.types[type_name].run(make_call(config, **fields))

    async def failure(self, type_name: str, config: Any, **fields: Any) -> Any:
        with pytest.raises(NodeFailed) as caught:
            await self.run(type_name, config, **fields)
        return caught.value.failure

    def start(self, type_name: str, config: Any, **fields: Any) -> tuple[asyncio.Task[Any], RecordingSink]:
        sink = RecordingSink()
        sink.attempt = asyncio.create_task(self.types[type_name].run(make_call(config, sink=sink, **fields)))
        sink.attempt.add_done_callback(lambda task: sink.changed.set())
        return sink.attempt, sink


@asynccontextmanager
async def running_nodes(tmp_path: Path, **settings: Any) -> AsyncIterator[Nodes]:
    folder = tmp_path / "flows"
    folder.mkdir(exist_ok=True)
    runtime = NodeRuntime(
        RuntimeSettings(home=str(tmp_path / "home"), flow_folders=(str(folder),), **{"pool_warm": 0, **settings})
    )
    await runtime.start()
    try:
        yield Nodes(runtime, folder)
    finally:
        await runtime.stop()


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    async with running_nodes(tmp_path) as running:
        yield running


def is_running(pid: int) -> bool:
    seen = linux.look_at(pid)
    return seen is not None and seen.is_alive


async def gone(pid: int) -> None:
    """Returns when the process is dead; it need not be ours."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            await asyncio.to_thread(select.select, [handle], [], [])
        finally:
            os.close(handle)
