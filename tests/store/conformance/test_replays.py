"""Replays in the store: rows of the original are copied in the transaction of the start, all of them or none."""

from __future__ import annotations

import hashlib

import pytest

from perdure.errors import ConcurrencyLimitReached, ExecutionNotFound
from perdure.model.definition import OnLimit
from perdure.model.recorded import RecordedRun
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.commands import DeleteExecutions
from perdure.store.interface import ExecutionFilter
from perdure.store.records import (
    ArtifactRecord,
    ExecutionRecord,
    NewExecution,
    NodeRunRecord,
    ReplayFacts,
    Reuse,
    ReusedRun,
    Started,
    Value,
)
from tests.store.world import WORKSPACE, World, value

SHA = hashlib.sha256(b"large").digest()
COMPLETED = NodeStatus.COMPLETED


def completed_run(world: World, node: str = "n", ordinal: int = 0, **fields: object) -> NodeRunRecord:
    return world.node_run(
        node, COMPLETED, **{"ordinal": ordinal, "finished_at": world.now + 5, "output": value("[1]"), **fields}
    )


def original(world: World, *runs: NodeRunRecord) -> Started:
    """An ended execution with these node runs."""
    started: Started = world.started()
    world.advance(started, ExecutionStatus.FAILED, node_runs=list(runs))
    return started


def taken(of: Started, run: NodeRunRecord, *, to: int | None = None, label: str | None = None) -> ReusedRun:
    return ReusedRun(
        run.node, run.ordinal, run.label, run.ordinal if to is None else to, run.label if label is None else label,
        run.status, run.attempt, of.id,
    )  # fmt: skip


def replay(world: World, of: Started, *runs: ReusedRun, **fields: object) -> NewExecution:
    more = {name: fields.pop(name) for name in ("edited", "artifacts") if name in fields}
    facts = fields.pop("facts", ReplayFacts(begin="failed"))
    reuse = Reuse(source=of.id, facts=facts, runs=list(runs), **more)  # type: ignore[arg-type]
    return world.new(replay_of=of.id, trigger_kind="replay", reuse=reuse, **fields)


async def test_rows_are_copied_with_their_values_and_where_they_are_from(world: World) -> None:
    plain = completed_run(world, "a", input=value('{"x": 1}'), attempt=3, worker="w0", child=world.id())
    large = completed_run(world, "b", output=Value(None, SHA, 100_000))
    old = original(world, plain, large)
    new = world.start(replay(world, old, taken(old, plain), taken(old, large)))
    assert (new.status, new.last_seq) == (ExecutionStatus.QUEUED, 4)
    copied = {run.node: run for run in await world.store.node_runs.list(WORKSPACE, new.id)}
    for name, run in (("a", plain), ("b", large)):
        run.reused_from = old.id
        assert copied[name] == run


async def test_a_claim_finds_the_rows_and_what_was_taken_over_whole(world: World) -> None:
    run = completed_run(world, "each", 0)
    old = original(world, run)
    facts = ReplayFacts(
        begin=["x"], reuse="ancestors", input_edited=True, edited=["y"], whole=["each"], children=["kid"]
    )
    new = world.start(replay(world, old, taken(old, run), facts=facts))
    (claimed,) = world.claim()
    assert claimed.record.id == new.id
    assert [one.node for one in claimed.node_runs] == ["each"]
    assert claimed.payload.replay == facts
    payload = await world.store.executions.payload(WORKSPACE, old.id)
    assert payload is not None
    assert payload.replay is None


async def test_an_item_may_stand_at_another_place(world: World) -> None:
    run = completed_run(world, "each", 2, label="k")
    old = original(world, run)
    new = world.start(replay(world, old, taken(old, run, to=7, label="other")))
    (copied,) = await world.store.node_runs.list(WORKSPACE, new.id)
    assert (copied.ordinal, copied.label, copied.output) == (7, "other", value("[1]"))


async def test_events_tell_of_each_run_in_chunks_that_are_not_too_large(world: World) -> None:
    runs = [completed_run(world, "each", ordinal) for ordinal in range(1_200)]
    old = original(world, *runs)
    edited = NodeRunRecord(node="y", type="python", status=COMPLETED, output=value("2"), reused_from=old.id)
    new = world.start(replay(world, old, *(taken(old, run) for run in runs), edited=[edited]))
    told = await world.events(new.id)
    assert len(told) == 1_203
    assert [told[0].type, told[-1].type] == ["execution.created", "execution.queued"]
    assert {event.ordinal for event in told if event.node == "each"} == set(range(1_200))
    chunks = await world.store.events.page(WORKSPACE, new.id, 0, 10_000)
    assert max(len(chunk.events) for chunk in chunks) <= 500
    (row,) = await world.store.node_runs.list(WORKSPACE, new.id, node="y")
    assert (row.output, row.reused_from) == (value("2"), old.id)
    assert len(await world.store.node_runs.recorded(WORKSPACE, new.id)) == 1_201


async def test_recorded_runs_come_without_their_values(world: World) -> None:
    bad = world.node_run("b", NodeStatus.FAILED, ordinal=3, label="k", attempt=2, error={"code": "x", "message": "y"})
    old = original(world, completed_run(world, "a"), bad)
    found = sorted(await world.store.node_runs.recorded(WORKSPACE, old.id))
    assert found == [
        RecordedRun("a", 0, "", COMPLETED, 1),
        RecordedRun("b", 3, "k", NodeStatus.FAILED, 2, has_error=True),
    ]
    assert await world.store.node_runs.recorded("elsewhere", old.id) == []


async def test_a_replay_of_what_is_gone_is_refused_and_others_in_its_batch_are_not(world: World) -> None:
    old = original(world)
    ghost = Started(world.id(), 1, ExecutionStatus.FAILED, None, 1, 1)
    refused, fine = world.start(replay(world, ghost), replay(world, old))
    assert isinstance(refused, ExecutionNotFound)
    assert isinstance(fine, Started)
    replays = await world.all(replay_of=old.id)
    assert [record.id for record in replays] == [fine.id]
    assert replays[0].replay_of == old.id


async def test_a_child_whose_earlier_one_is_gone_begins_anew(world: World) -> None:
    parent = world.started()
    ghost = Started(world.id(), 1, ExecutionStatus.FAILED, None, 1, 1)
    new = replay(world, ghost, taken(ghost, completed_run(world)), parent=parent.id, parent_node="kid",
                 parent_ordinal=0, parent_attempt=1, root=parent.id, depth=1)  # fmt: skip
    started = world.start(new)
    assert isinstance(started, Started)
    [record] = await world.store.executions.children(WORKSPACE, parent.id)
    assert (record.id, record.replay_of, record.status) == (started.id, None, ExecutionStatus.QUEUED)
    assert await world.store.node_runs.list(WORKSPACE, started.id) == []


async def test_a_refused_replay_leaves_nothing(world: World) -> None:
    run = completed_run(world)
    old = original(world, run)
    world.start(limit=world.limit(on_limit=OnLimit.REJECT))
    new = replay(world, old, taken(old, run), limit=world.limit(on_limit=OnLimit.REJECT))
    with pytest.raises(ConcurrencyLimitReached):
        world.start(new)
    assert await world.store.executions.get(WORKSPACE, new.id) is None
    assert await world.store.node_runs.recorded(WORKSPACE, new.id) == []


async def test_a_replay_waits_for_its_limit_with_all_that_it_takes_over(world: World) -> None:
    run = completed_run(world)
    old = original(world, run)
    holder = world.started(limit=world.limit())
    new = world.start(replay(world, old, taken(old, run), limit=world.limit()))
    assert (new.status, new.last_seq) == (ExecutionStatus.PENDING, 2)
    world.end(holder)
    (claimed,) = world.claim()
    assert (claimed.record.id, len(claimed.node_runs)) == (new.id, 1)
    assert await world.types(new.id) == [
        "execution.created", "node.completed", "execution.queued", "execution.started",
    ]  # fmt: skip


async def test_the_same_key_gives_the_same_replay(world: World) -> None:
    run = completed_run(world)
    old = original(world, run)
    first = world.start(replay(world, old, taken(old, run), idempotency_key="k", request_hash=b"h"))
    again = world.start(replay(world, old, taken(old, run), idempotency_key="k", request_hash=b"h"))
    assert (again.id, again.replayed) == (first.id, True)


async def test_artifacts_are_shared_by_content(world: World) -> None:
    old = original(world, completed_run(world))
    kept = ArtifactRecord(
        id=world.id(), workspace=WORKSPACE, execution_id=old.id, node="n", ordinal=0, attempt=1, name="a.txt", path="p",
        media_type="text/plain", size_bytes=5, sha256=SHA, created_at=world.now,
    )  # fmt: skip
    new = replay(world, old)
    kept.execution_id = new.id
    world.start(replay(world, old, id=new.id, artifacts=[kept]))
    assert await world.store.artifacts.list(WORKSPACE, execution_id=new.id) == [kept]


async def test_replays_are_counted_like_other_starts(world: World) -> None:
    old = original(world)
    world.start(replay(world, old))
    assert await world.store.executions.count(WORKSPACE, ExecutionFilter(trigger_kind="replay")) == 1
    records: list[ExecutionRecord] = await world.all(trigger_kind="replay")
    assert [record.replay_of for record in records] == [old.id]


async def test_a_replay_stands_alone_when_its_original_is_deleted(world: World) -> None:
    plain, large = completed_run(world, "a"), completed_run(world, "b", output=Value(None, SHA, 100_000))
    old = original(world, plain, large)
    new = world.start(replay(world, old, taken(old, plain), taken(old, large)))
    world.do(DeleteExecutions(at=world.now, workspace=WORKSPACE, ids=[old.id]))
    assert await world.store.executions.get(WORKSPACE, old.id) is None
    (claimed,) = world.claim()
    assert (claimed.record.id, claimed.record.replay_of) == (new.id, old.id)
    assert {run.node: run.output for run in claimed.node_runs} == {"a": value("[1]"), "b": Value(None, SHA, 100_000)}
    with pytest.raises(ExecutionNotFound):
        world.start(replay(world, old, taken(old, plain)))
