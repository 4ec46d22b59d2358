"""Contents that nothing refers to go, whatever is put, started, replayed and deleted in between; no other ever does."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from perdure.artifacts.local import LocalStorage
from perdure.artifacts.shared import SharedStorage
from perdure.base.clock import DAY, SystemClock
from perdure.engine.loops.sweeper import Sweeper
from perdure.engine.pace import Pace
from perdure.engine.precedence import Precedence
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.commands import DeleteExecutions
from perdure.store.postgres.blob_table import PostgresBlobTable
from perdure.store.postgres.connection import MIGRATING, connect
from perdure.store.records import NodeRunRecord, ReplayFacts, Reuse, ReusedRun, Value
from tests.store.conftest import IMPLEMENTATIONS
from tests.store.portal import call, loop
from tests.store.world import WORKSPACE, World

NAMES = st.sampled_from(["a", "b", "c"])
_OLDER = "UPDATE {} SET put_at = put_at - 172800000000"


def data(name: str) -> bytes:
    return name.encode() * 300_000


def sha256(name: str) -> bytes:
    return hashlib.sha256(data(name)).digest()


class Contents(RuleBasedStateMachine):
    implementation = "sqlite"

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        folder = Path(self.folder.name)
        self.world = World(IMPLEMENTATIONS[self.implementation](folder))
        self.local = LocalStorage(folder / "artifacts")
        self.table: PostgresBlobTable | None = None
        self.storage: Any = self.local
        if self.implementation == "postgres":
            self.address = self.world.store._inner.address  # type: ignore[attr-defined]
            self.table = PostgresBlobTable(self.address)
            self.storage = SharedStorage(self.local, self.table)
        self.fresh: set[str] = set()
        self.held: dict[bytes, set[str]] = {}
        self.outputs: dict[bytes, str] = {}
        self.world.worker("w1")

    def teardown(self) -> None:
        self.age()
        self.sweep()
        kept = set(self.run(self.storage.old(b"", age_s=0)))
        assert kept == {sha256(name) for names in self.held.values() for name in names}
        if self.table is not None:
            loop().call_soon_threadsafe(self.table.close)
        call(self.world.store.close)
        self.folder.cleanup()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop()).result()

    @rule(name=NAMES)
    def put(self, name: str) -> None:
        self.run(self.storage.put_bytes(data(name)))
        self.fresh.add(name)

    @rule(name=NAMES, other=NAMES)
    def record(self, name: str, other: str) -> None:
        """What was put just now is referred to."""
        if {name, other} <= self.fresh:
            one = self.world.started(input=Value(None, sha256(name), 300_000))
            run = NodeRunRecord(
                node="n", type="python", status=NodeStatus.COMPLETED, output=Value(None, sha256(other), 300_000)
            )
            self.world.advance(one, ExecutionStatus.COMPLETED, node_runs=[run])
            self.held[one.id] = {name, other}
            self.outputs[one.id] = other

    @rule(pick=st.randoms(use_true_random=False))
    def replay(self, pick: Random) -> None:
        if self.held:
            source = pick.choice(sorted(self.held))
            run = ReusedRun("n", 0, "", 0, "", NodeStatus.COMPLETED, 1, source)
            reuse = Reuse(source=source, facts=ReplayFacts(), runs=[run])
            one = self.world.started(replay_of=source, trigger_kind="replay", reuse=reuse)
            self.world.end(one)
            self.outputs[one.id] = self.outputs[source]
            self.held[one.id] = {self.outputs[source]}

    @rule(pick=st.randoms(use_true_random=False))
    def delete(self, pick: Random) -> None:
        if self.held:
            one = pick.choice(sorted(self.held))
            command = DeleteExecutions(at=self.world.now, workspace=WORKSPACE, ids=[one])
            assert self.world.do(command) == [None]
            del self.held[one]

    @rule()
    def age(self) -> None:
        """Two days pass: what was put and is not recorded now never will be."""
        self.fresh.clear()
        for _, _, content in self.local.contents():
            os.utime(self.local.path_of(content), (1, 1))
        if self.table is not None:
            self.run(self._age_tables())

    async def _age_tables(self) -> None:
        connection = await connect(self.address, MIGRATING, name="perdure test")
        try:
            await connection.execute(_OLDER.format("blob_contents"))
            await connection.execute(_OLDER.format("blob_chunks"))
        finally:
            connection.terminate()

    @rule()
    def sweep(self) -> None:
        clock = SystemClock()
        precedence = Precedence(store=self.world.store, clock=clock, lease=10_000 * DAY, worker=lambda: "w1")
        sweeper = Sweeper(
            store=self.world.store, artifacts=self.storage, clock=clock, precedence=precedence, pace=Pace(Random(0))
        )
        self.run(sweeper.work())

    @invariant()
    def what_is_referred_to_is_there(self) -> None:
        for name in {name for names in self.held.values() for name in names} | self.fresh:
            assert self.run(self.storage.exists(sha256(name)))
            assert self.run(self.storage.read(sha256(name))) == data(name)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_no_content_is_lost_and_none_stays_for_ever(implementation: str) -> None:
    class Ours(Contents):
        pass

    Ours.implementation = implementation
    case = Ours.TestCase
    examples = 20 if implementation == "sqlite" else 6
    case.settings = settings(max_examples=examples, stateful_step_count=12, deadline=None)
    case().runTest()
