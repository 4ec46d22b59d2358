"""The engine's handle of one pool process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial

import msgspec

from perdure.nodes.interface import Call, Sink
from perdure.nodes.isolation import wire, worker
from perdure.nodes.isolation.pipes import PipeLines, close_all, open_pipes
from perdure.nodes.isolation.supervision import IMPORT_ROOT, Child, Ended, Supervision, surely
from perdure.nodes.log_level import STREAM_LEVELS

_LINES_UNTIL_PAUSE = 200
_WORD_OF_END_S = 0.5


class ProcessDied(Exception):
    """The pool process ended in the middle of an attempt."""

    def __init__(self, ended: Ended) -> None:
        super().__init__("the process died")
        self.ended = ended


class Unkillable(Exception):
    """Some of the attempt's processes are still there after SIGKILL."""

    def __init__(self, pids: tuple[int, ...]) -> None:
        super().__init__(f"cannot be killed: {pids}")
        self.pids = pids


class PoolProcess:
    def __init__(self, child: Child, line: _WorkerLine, pipes: Sequence[PipeLines], generation: int) -> None:
        self.generation = generation
        self.is_reusable = True
        self._child = child
        self._line = line
        self._pipes = pipes

    @classmethod
    async def spawn(
        cls, supervision: Supervision, setup: wire.Setup, *, env: dict[str, str], generation: int
    ) -> PoolProcess:
        """Start a process and tell it where things are; it takes its first work as soon as it is up.

        Raises SpawnFailed, OSError (no descriptor left).
        """
        (orders_end, orders), (answers, answers_end), (out, out_end), (err, err_end), (null, no_input) = open_pipes(5)
        try:
            child = await supervision.spawn(
                [sys.executable, "-P", "-c", worker.BOOT, IMPORT_ROOT],
                env=env,
                cwd=None,
                fds=[null, out_end, err_end, orders_end, answers_end],
            )
        except BaseException:
            close_all(orders, answers, out, err)
            raise
        finally:
            close_all(null, no_input, out_end, err_end, orders_end, answers_end)
        line = _WorkerLine()
        try:
            await line.open(orders, answers)
        except BaseException:
            line.cut()
            close_all(out, err)
            await surely(child.stop(0))
            raise
        pipes = [
            PipeLines(fd, emit=partial(line.emit, stream), ready=line.ready)
            for fd, stream in ((out, "stdout"), (err, "stderr"))
        ]
        line.send(setup)
        return cls(child, line, pipes, generation)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        return not self._line.is_lost

    async def is_ready(self) -> bool:
        """Returns when it is up, or has died."""
        if not self._line.up.done():
            await asyncio.wait({self._line.up})
        return self.is_alive

    async def inspect(self, target: str) -> wire.Inspected | wire.Failed:
        """Raises ProcessDied."""
        end = await self._ask(wire.Inspect(target=target))
        assert isinstance(end, wire.Inspected | wire.Failed)
        return end

    async def run(self, task: wire.Run, call: Call) -> wire.Done | wire.Failed:
        """One attempt. Returns when nothing of it is left, not a thread or a child process of its code either.

        When cancelled, it ends the process and all that it started first. Raises ProcessDied,
        Unkillable.
        """
        end = await self._ask(task, call)
        assert isinstance(end, wire.Done | wire.Failed)
        return end

    async def stop(self, grace_us: int) -> None:
        """End it with all that it started. Raises Unkillable."""
        self.is_reusable = False
        ended = await self._child.stop(grace_us)
        if ended is None:
            raise Unkillable(self._child.unkillable)
        await self._finish()

    async def _ask(self, message: wire.FromEngine, call: Call | None = None) -> wire.FromWorker:
        answer = self._line.ask(message, call.sink if call is not None else None)
        try:
            end = await answer
        except asyncio.CancelledError:
            grace_us = call.grace_us if call is not None else 0
            await surely(self.stop(grace_us), again=lambda: self._child.hurry(call.grace_us if call is not None else 0))
            raise
        except ConnectionError:
            ended = await surely(self._died())
            raise ProcessDied(ended) from None
        if isinstance(end, wire.Done | wire.Failed) and not end.is_clean:
            await surely(self.stop(0))
        else:
            for pipe in self._pipes:
                pipe.drain()
                pipe.flush()
        self._line.sink = None
        return end

    async def _died(self) -> Ended:
        self.is_reusable = False
        if not self._line.is_cut:
            # The end of the line and the word of the end come from different processes, in any order.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WORD_OF_END_S):
                    await self._child.ended()
        is_over = self._child.is_over
        ended = await self._child.stop(0)
        if ended is None:
            raise Unkillable(self._child.unkillable)
        await self._finish()
        return ended if is_over else Ended(lost="its code broke its line to the engine")

    async def _finish(self) -> None:
        """Everything is dead: take what it had still said."""
        await self._line.closed
        for pipe in self._pipes:
            await pipe.finish()
        self._line.sink = None


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class _WorkerLine(asyncio.Protocol):
    """The line to a pool process: a pipe for orders, and one for answers, whose protocol this is."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.sink: Sink | None = None
        self.closed: asyncio.Future[None] = loop.create_future()
        self.up: asyncio.Future[None] = loop.create_future()
        self.is_lost = False
        self.is_cut = False
        self._orders: asyncio.WriteTransport | None = None
        self._answers: asyncio.ReadTransport | None = None
        self._received = bytearray()
        self._needed = 0
        self._answer: asyncio.Future[wire.FromWorker] | None = None
        self._unpaused_lines = 0
        self._pause: asyncio.Task[None] | None = None

    async def open(self, orders: int, answers: int) -> None:
        """Carried to its end: broken off halfway, descriptors would be closed twice, by the loop and by a file object."""
        await surely(self._open(orders, answers))

    async def _open(self, orders: int, answers: int) -> None:
        loop = asyncio.get_running_loop()
        self._orders, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(orders, "wb", buffering=0))
        self._answers, _ = await loop.connect_read_pipe(lambda: self, os.fdopen(answers, "rb", buffering=0))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if self._orders is not None:
            self._orders.abort()
        for future in (self.closed, self.up):
            if not future.done():
                future.set_result(None)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the pool process is gone"))

    def send(self, message: wire.FromEngine) -> None:
        assert self._orders is not None
        self._orders.write(wire.frame(message))

    def ask(self, message: wire.FromEngine, sink: Sink | None) -> asyncio.Future[wire.FromWorker]:
        answer: asyncio.Future[wire.FromWorker] = asyncio.get_running_loop().create_future()
        self.sink = sink
        self._answer = answer
        if self.is_lost:
            answer.set_exception(ConnectionResetError("the pool process is gone"))
        else:
            self.send(message)
        return answer

    def emit(self, stream: str, lines: list[str], at: int | None = None) -> None:
        sink = self.sink
        if sink is not None:
            level = STREAM_LEVELS[stream]
            for line in lines:
                sink.log(level, line, stream=stream, at=at)

    async def ready(self) -> None:
        if self.sink is not None:
            await self.sink.ready()

    def data_received(self, data: bytes) -> None:
        if self._received:
            self._received += data
            if len(self._received) < self._needed:
                return
            data = bytes(self._received)
            self._received.clear()
        start, end = 0, len(data)
        while end - start >= 4:
            size = int.from_bytes(data[start : start + 4], "little")
            if size > wire.MAX_FRAME:
                self.cut()
                return
            if end - start < 4 + size:
                self._needed = 4 + size
                break
            start += 4
            try:
                self._take(wire.from_worker.decode(data[start : start + size]))
            except (msgspec.MsgspecError, ValueError):
                self.cut()
                return
            start += size
        if start < end:
            self._received += data[start:]
            if end - start < 4:
                self._needed = 4
        if self._unpaused_lines >= _LINES_UNTIL_PAUSE and self._pause is None and self._answers is not None:
            self._unpaused_lines = 0
            self._answers.pause_reading()
            self._pause = asyncio.get_running_loop().create_task(self._resume())

    async def _resume(self) -> None:
        try:
            await self.ready()
        finally:
            self._pause = None
            if self._answers is not None and not self._answers.is_closing():
                self._answers.resume_reading()

    def cut(self) -> None:
        """Not our frames: user code writes into the line. The process cannot be trusted with another word."""
        self.is_cut = True
        if self._answers is not None:
            self._answers.close()

    def _take(self, message: wire.FromWorker) -> None:
        sink = self.sink
        if isinstance(message, wire.Lines):
            self._unpaused_lines += len(message.lines)
            self.emit(message.stream, message.lines, message.at)
        elif isinstance(message, wire.Record):
            self._unpaused_lines += 1
            if sink is not None:
                sink.log(message.level, message.message, at=message.at)
        elif isinstance(message, wire.Progress):
            if sink is not None:
                sink.progress(message.fraction, message.message)
        elif isinstance(message, wire.ArtifactStored):
            if sink is not None:
                sink.artifact(
                    name=message.name,
                    path=f"{message.sha256[:2]}/{message.sha256}",
                    media_type=message.media_type,
                    size_bytes=message.size_bytes,
                    sha256=bytes.fromhex(message.sha256),
                )
        elif isinstance(message, wire.Ready):
            if not self.up.done():
                self.up.set_result(None)
        elif self._answer is not None and not self._answer.done():
            self._answer.set_result(message)
