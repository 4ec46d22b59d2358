"""The engine: owns executions, advances them, and takes what callers ask of it."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import structlog

from perdure.base.clock import SECOND, Clock
from perdure.base.ids import id_text, new_id
from perdure.engine.catalog import Catalog
from perdure.engine.folders import Folders
from perdure.engine.hub import Hub
from perdure.engine.later import Later
from perdure.engine.loops.claimer import Claimer
from perdure.engine.loops.heartbeat import HeartbeatSender
from perdure.engine.loops.housekeeper import CounterFolder, Trimmer
from perdure.engine.loops.loop import Loop
from perdure.engine.loops.timekeeper import Timekeeper
from perdure.engine.owner import Owner
from perdure.engine.owners import Owners
from perdure.engine.requests import StartRequest
from perdure.engine.secrets import Masker
from perdure.engine.settings import EngineSettings
from perdure.engine.shop import Shop
from perdure.engine.starts import Starts
from perdure.engine.values import Values
from perdure.engine.watchdog import Watchdog
from perdure.engine.why import why
from perdure.errors import CallerError, Draining, ExecutionEnded, ExecutionNotFound
from perdure.flows.program import Program
from perdure.model.event import TERMINAL_TYPES
from perdure.model.states import TERMINAL, ExecutionStatus
from perdure.nodes.registry import load_node_types
from perdure.nodes.runtime import NodeRuntime
from perdure.store.commands import (
    CancelExecutions,
    InterruptWorkers,
    RegisterWorker,
    StartExecutions,
    StopWorker,
)
from perdure.store.interface import BatchOutcome, Store
from perdure.store.recorder import Recorder
from perdure.store.records import NewExecution, Started, Value, WorkerRecord

log = structlog.get_logger(__name__)


class Engine:
    """One process's engine over one store. Give `on_batch` to the recorder as its listener."""

    def __init__(
        self,
        *,
        store: Store,
        recorder: Recorder,
        clock: Clock,
        settings: EngineSettings,
        secrets: Mapping[str, str] | None = None,
        random: Random | None = None,
    ) -> None:
        self.store = store
        self.recorder = recorder
        self.runtime = runtime = NodeRuntime(settings.runtime_settings())
        node_types = load_node_types(runtime)
        self.clock = clock
        self.settings = settings
        self.hub = Hub()
        self.catalog = Catalog(store=store, recorder=recorder, clock=clock, node_types=node_types)
        self.folders = Folders(settings.flow_folders, store=store, catalog=self.catalog, runtime=runtime)
        self.values = Values(runtime.storage)
        self.starts = Starts(self.catalog, self.values, clock)
        self.draining = False
        self._stopping: asyncio.Task[None] | None = None
        self.worker = WorkerRecord(
            id=id_text(new_id()), number=0, name=settings.worker_name, host=platform.node(), pid=os.getpid(),
            started_at=clock.now(), heartbeat_at=clock.now(),
        )  # fmt: skip
        self._shop = Shop(
            clock=clock, loop=asyncio.get_running_loop(), recorder=recorder, later=Later(asyncio.get_running_loop()), store=store,
            node_types=node_types, settings=settings, values=self.values, secrets=secrets or {},
            masker=Masker(secrets or {}), random=random or Random(), starts=self.starts, worker=self.worker.id,
        )  # fmt: skip
        self.owners = Owners(self._shop, self.catalog, on_free=self._slot_freed)
        self._ends: dict[bytes, list[asyncio.Future[None]]] = {}
        self._watchdog = Watchdog(blocked=_loop_is_blocked)
        self._timekeeper = Timekeeper(recorder=recorder, clock=clock)
        self._claimer = Claimer(
            recorder=recorder, clock=clock, worker=self.worker.id, queues=settings.queues,
            everything=settings.claim, free=self._free_slots, take=self.owners.take,
        )  # fmt: skip
        self._claiming = Loop("claimer", self._claimer.work)
        self._timing = Loop("timekeeper", self._timekeeper.work)
        self._timekeeper.due = self._timing.wake
        heartbeat = HeartbeatSender(recorder=recorder, clock=clock, worker=self.worker.id, fenced=self._fenced)
        self._loops = [
            self._claiming,
            self._timing,
            Loop("heartbeat", heartbeat.work),
            Loop("folders", self.folders.work),
            Loop("counters", CounterFolder(recorder=recorder, clock=clock).work),
            Loop("trimmer", Trimmer(recorder=recorder, clock=clock, settings=settings).work),
        ]

    async def start(self) -> None:
        """Register as a worker, make what a dead predecessor left claimable, begin to claim."""
        await self.runtime.start()
        await self.folders.load()
        self.folders.watch()
        number = await self.recorder.execute(RegisterWorker(at=self.clock.now(), worker=self.worker))
        self.worker.number = number
        recovered = await self.recorder.execute(InterruptWorkers(at=self.clock.now(), all_but=self.worker.id))
        if recovered:
            log.info("recovering executions of a process that died", executions=len(recovered))
        for loop in self._loops:
            loop.start()
        self._watchdog.start()

    async def stop(self, *, drain: bool = True) -> None:
        """Stop claiming and starting; give running attempts the drain time; hand the rest back; say goodbye.

        Called again meanwhile, it waits for the same end; without `drain`, that one hurries.
        """
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop(self.settings.drain if drain else 0))
        elif not drain:
            self.owners.hurry()
        await asyncio.shield(self._stopping)

    async def _stop(self, drain: int) -> None:
        self.draining = True
        self._watchdog.stop()
        await self.folders.close()
        for loop in self._loops:
            await loop.stop()
        await self.owners.wind_up(drain / SECOND)
        await self.recorder.execute(StopWorker(at=self.clock.now(), worker=self.worker.id))
        await self.recorder.close()
        await self.runtime.stop()

    # What callers ask for

    async def start_executions(
        self, requests: Sequence[StartRequest], *, atomic: bool = False
    ) -> list[Started | CallerError]:
        """Start executions; durable when it returns. With `atomic`, the first error undoes all and is raised.

        Raises `Draining`, `StoreError`.
        """
        if self.draining:
            raise Draining("the server is shutting down; start it elsewhere or try again")
        answers: list[Started | CallerError | None] = []
        built: list[tuple[NewExecution, Program]] = []
        for request in requests:
            try:
                built.append(await self.starts.build(request))
                answers.append(None)
            except CallerError as error:
                if atomic:
                    raise
                answers.append(error)
        claimable = self._reserve(len(built))
        for execution, _ in built[:claimable]:
            execution.claim_by = self.worker.id
        try:
            started = await self._insert([execution for execution, _ in built], atomic=atomic)
            outcomes = iter(zip(built, started, strict=True))
            return [
                self._started(*next(outcomes), request) if answer is None else answer
                for answer, request in zip(answers, requests, strict=True)
            ]
        finally:
            self.owners.unreserve(claimable)

    async def _insert(self, executions: list[NewExecution], *, atomic: bool) -> list[Started | CallerError]:
        if not executions:
            return []
        command = StartExecutions(at=self.clock.now(), executions=executions, atomic=atomic)
        started: list[Started | CallerError] = await self.recorder.execute(command)
        return started

    def _started(
        self, built: tuple[NewExecution, Program], started: Started | CallerError, request: StartRequest
    ) -> Started | CallerError:
        execution, program = built
        if isinstance(started, Started) and started.id == execution.id and started.status is ExecutionStatus.RUNNING:
            self.owners.begin(execution, program, started, request.input)
        return started

    async def cancel_executions(
        self, workspace: str, ids: Sequence[bytes], *, reason: str | None = None, force: bool = False
    ) -> list[ExecutionStatus | CallerError]:
        """Cancel each; an owned one has taken note of it (or ended) when this returns."""
        command = CancelExecutions(at=self.clock.now(), workspace=workspace, ids=list(ids), reason=reason, force=force)
        answers: list[ExecutionStatus | CallerError] = await self.recorder.execute(command)
        for index, (id_, answer) in enumerate(zip(ids, answers, strict=True)):
            if isinstance(answer, ExecutionStatus) and answer not in TERMINAL:
                answers[index] = await self._noted(workspace, id_, answer)
        return answers

    async def _noted(self, workspace: str, id_: bytes, answer: ExecutionStatus) -> ExecutionStatus | CallerError:
        """What an owned execution made of its cancellation: it may have ended by itself before it heard of it."""
        await self.owners.deliver([id_])
        owner = self.owners.get(id_)
        if owner is not None:
            await owner.durable()
        record = await self.store.executions.get(workspace, id_)
        if record is None:
            return answer
        if record.status in TERMINAL and record.status is not ExecutionStatus.CANCELLED:
            message = f"execution {id_text(id_)} has ended: it is {record.status}"
            return ExecutionEnded(message, id=id_text(id_), status=str(record.status))
        return record.status

    async def wait_ended(self, workspace: str, id_: bytes, timeout: int, *, is_fresh: bool = False) -> bool:
        """Whether the execution is terminal, at the latest after `timeout` microseconds. `ExecutionNotFound`.

        `is_fresh`: `start_executions` has just given it back as running, so that it cannot have ended before this call.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._ends.setdefault(id_, [])
        waiters.append(future)
        try:
            if not is_fresh:
                record = await self.store.executions.get(workspace, id_)
                if record is None:
                    raise ExecutionNotFound(f"there is no execution {id_text(id_)}")
                if record.status in TERMINAL:
                    return True
            async with asyncio.timeout(timeout / SECOND):
                await future
        except TimeoutError:
            return False
        finally:
            waiters.remove(future)
            if not waiters and self._ends.get(id_) is waiters:
                del self._ends[id_]
        return True

    def claim_family(self, id_: bytes) -> None:
        """Claim that execution and those below it, whenever they can be had (`perdure run`)."""
        self._claimer.root = id_
        self._claiming.wake()

    async def payload_text(self, value: Value | None) -> str | None:
        """A stored value as JSON text, from its row or its blob."""
        return await self.values.text(value)

    async def why(self, workspace: str, id_: bytes) -> dict[str, Any]:
        """See `perdure.engine.why`."""
        return await why(self.store, workspace, id_)

    def describe(self) -> dict[str, Any]:
        """For system info and metrics."""
        return {
            "worker": self.worker.id,
            "slots": self.settings.slots,
            "owned": len(self.owners),
            "draining": self.draining,
            "subscriptions": len(self.hub),
            "loop_blocked": self._watchdog.stretches,
            "nodes": self.runtime.describe(),
            "loops": {loop.name: loop.last_error for loop in self._loops},
        }

    # What the recorder tells

    def on_batch(self, outcome: BatchOutcome) -> None:
        """The recorder committed a batch: tell whoever waits for something in it."""
        self.hub.publish(outcome.chunks)
        if self._ends:
            for chunk in outcome.chunks:
                if chunk.execution_id in self._ends and any(e.type in TERMINAL_TYPES for e in chunk.events):
                    for future in self._ends[chunk.execution_id]:
                        if not future.done():
                            future.set_result(None)
        if outcome.deliveries:
            ids = [id_ for worker, id_ in outcome.deliveries if worker == self.worker.id]
            self.owners.deliver_soon(ids)
        if outcome.claimable:
            self._claiming.wake()
        if outcome.due_at is not None:
            self._timekeeper.expect(outcome.due_at)

    def _fenced(self) -> None:
        """Others took this worker for dead: what it owned is theirs now."""
        log.error("this worker was given up by the store; it lets go of all its executions", worker=self.worker.id)
        self.owners.leave_all()

    # Slots

    def _free_slots(self) -> int:
        return 0 if self.draining else self.settings.slots - len(self.owners) - self.owners.reserved

    def _reserve(self, wanted: int) -> int:
        """Reserve up to `wanted` slots for starts that are inserted already claimed."""
        got = max(min(wanted, self._free_slots()), 0)
        self.owners.reserved += got
        return got

    def _slot_freed(self, owner: Owner) -> None:
        if not self.draining and self._free_slots() == 1:
            self._claiming.wake()


def _loop_is_blocked(place: str) -> None:
    log.warning(
        "the event loop is blocked: nothing else goes on until this ends; give the node `isolation: process`, or await",
        place=place,
    )
