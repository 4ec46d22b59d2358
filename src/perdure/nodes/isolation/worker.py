"""A pool process: runs Python nodes, one attempt at a time, until the engine ends it.

What the code prints through `sys.stdout` and logs goes to the engine at once, in its order; what is
written to the descriptors 1 and 2 (by C code, by other processes) goes through pipes.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import msgspec

from perdure.errors import ControlFlow
from perdure.model.failure import Failure
from perdure.nodes.authoring import PROCESS
from perdure.nodes.interface import NodeFailed
from perdure.nodes.isolation import linux, wire
from perdure.nodes.isolation.channel import Channel, ChannelAttempt, LoggedRecords, PrintedText
from perdure.nodes.isolation.surroundings import Surroundings
from perdure.nodes.modules import Kind, file_of, kind_of, load_function, loaded_sources
from perdure.nodes.output import awaited, collected, collected_async, failure_of, json_of

_T = TypeVar("_T")
READ_FD = 3
WRITE_FD = 4
BOOT = "import sys; sys.path.append(sys.argv[1]); from perdure.nodes.isolation.worker import main; main()"
"""To be run with `python -P`, so that nothing in the current directory stands for a standard module."""


class AttemptStopped(ControlFlow):
    """SIGTERM came: the attempt is to end within its grace, its `finally` blocks may run."""


def main() -> NoReturn:
    try:
        Worker(Channel(read_fd=READ_FD, write_fd=WRITE_FD)).run()
    finally:
        # Threads that user code left behind and its atexit hooks have no say any more.
        os._exit(0)


class Worker:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._is_running = False
        self._is_stopped = False
        setup = channel.receive()
        assert isinstance(setup, wire.Setup)
        self._folders = setup.folders
        self._artifacts = setup.artifacts
        known = set(setup.folders)
        sys.path[:] = [*setup.folders, *(path for path in setup.sys_path if path not in known)]
        linux.become_subreaper()
        faulthandler.enable()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._stop)
        sys.stdin = open(os.devnull)  # noqa: SIM115
        self._streams = PrintedText(channel, "stdout", 1), PrintedText(channel, "stderr", 2)
        sys.stdout, sys.stderr = self._streams
        LoggedRecords(channel).install()
        os.register_at_fork(after_in_child=channel.detach)
        gc.collect()
        gc.freeze()
        self._surroundings = Surroundings()

    def run(self) -> None:
        self._channel.send(wire.Ready())
        while True:
            message = self._channel.receive()
            if isinstance(message, wire.Run):
                self._run(message)
                if self._is_stopped:
                    # Whoever sent TERM waits for the end of the process, as long as the grace lasts.
                    os._exit(0)
            elif isinstance(message, wire.Inspect):
                self._inspect(message)

    def _stop(self, number: int, frame: object) -> None:
        if not self._is_running:
            os._exit(0)
        self._is_stopped = True
        raise AttemptStopped

    def _inspect(self, message: wire.Inspect) -> None:
        try:
            function = load_function(message.target)
        except BaseException as error:
            self._channel.send(wire.Failed(failure=_failure(error), is_clean=False))
            return
        sources = loaded_sources(self._folders)
        file = file_of(message.target)
        self._channel.send(
            wire.Inspected(kind=kind_of(function), file=file if file in sources else None, sources=sources)
        )

    def _run(self, task: wire.Run) -> None:
        attempt = ChannelAttempt(self._channel, task.context, self._artifacts)
        PROCESS.attempt = attempt
        signal.signal(signal.SIGTERM, self._stop)
        # Code may have put others in their place and forgotten them.
        sys.stdout, sys.stderr = self._streams
        self._surroundings.enter(task.context)
        end: Callable[[bool], wire.Done | wire.Failed]
        try:
            self._is_running = True
            output = msgspec.Raw(_call(task, attempt))
            self._is_running = False
        except BaseException as error:
            self._is_running = False
            failure = _failure(error)
            end = lambda is_clean: wire.Failed(failure=failure, is_clean=is_clean)  # noqa: E731
        else:
            end = lambda is_clean: wire.Done(output=output, is_clean=is_clean)  # noqa: E731
        for stream in self._streams:
            stream.end()
        PROCESS.attempt = None
        self._channel.send(end(self._surroundings.leave()))


def _call(task: wire.Run, attempt: ChannelAttempt) -> bytes:
    function = load_function(task.target)
    kind = kind_of(function)
    if kind is Kind.GENERATOR:
        return collected(function(**task.arguments), attempt.yielded)
    if kind is Kind.ASYNC_GENERATOR:
        return _run_async(collected_async(function(**task.arguments), attempt.yielded))
    result = function(**task.arguments)
    if kind is Kind.ASYNC or hasattr(result, "__await__"):
        result = _run_async(awaited(result))
    return json_of(result)


def _run_async(coroutine: Coroutine[Any, Any, _T]) -> _T:
    # Costs 30 ms, which a process that runs sync functions only need not spend.
    import asyncio  # noqa: PLC0415

    return asyncio.run(coroutine)


def _failure(error: BaseException) -> Failure:
    if isinstance(error, NodeFailed):
        return error.failure
    return failure_of(error)
