"""An attempt whose code runs in the engine's own process: in its loop, or in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from perdure.artifacts.local import LocalStorage
from perdure.artifacts.names import artifact_name, recordable_media_type
from perdure.artifacts.names import media_type as guess
from perdure.base.texts import recordable
from perdure.nodes.authoring import CURRENT, Context, Published
from perdure.nodes.interface import Call, Sink
from perdure.nodes.lines import LineSplitter
from perdure.nodes.log_level import STREAM_LEVELS
from perdure.nodes.output import YieldPace

_LINES_UNTIL_WAIT = 256


def context_of(call: Call) -> Context:
    return Context(
        execution_id=call.execution_id,
        execution_number=call.execution_number,
        workspace=call.workspace,
        flow=call.flow,
        flow_version=call.flow_version,
        node=call.node,
        ordinal=call.ordinal,
        label=call.label,
        attempt=call.attempt,
        attempt_id=call.attempt_id,
        env=call.env,
    )


class LocalAttempt:
    """`perdure.nodes.authoring.Attempt` on the engine's loop; its methods may be called from any thread.

    After `end` nothing reaches the sink any more: what a task or thread that was left behind still
    prints is dropped.
    """

    def __init__(self, call: Call, storage: LocalStorage) -> None:
        self._call = call
        self._sink: Sink | None = call.sink
        self._storage = storage
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._context: Context | None = None
        self._streams: dict[str, LineSplitter] = {}
        self._pace = YieldPace()
        self.unheard_lines = 0
        self.threads: set[Future[Any]] = set()
        """What its code runs in threads of the loop's executor, as long as that lasts."""
        self.stopping_since: float | None = None
        """When its code was told to end, by the loop's clock."""

    @property
    def context(self) -> Context:
        if self._context is None:
            self._context = context_of(self._call)
        return self._context

    @property
    def grace_us(self) -> int:
        """As the engine wants it now: it may have been lowered."""
        return self._call.grace_us

    @property
    def must_wait(self) -> bool:
        """Whether so much was logged that the sink is to be asked before the code goes on."""
        return self.unheard_lines >= _LINES_UNTIL_WAIT

    def waits_for(self, future: Future[Any]) -> None:
        self.threads.add(future)
        future.add_done_callback(self.threads.discard)

    async def ready(self) -> None:
        self.unheard_lines = 0
        if self._sink is not None:
            await self._sink.ready()

    def write(self, stream: str, text: str) -> None:
        splitter = self._streams.setdefault(stream, LineSplitter())
        lines = splitter.feed(recordable(text).encode())
        if lines:
            self._tell(lambda sink: _log_lines(sink, stream, lines), len(lines))

    def log(self, level: str, message: str) -> None:
        self._tell(lambda sink: sink.log(level, message), 1)

    def progress(self, fraction: float | None, message: str | None) -> None:
        self._tell(lambda sink: sink.progress(fraction, message), 0)

    def yielded(self, count: int) -> None:
        if self._pace.is_due(count):
            self.progress(None, f"{count} yielded")

    def publish(self, source: str | bytes, *, name: str, media_type: str | None) -> Published:
        checked = artifact_name(name)
        media = recordable_media_type(media_type) if media_type else guess(checked)
        storage = self._storage
        stored = storage.store_bytes(source) if isinstance(source, bytes) else storage.store_file(source)
        self._tell(
            lambda sink: sink.artifact(
                name=checked,
                path=stored.path,
                media_type=media,
                size_bytes=stored.size_bytes,
                sha256=stored.sha256,
            ),
            0,
        )
        return Published(name=checked, media_type=media, size_bytes=stored.size_bytes, sha256=stored.sha256.hex())

    def end(self) -> None:
        """To be called on the loop when the code is over."""
        if self._sink is not None:
            for stream, splitter in self._streams.items():
                _log_lines(self._sink, stream, splitter.flush())
        self._sink = None

    def _tell(self, what: Callable[[Sink], Any], lines: int) -> None:
        self.unheard_lines += lines
        if threading.get_ident() == self._loop_thread:
            self._tell_now(what)
            return
        self._loop.call_soon_threadsafe(self._tell_now, what)
        if self.must_wait:
            asyncio.run_coroutine_threadsafe(self.ready(), self._loop).result()

    def _tell_now(self, what: Callable[[Sink], Any]) -> None:
        if self._sink is None:
            return
        # What the engine itself logs while it listens is not the attempt's.
        outer = CURRENT.set(None)
        try:
            what(self._sink)
        finally:
            CURRENT.reset(outer)


def _log_lines(sink: Sink, stream: str, lines: list[str]) -> None:
    for line in lines:
        sink.log(STREAM_LEVELS[stream], line, stream=stream)
