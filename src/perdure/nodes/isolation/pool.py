"""The warm pool: Python processes that run one attempt at a time and are kept for the next."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Any

from perdure.base.codec import Json
from perdure.model.failure import Failure
from perdure.nodes.interface import Call, NodeCrashed, NodeFailed, NodeOrphaned
from perdure.nodes.isolation import wire
from perdure.nodes.isolation.pool_process import PoolProcess, ProcessDied, Unkillable, signal_name
from perdure.nodes.isolation.supervision import Ended, SpawnFailed, Supervision
from perdure.nodes.slots import Slots

_RETIRE_GRACE_US = 1_000_000
_INSPECTING = 4
"""Functions that are looked at at a time, so that a module which hangs does not hold up the others."""


class Pool:
    """
    Args:
        supervision: starts the processes.
        size: how many attempts may run at a time.
        quarantine_size: how many quarantined ones may run beside them.
        import_s: how many seconds the import of a module may take while it is found out what its functions are.
        setup: gives what a new process is told first.
    """

    def __init__(
        self,
        supervision: Supervision,
        *,
        size: int,
        quarantine_size: int,
        import_s: float,
        setup: Callable[[], wire.Setup],
    ) -> None:
        self._supervision = supervision
        self._setup = setup
        self._slots = Slots(size)
        self._quarantine = Slots(quarantine_size)
        self._idle: list[PoolProcess] = []
        self._inspecting = Slots(_INSPECTING)
        self._import_s = import_s
        self._generation = 0
        self._retiring: set[asyncio.Task[None]] = set()
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
        self._died = 0

    async def warm_up(self, count: int) -> None:
        """Have this many processes waiting for work."""
        for _ in range(min(count, self._slots.limit) - len(self._idle)):
            process = await self._spawn()
            await process.is_ready()
            self._give_back(process)

    async def stop(self) -> None:
        self.recycle()
        while self._retiring:
            await asyncio.wait(self._retiring)

    def recycle(self) -> None:
        """From now on every attempt runs in a process that has imported nothing yet."""
        self._generation += 1
        idle, self._idle = self._idle, []
        for process in idle:
            self._retire(process)

    def resize(self, size: int) -> None:
        self._slots.resize(size)
        while len(self._idle) > size:
            self._retire(self._idle.pop(0))

    def describe(self) -> dict[str, Any]:
        return {
            "size": self._slots.limit,
            "busy": self._slots.used,
            "idle": len(self._idle),
            "waiting": self._slots.waiting,
            "died": self._died,
            "quarantine": {
                "size": self._quarantine.limit,
                "busy": self._quarantine.used,
                "waiting": self._quarantine.waiting,
            },
        }

    async def inspect(self, target: str) -> wire.Inspected:
        """What kind of function this is, found out in a pool process.

        It takes no place: an async function, which needs none, must not wait for those that do.
        Raises NodeFailed when it cannot be imported, or not in time. When it ends otherwise than by an
        answer, the importing process is dead.
        """
        async with self._inspecting:
            process = await self._take()
            try:
                await process.is_ready()
                async with asyncio.timeout(self._import_s):
                    found = await process.inspect(target)
            except TimeoutError:
                raise NodeFailed(slow_import_failure(target, self._import_s)) from None
            except ProcessDied as died:
                self._died += 1
                raise NodeFailed(died_failure(died.ended, f"while it imported {target}")) from None
            except Unkillable as unkillable:
                raise NodeFailed(unkillable_failure(unkillable.pids)) from None
            finally:
                self._give_back(process)
        if isinstance(found, wire.Failed):
            raise NodeFailed(found.failure)
        return found

    async def run(self, task: wire.Run, call: Call) -> Json:
        """The output of one attempt.

        In quarantine it has a place apart and a fresh process, which is not used again. Raises
        NodeFailed, NodeCrashed (the quarantined process died), NodeOrphaned.
        """
        call.sink.waiting()
        async with self._quarantine if call.quarantine else self._slots:
            process = await (self._spawn() if call.quarantine else self._take())
            try:
                await process.is_ready()
                call.sink.placed()
                end = await process.run(task, call)
            except ProcessDied as died:
                self._died += 1
                failed = NodeCrashed if call.quarantine else NodeFailed
                raise failed(died_failure(died.ended, "in the middle of the attempt")) from None
            except Unkillable as unkillable:
                raise NodeOrphaned(unkillable_failure(unkillable.pids), lives=None) from None
            finally:
                process.is_reusable = process.is_reusable and not call.quarantine
                self._give_back(process)
        if isinstance(end, wire.Failed):
            raise NodeFailed(end.failure)
        return end.output

    async def _take(self) -> PoolProcess:
        while self._idle:
            process = self._idle.pop()
            if process.is_alive:
                return process
            self._retire(process)
        return await self._spawn()

    async def _spawn(self) -> PoolProcess:
        try:
            return await PoolProcess.spawn(self._supervision, self._setup(), env=self._env, generation=self._generation)
        except (SpawnFailed, OSError) as error:
            raise NodeFailed(spawn_failure(error, "a Python process")) from None

    def _give_back(self, process: PoolProcess) -> None:
        is_wanted = len(self._idle) < self._slots.limit
        if process.is_reusable and process.is_alive and process.generation == self._generation and is_wanted:
            self._idle.append(process)
        else:
            self._retire(process)

    def _retire(self, process: PoolProcess) -> None:
        task = asyncio.get_running_loop().create_task(self._end(process))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _end(self, process: PoolProcess) -> None:
        with contextlib.suppress(Unkillable):
            await process.stop(_RETIRE_GRACE_US)


def died_failure(ended: Ended, when: str) -> Failure:
    """`process_died`, with the signal or the exit code."""
    name = signal_name(ended.signal) if ended.signal is not None else None
    if ended.lost is not None:
        how = f"was killed: {ended.lost},"
    elif name is not None:
        how = f"was killed by {name}"
    else:
        how = f"ended with exit code {ended.code}"
    hint = " (out of memory? the kernel or a container ends processes this way)" if name == "SIGKILL" else ""
    return Failure(
        code="process_died",
        message=f"the process {how} {when}{hint}",
        details={"signal": name, "exit_code": ended.code, "max_rss_kb": ended.max_rss_kb},
        error_types=("process_died",),
    )


def slow_import_failure(target: str, import_s: float) -> Failure:
    """`import_timeout`."""
    return Failure(
        code="import_timeout",
        message=f"the module of {target} was not imported within {import_s:g} s; what takes long belongs into the function",
        error_types=("import_timeout",),
    )


def spawn_failure(error: SpawnFailed | OSError, what: str) -> Failure:
    """`process_not_started`; retryable unless the program or the directory is missing.

    An OSError is the engine's own want: descriptors, disk.
    """
    where = error.where if isinstance(error, SpawnFailed) else "engine"
    text = error.text if isinstance(error, SpawnFailed) else error.strerror
    return Failure(
        code="process_not_started",
        message=f"{what} could not be started ({where}): {text}",
        details={"where": where, "errno": error.errno},
        retryable=where in {"supervisor", "engine"},
        error_types=("process_not_started",),
    )


def unkillable_failure(pids: tuple[int, ...]) -> Failure:
    return Failure(
        code="orphaned",
        message=f"processes are still there after SIGKILL: {', '.join(map(str, pids)) or 'unknown'}",
        details={"pids": list(pids)},
        error_types=("orphaned",),
    )
