"""The engine: owns executions, advances them, and takes what callers ask of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any

import structlog

from perdure.artifacts.interface import ArtifactStorage
from perdure.base.clock import SECOND, Clock
from perdure.base.codec import Json
from perdure.base.ids import id_text, new_id
from perdure.engine.answers import Answers
from perdure.engine.catalog import Catalog
from perdure.engine.diffs import Diffs
from perdure.engine.ends import Ends
from perdure.engine.eraser import Eraser
from perdure.engine.folders import Folders
from perdure.engine.hub import Hub
from perdure.engine.later import Later
from perdure.engine.loops.claimer import Claimer
from perdure.engine.loops.counter_folder import CounterFolder
from perdure.engine.loops.expirer import Expirer
from perdure.engine.loops.indexer import Indexer
from perdure.engine.loops.loop import Loop
from perdure.engine.loops.operator import Operator
from perdure.engine.loops.partitioner import Partitioner
from perdure.engine.loops.prober import Prober
from perdure.engine.loops.sweeper import Sweeper
from perdure.engine.loops.synchronizer import Synchronizer
from perdure.engine.loops.timekeeper import Timekeeper
from perdure.engine.loops.trimmer import Trimmer
from perdure.engine.membership import FORBIDDEN, Membership
from perdure.engine.neighbours import Neighbours
from perdure.engine.operations import Operations
from perdure.engine.orphans import Orphans
from perdure.engine.owners import Owners
from perdure.engine.pace import Pace
from perdure.engine.precedence import Precedence
from perdure.engine.replays import Replays
from perdure.engine.requests import ReplayRequest, StartRequest
from perdure.engine.searching import Searcher
from perdure.engine.secrets import Masker
from perdure.engine.settings import EngineSettings
from perdure.engine.shop import Shop
from perdure.engine.starts import Starts
from perdure.engine.text_heads import TextHeads
from perdure.engine.values import Values
from perdure.engine.watchdog import Watchdog
from perdure.engine.why import why
from perdure.errors import CallerError, Draining, ExecutionEnded, PerdureError, StoreError, StoreIncompatible
from perdure.flows.program import Program
from perdure.model.states import TERMINAL, ExecutionStatus
from perdure.nodes.interface import NodeType
from perdure.nodes.registry import load_node_types
from perdure.nodes.runtime import NodeRuntime
from perdure.store.commands import CancelExecutions, DeleteExecutions, StartExecutions, TagExecution
from perdure.store.interface import BatchOutcome, Store
from perdure.store.recorder import Recorder
from perdure.store.records import NewExecution, Started, Value, WorkerRecord

log = structlog.get_logger(__name__)

_CLAIMED_AT_ONCE = 100
_CLAIMED_AT_ONCE_SHARED = 25
"""Where others claim too, so that the first to come does not take all."""
_CLAIM_SCAN_S = 5.0
_CLAIM_POLL_S = 1.0
_TIMER_SCAN_S = 30.0
_TIMER_POLL_S = 1.0
"""On a shared store a timer whose setter has died is this late at most."""


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
        artifacts: ArtifactStorage | None = None,
        stand_in: NodeType | None = None,
    ) -> None:
        """`artifacts`: where contents are kept for all who share the store; None is the folder in the home.
        `stand_in` answers in the place of nodes with side effects."""
        self.store = store
        self.recorder = recorder
        self.runtime = runtime = NodeRuntime(settings.runtime_settings())
        node_types = load_node_types(runtime)
        self.clock = clock
        self.settings = settings
        self.hub = Hub()
        self.orphans = Orphans(clock)
        self.catalog = Catalog(store=store, recorder=recorder, clock=clock, node_types=node_types)
        self.folders = Folders(
            settings.flow_folders, store=store, catalog=self.catalog, runtime=runtime, puts=settings.puts_flows
        )
        self.artifacts = artifacts or runtime.storage
        self.values = Values(self.artifacts)
        self.starts = Starts(self.catalog, self.values, clock)
        self.replays = Replays(
            store=store, catalog=self.catalog, starts=self.starts, values=self.values, clock=clock, secrets=secrets or {},
        )  # fmt: skip
        heads = TextHeads(store.heads, self.artifacts)
        self.searcher = Searcher(store=store, heads=heads, clock=clock)
        self.eraser = Eraser(store=store, recorder=recorder, clock=clock)
        self.diffs = Diffs(store=store, catalog=self.catalog, values=self.values)
        self.draining = False
        self._stopping: asyncio.Task[None] | None = None
        self._membership = Membership(
            store=store, recorder=recorder, clock=clock, settings=settings, holds=self._holds, let_go=self._let_go,
            joined=self._registered, let_run_until=runtime.let_run_until,
        )  # fmt: skip
        draws = random or Random()
        self._pace = Pace(draws)
        self._shop = Shop(
            clock=clock, loop=asyncio.get_running_loop(), recorder=recorder, later=Later(asyncio.get_running_loop()), store=store,
            node_types=node_types, settings=settings, values=self.values, secrets=secrets or {},
            masker=Masker(secrets or {}), random=draws, starts=self.starts, replays=self.replays, orphans=self.orphans,
            worker=self.worker.id, has_room=lambda: self._free_slots() > 0, may_begin=self._membership.allows, artifacts=self.artifacts,
            stand_in=stand_in,
        )  # fmt: skip
        self.owners = Owners(self._shop, self.catalog, on_free=self._slot_freed)
        self.ends = Ends(store)
        self._watchdog = Watchdog(blocked=_loop_is_blocked)
        self._neighbours = self._meet_neighbours()
        self.answers = Answers(store=store, recorder=recorder, clock=clock, owners=self.owners, values=self.values)
        self._timekeeper = Timekeeper(
            recorder=recorder, clock=clock, pause_s=self._timer_pause_s, heeds_all=lambda: self._pace.is_one_of_few
        )
        self._claimer = self._make_claimer()
        self._indexer = Indexer(
            store=store, batches=lambda: recorder.stats.batches, clock=clock, heads=heads, pace=self._pace
        )  # fmt: skip
        self.operations = self._make_operations()
        self._claiming = Loop("claimer", self._claimer.work)
        self._timing = Loop("timekeeper", self._timekeeper.work)
        self._timekeeper.due = self._timing.wake
        self._loops = [self._timing, *self._chores()]

    def _meet_neighbours(self) -> Neighbours | None:
        """The other processes on a store that is shared."""
        if self.store.sharing is None:
            return None
        return Neighbours(
            store=self.store, signals=self.store.sharing.signals, recorder=self.recorder, clock=self.clock,
            lease=self.settings.lease, hub=self.hub, ends=self.ends, owners=self.owners, worker=self, pace=self._pace,
        )  # fmt: skip

    def _make_claimer(self) -> Claimer:
        return Claimer(
            recorder=self.recorder, clock=self.clock, settings=self.settings, worker=self._claims_as, free=self._free_slots,
            batch=_CLAIMED_AT_ONCE if self._neighbours is None else _CLAIMED_AT_ONCE_SHARED, take=self.owners.take,
            pause_s=self._claim_pause_s, pass_on=self._pass_on,
        )  # fmt: skip

    def _make_operations(self) -> Operations:
        """What is asked of many executions at once, and the loop that carries it out."""
        self._operator = Operator(
            store=self.store, recorder=self.recorder, clock=self.clock, replays=self.replays, searcher=self.searcher,
            eraser=self.eraser, holder=id_text(new_id()), lease=self.settings.lease, pace=self._pace,
        )  # fmt: skip
        self._operating = Loop("operator", self._operator.work)
        return Operations(
            store=self.store,
            recorder=self.recorder,
            searcher=self.searcher,
            clock=self.clock,
            wake=self._operating.wake,
        )

    def _chores(self) -> list[Loop]:
        """What any process does besides, for all or for itself."""
        store, clock, settings, pace = self.store, self.clock, self.settings, self._pace
        precedence = Precedence(store=store, clock=clock, lease=settings.lease, worker=lambda: self.worker_id)
        chores = [
            Loop("folders", self.folders.work),
            Loop("prober", Prober(recorder=self.recorder, clock=clock).work),
            Loop("counters", CounterFolder(recorder=self.recorder, clock=clock, pace=pace).work),
            Loop("trimmer", Trimmer(recorder=self.recorder, clock=clock, settings=settings, pace=pace).work),
        ]
        if settings.claim:
            chores += [Loop("indexer", self._indexer.work), self._operating]
            expirer = Expirer(
                store=store, eraser=self.eraser, clock=clock, retention=settings.retention, precedence=precedence, pace=pace
            )  # fmt: skip
            chores.append(Loop("expirer", expirer.work))
        if settings.works:
            sweeper = Sweeper(store=store, artifacts=self.artifacts, clock=clock, precedence=precedence, pace=pace)
            chores.append(Loop("sweeper", sweeper.work))
        if store.sharing is not None:
            partitioner = Partitioner(
                sharing=store.sharing, clock=clock, retention=settings.retention, precedence=precedence
            )  # fmt: skip
            chores.append(Loop("partitioner", partitioner.work))
            chores.append(Loop("synchronizer", Synchronizer(sharing=store.sharing, pace=pace).work))
        return chores

    async def start(self) -> None:
        """Register as a worker, make what a dead predecessor left claimable, begin to claim."""
        with suppress(StoreError):
            # Before the first content is put: a process that never sweeps has contents there too.
            await self.artifacts.claim(await self.store.contents.store_id(), in_advance=True)
        if self.settings.works:
            await self.runtime.start()
        await self.folders.load()
        self.folders.watch()
        if self._neighbours is not None:
            await self._neighbours.start()
        if self.settings.works:
            await self._membership.join()
            self._claiming.start()
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
        # What it has just claimed is to be handed back with the rest.
        await self._claiming.finish()
        for loop in self._loops:
            await loop.stop()
        await self.owners.wind_up(drain / SECOND)
        if self._neighbours is not None:
            await self._neighbours.stop()
        with suppress(StoreError):
            await self._operator.stop()
        with suppress(StoreError):
            await self._indexer.stop()
        try:
            await self._membership.leave()
        finally:
            await self.recorder.close()
            await self.runtime.stop()

    # What callers ask for

    async def start_executions(
        self, requests: Sequence[StartRequest], *, atomic: bool = False
    ) -> list[Started | PerdureError]:
        """Start executions; durable when it returns. With `atomic`, the first error undoes all and is raised.

        Raises `Draining`, `StoreError`.
        """
        if self.draining:
            raise Draining("the server is shutting down; start it elsewhere or try again")
        answers: list[Started | PerdureError | None] = []
        built: list[tuple[NewExecution, Program]] = []
        for request in requests:
            try:
                built.append(await self.starts.build(request))
                answers.append(None)
            except CallerError as error:
                answer = await self._repeated(request) or error
                if atomic and isinstance(answer, CallerError):
                    raise answer from None
                answers.append(answer)
        served = [execution for execution, _ in built if self._claimer.serves(execution.queue)]
        claimable = self._reserve(len(served))
        for execution in served[:claimable]:
            execution.claim_by = self.worker.id
        inserting = self._insert([execution for execution, _ in built], atomic=atomic)
        inputs = [request.input for answer, request in zip(answers, requests, strict=True) if answer is None]
        # First of its listeners, and whether or not whoever asked still waits: what is claimed in our name is ours to run.
        inserting.add_done_callback(lambda inserted: self._own(built, inputs, inserted, reserved=claimable))
        started = iter(await asyncio.shield(inserting))
        return [next(started) if answer is None else answer for answer in answers]

    async def replay_executions(self, requests: Sequence[ReplayRequest]) -> list[Started | PerdureError]:
        """Replay ended executions, each by itself; durable when it returns. Raises `Draining`, `StoreError`.

        A refusal is one of `Replays.draft`, or one of a start.
        """
        if self.draining:
            raise Draining("the server is shutting down; replay it elsewhere or try again")
        answers: list[Started | PerdureError | None] = []
        built: list[NewExecution] = []
        for request in requests:
            try:
                built.append(await self.replays.build(request))
                answers.append(None)
            except CallerError as error:
                answers.append(await self._repeated(request) or error)
        started = iter(await self._insert(built, atomic=False))
        return [next(started) if answer is None else answer for answer in answers]

    async def _repeated(self, request: StartRequest | ReplayRequest) -> Started | CallerError | None:
        """What answers a request whose key was used before: its flow may not take any more what it took then."""
        key = request.idempotency_key
        if key is None:
            return None
        return await self.store.executions.repeated(request.workspace, key, request.request_hash, self.clock.now())

    def _insert(self, executions: list[NewExecution], *, atomic: bool) -> asyncio.Future[list[Started | PerdureError]]:
        if executions:
            return self.recorder.submit(StartExecutions(at=self.clock.now(), executions=executions, atomic=atomic))
        nothing: asyncio.Future[list[Started | PerdureError]] = asyncio.get_running_loop().create_future()
        nothing.set_result([])
        return nothing

    def _own(
        self,
        built: Sequence[tuple[NewExecution, Program]],
        inputs: Sequence[Json],
        inserted: asyncio.Future[list[Started | PerdureError]],
        *,
        reserved: int,
    ) -> None:
        """Begin with what was inserted already claimed."""
        try:
            if inserted.cancelled() or inserted.exception() is not None:
                return
            for (execution, program), input_, started in zip(built, inputs, inserted.result(), strict=True):
                is_ours = isinstance(started, Started) and started.id == execution.id
                if is_ours and started.status is ExecutionStatus.RUNNING:
                    self.owners.begin(execution, program, started, input_)
        finally:
            was_full = self._free_slots() <= 0
            self.owners.unreserve(reserved)
            if was_full and self._free_slots() > 0:
                # Not all that a slot was kept for began: what was passed over meanwhile may have it.
                self._claiming.wake()

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

    async def tag_execution(
        self, workspace: str, id_: bytes, *, put: Mapping[str, str], remove: Sequence[str], by: str
    ) -> None:
        """Change the tags of one that goes on or has ended; durable when it returns.

        Raises ExecutionNotFound, InvalidRequest with more tags than there may be, StoreError.
        """
        command = TagExecution(
            at=self.clock.now(), workspace=workspace, execution_id=id_, put=dict(put), remove=tuple(remove), by=by
        )
        await self.recorder.execute(command)

    async def delete_executions(self, workspace: str, ids: Sequence[bytes]) -> list[CallerError | None]:
        """Remove each that has ended, with all that it started; None where it is gone, for good. Raises StoreError.

        Of a large family, the lowest go before in portions.
        """
        await self.eraser.thin(workspace, ids)
        command = DeleteExecutions(at=self.clock.now(), workspace=workspace, ids=list(ids))
        answers: list[CallerError | None] = await self.recorder.execute(command)
        return answers

    async def _noted(self, workspace: str, id_: bytes, answer: ExecutionStatus) -> ExecutionStatus | CallerError:
        """What an owned execution made of its cancellation: it may have ended by itself before it heard of it."""
        await self.owners.note(id_)
        record = await self.store.executions.get(workspace, id_)
        if record is None:
            return answer
        if record.status in TERMINAL and record.status is not ExecutionStatus.CANCELLED:
            return ExecutionEnded.of(id_text(id_), record.status)
        return record.status

    async def wait_ended(self, workspace: str, id_: bytes, timeout: int, *, is_fresh: bool = False) -> bool:
        """Whether the execution is terminal, at the latest after `timeout` microseconds. `ExecutionNotFound`.

        `is_fresh`: `start_executions` has just given it back as running, so that it cannot have ended before this call.
        """
        return await self.ends.wait(workspace, id_, timeout, is_fresh=is_fresh)

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
            "worker": self.worker.id if self.settings.works else None,
            "slots": self.settings.slots if self.settings.works else 0,
            "owned": len(self.owners),
            "draining": self.draining,
            "subscriptions": len(self.hub),
            "loop_blocked": self._watchdog.stretches,
            "orphans": self.orphans.describe(),
            "nodes": self.runtime.describe(),
            "loops": {loop.name: loop.last_error for loop in self.loops},
        }

    @property
    def loops(self) -> list[Loop]:
        """What it does by itself, again and again."""
        return [self._claiming, *self._loops, *([] if self._neighbours is None else self._neighbours.loops)]

    # What the recorder tells

    def on_batch(self, outcome: BatchOutcome) -> None:
        """The recorder committed a batch: tell whoever waits for something in it."""
        self.hub.publish(outcome.chunks)
        self.ends.publish(outcome.chunks)
        self._operator.heard(outcome.chunks)
        if outcome.deliveries:
            self.owners.deliver_soon([id_ for worker, id_ in outcome.deliveries if worker == self.worker.id])
        left = self._claim_soon(outcome.claimable) if outcome.claimable else outcome.claimable
        if outcome.due_at is not None:
            self._timekeeper.expect(outcome.due_at)
        if self._neighbours is not None:
            self._neighbours.tell(outcome, lines=left)

    def wake(self, lines: Sequence[str] | None) -> None:
        """Another process says that these lines of the queue (None: perhaps any) got rows."""
        if self._free_slots() > 0:
            served = [line for line in lines or () if self._claimer.serves(line)]
            self._claimer.note(served)
            if served or lines is None:
                self._claiming.wake()

    def _claim_soon(self, lines: Sequence[str]) -> Sequence[str]:
        """Come for what this process can take; returns the lines that are left for others to hear of."""
        if self._free_slots() <= 0:
            return lines
        served = [line for line in lines if self._claimer.serves(line)]
        self._claimer.note(served)
        if served:
            self._claiming.wake()
        return [line for line in lines if line not in served]

    def _pass_on(self, lines: Sequence[str]) -> None:
        if self._neighbours is not None:
            self._neighbours.pass_on(lines)

    # Being a worker

    @property
    def worker(self) -> WorkerRecord:
        """What this process is registered as."""
        return self._membership.worker

    @property
    def worker_id(self) -> str:
        return self._membership.worker.id

    async def give_up(self, error: StoreIncompatible) -> None:
        """A newer schema forbids this program to go on: others take over what it owns."""
        if self._membership.is_member:
            log.error(FORBIDDEN, why=error.message)
            await self._membership.give_up()

    def _registered(self, worker: WorkerRecord) -> None:
        self._shop.worker = worker.id
        self._claiming.wake()

    def _claims_as(self) -> str | None:
        return self.worker.id if self._membership.is_member else None

    def _holds(self) -> bool:
        return len(self.owners) > 0

    async def _let_go(self) -> bool:
        """Others own by now what this process did, or will in a moment. Whether it is all over here."""
        # What was claimed and is still on its way here is not taken up any more.
        self._shop.worker = ""
        known = {id(orphan) for orphan in self.orphans.living()}
        # Its processes are being killed from outside, or may be: what is owned next needs others.
        self.runtime.pool.recycle()
        await self.owners.leave_all()
        return all(id(orphan) in known for orphan in self.orphans.living())

    def _claim_pause_s(self) -> float:
        """Behind every wake-up stands a slow look."""
        if self._neighbours is None:
            return _CLAIM_SCAN_S
        return self._neighbours.pause_s(hinted=_CLAIM_SCAN_S, unhinted=_CLAIM_POLL_S)

    def _timer_pause_s(self) -> float:
        """Behind the alarm stands a slow look; timers that other processes set are nobody's alarm once these died."""
        if self._neighbours is None:
            return _TIMER_SCAN_S
        return self._pace.chore(_TIMER_POLL_S)

    # Slots

    def _free_slots(self) -> int:
        if self.draining or not self._membership.is_member:
            return 0
        return self.settings.slots - len(self.owners) - self.owners.reserved

    def _reserve(self, wanted: int) -> int:
        """Reserve up to `wanted` slots for starts that are inserted already claimed."""
        got = max(min(wanted, self._free_slots()), 0)
        self.owners.reserved += got
        return got

    def _slot_freed(self) -> None:
        if not self.draining and self._free_slots() == 1:
            self._claiming.wake()


def _loop_is_blocked(place: str) -> None:
    log.warning(
        "the event loop is blocked: nothing else goes on until this ends; give the node `isolation: process`, or await",
        place=place,
    )
