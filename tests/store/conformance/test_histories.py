"""Random histories: whatever happens in whatever order, slots, counters, queue and events stay true.

Hypothesis drives starts, owners, cancels, deaths and time against the store; after every step the
books are checked against the executions themselves.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from perdure.base.clock import HOUR, MINUTE, SECOND
from perdure.errors import ConcurrencyLimitReached
from perdure.model.definition import OnLimit
from perdure.model.event import Event
from perdure.model.states import TERMINAL, ExecutionStatus, NodeStatus
from perdure.store.commands import FoldCounters
from perdure.store.interface import Advanced, ExecutionFilter
from perdure.store.records import ExecutionRecord
from tests.store.conftest import IMPLEMENTATIONS
from tests.store.portal import call, loop
from tests.store.world import WORKSPACE, World

LIMITS = {"one": 1, "two": 2}
ENDS = [ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.TIMED_OUT, ExecutionStatus.CANCELLED]


class Histories(RuleBasedStateMachine):
    implementation = "sqlite"

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(IMPLEMENTATIONS[self.implementation](Path(self.folder.name)))
        self.owned: dict[bytes, ExecutionRecord] = {}
        self.accepted: set[bytes] = set()

    def teardown(self) -> None:
        call(self.world.store.close)
        self.folder.cleanup()

    def read(self, reading: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(reading, loop()).result()

    def everything(self) -> dict[bytes, ExecutionRecord]:
        return {record.id: record for record in self.read(self.world.all())}

    @rule(
        key=st.sampled_from([None, *LIMITS]),
        policy=st.sampled_from(OnLimit),
        claimed=st.booleans(),
        delay=st.sampled_from([None, None, MINUTE]),
        deadline=st.sampled_from([None, None, 2 * MINUTE]),
        priority=st.integers(0, 9),
        rated=st.booleans(),
        cleanup=st.booleans(),
        child=st.booleans(),
    )
    def start(
        self, key: str | None, policy: OnLimit, claimed: bool, delay: int | None, deadline: int | None, priority: int,
        rated: bool, cleanup: bool, child: bool,
    ) -> None:  # fmt: skip
        world = self.world
        fields: dict[str, Any] = {"priority": priority, "has_cleanup": cleanup, "claim_by": "w1" if claimed else None}
        if key is not None:
            fields["limit"] = world.limit(LIMITS[key], key, policy)
        if rated:
            fields["rate"] = world.rate(3, MINUTE)
        fields["start_at"] = None if delay is None else world.now + delay
        fields["deadline_at"] = None if deadline is None else world.now + deadline
        parents = [record for record in self.owned.values() if record.status is ExecutionStatus.RUNNING]
        if child and parents:
            new = world.new(of=parents[0], parent_ordinal=len(self.accepted), **fields)
            world.advance(parents[0], ExecutionStatus.RUNNING, children=[new])
        else:
            new = world.new(**fields)
            try:
                world.start(new)
            except ConcurrencyLimitReached:
                assert policy is OnLimit.REJECT
                return
        self.accepted.add(new.id)
        record = self.read(world.get(new.id))
        if record.worker is not None:
            self.owned[new.id] = record

    @rule(worker=st.sampled_from(["w1", "w2"]), limit=st.integers(1, 3))
    def claim(self, worker: str, limit: int) -> None:
        for claimed in self.world.claim(worker, limit=limit):
            assert claimed.record.id not in self.owned
            self.owned[claimed.record.id] = claimed.record

    @precondition(lambda self: self.owned)
    @rule(data=st.data(), do=st.sampled_from(["step", "suspend", "sleep", "cancelling", "hand back", *ENDS]))
    def advance(self, data: Any, do: str) -> None:
        world = self.world
        record = self.owned[data.draw(st.sampled_from(sorted(self.owned)))]
        fields: dict[str, Any] = {"recoveries": record.recoveries}
        cancelling = record.status is ExecutionStatus.CANCELLING
        if do in ENDS:
            status = ExecutionStatus.CANCELLED if cancelling else ExecutionStatus(do)
        elif do in ("suspend", "sleep") and not cancelling:
            status = ExecutionStatus.SUSPENDED
            fields["wake_at"] = world.now + MINUTE if do == "sleep" else None
        elif do == "hand back":
            status = record.status if cancelling else ExecutionStatus.INTERRUPTED
            fields |= {"release": True, "claimable": True}
        elif do == "cancelling":
            status = ExecutionStatus.CANCELLING
        else:
            status = record.status
            fields |= {"node_runs": [world.node_run()], "events": [Event("progress", world.now)]}
        outcome = world.advance(record, status, **fields)
        assert isinstance(outcome, Advanced)
        if fields.get("release") or status in TERMINAL or status is ExecutionStatus.SUSPENDED:
            del self.owned[record.id]
        else:
            record.status = status

    @precondition(lambda self: self.accepted)
    @rule(data=st.data(), force=st.booleans())
    def cancel(self, data: Any, force: bool) -> None:
        self.world.cancel(data.draw(st.sampled_from(sorted(self.accepted))), force=force)

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def send(self, data: Any) -> None:
        self.world.send(data.draw(st.sampled_from(sorted(self.accepted))))

    @rule(worker=st.sampled_from(["w1", "w2"]))
    def die(self, worker: str) -> None:
        self.world.interrupt(worker)
        self.owned = {
            id: record
            for id, record in self.owned.items()
            if record.worker is None or record.worker.partition("-")[0] != worker
        }

    @rule(passing=st.sampled_from([SECOND, 30 * SECOND, 2 * MINUTE, HOUR]))
    def wait(self, passing: int) -> None:
        self.world.later(passing)
        self.world.fire()

    @rule(limit=st.integers(1, 50))
    def fold(self, limit: int) -> None:
        self.world.do(FoldCounters(at=self.world.now, limit=limit))

    @invariant()
    def every_owned_execution_is_ours(self) -> None:
        owners = {id: record.worker for id, record in self.everything().items() if record.worker is not None}
        assert owners == {id: record.worker for id, record in self.owned.items()}

    @invariant()
    def slots_are_never_leaked_nor_overdrawn(self) -> None:
        for key, limit in LIMITS.items():
            involved = [record for record in self.everything().values() if record.concurrency_key == key]
            holding = [one for one in involved if one.status not in TERMINAL and one.status != ExecutionStatus.PENDING]
            waiting = [one for one in involved if one.reason == "concurrency_limit" and one.status not in TERMINAL]
            waiting = [one for one in waiting if one.status is ExecutionStatus.PENDING]
            assert len(holding) <= limit
            assert not waiting or len(holding) == limit
            if waiting:
                state = self.read(self.world.store.executions.limit_state(WORKSPACE, waiting[0].id))
                assert (state.held, sorted(state.holders)) == (len(holding), sorted(one.id for one in holding))

    @invariant()
    def what_can_go_on_is_in_the_queue(self) -> None:
        executions = self.world.store.executions
        for record in self.everything().values():
            place = self.read(executions.queue_place(WORKSPACE, record.id))
            status = record.status
            if status is ExecutionStatus.SUSPENDED:
                unread = self.read(self.world.messages(record.id))
                assert (place is not None) or not unread
            elif status in (ExecutionStatus.QUEUED, ExecutionStatus.INTERRUPTED, ExecutionStatus.CANCELLING):
                assert (place is None) == (record.worker is not None)
            else:
                assert place is None

    @invariant()
    def counters_are_exact(self) -> None:
        counts: dict[str, int] = {}
        for record in self.everything().values():
            counts[record.status] = counts.get(record.status, 0) + 1
        statistics = self.world.store.executions.statistics
        rows, _ = self.read(statistics(WORKSPACE, ExecutionFilter(), ["status"]))
        assert {row["status"]: row["count"] for row in rows} == counts
        rows, _ = self.read(statistics(WORKSPACE, ExecutionFilter(), ["day"]))
        assert sum(row["count"] for row in rows) == sum(counts.values())

    @invariant()
    def events_are_numbered_without_gaps_and_tell_the_status(self) -> None:
        for id, record in self.everything().items():
            types = self.read(self.world.types(id))
            ended = [type for type in types if type.removeprefix("execution.") in TERMINAL]
            assert ended == ([f"execution.{record.status}"] if record.status in TERMINAL else [])

    @invariant()
    def nothing_that_ended_is_left_anywhere(self) -> None:
        for id, record in self.everything().items():
            if record.status in TERMINAL:
                assert self.read(self.world.messages(id)) == []
                runs = self.read(self.world.store.node_runs.list(WORKSPACE, id))
                assert record.worker is None
                by_owner = record.finished_at is not None and any(run.status is NodeStatus.RUNNING for run in runs)
                assert not by_owner or record.status in ENDS

    @invariant()
    def the_feed_has_no_gaps(self) -> None:
        feed = self.read(self.world.store.events.feed(WORKSPACE, {}, 10_000))
        assert [n for _, n, _ in feed] == list(range(1, len(feed) + 1))
        spans = [(chunk.execution_id, seq) for _, _, chunks in feed for chunk in chunks
                 for seq in range(chunk.first_seq, chunk.last_seq + 1)]  # fmt: skip
        assert len(spans) == len(set(spans)) == sum(record.last_seq for record in self.everything().values())


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_books_stay_true_in_any_history(implementation: str) -> None:
    class Ours(Histories):
        pass

    Ours.implementation = implementation
    case = Ours.TestCase
    # Each step asks for all books, over a socket where the store is a server's.
    examples = 20 if implementation == "sqlite" else 8
    case.settings = settings(max_examples=examples, stateful_step_count=40, deadline=None)
    case().runTest()
