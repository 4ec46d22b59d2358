"""Owners' writes: fenced by the epoch, numbered without gaps, applied as a whole or not at all."""

import pytest

from perdure.errors import RowRefused
from perdure.model.event import Event, EventType
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.commands import StartExecutions
from perdure.store.interface import Advanced, Lost
from perdure.store.records import ArtifactRecord, Started, Value, WaitRecord
from tests.store.world import FLOW, WORKSPACE, World, value

RUNNING, COMPLETED, SUSPENDED = ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED, ExecutionStatus.SUSPENDED


async def test_an_advance_writes_all_that_it_brings(world: World) -> None:
    record = await world.get(world.started().id)
    events = [Event("node.started", world.now, "n", 0, 1), Event("log", world.now, "n", 0, 1, {"message": "hi"})]
    run = world.node_run(input=value("1"), label="x", interruptions=1)
    artifact = ArtifactRecord(
        id=world.id(),
        workspace=WORKSPACE,
        execution_id=record.id,
        node="n",
        ordinal=0,
        attempt=1,
        name="report",
        path="report.md",
        media_type="text/markdown",
        size_bytes=3,
        sha256=b"\x02" * 32,
        created_at=world.now,
    )
    outcome = world.advance(record, RUNNING, events=events, node_runs=[run], artifacts=[artifact])
    assert outcome == Advanced(first_seq=3)
    assert (await world.events(record.id))[2:] == events
    assert await world.store.node_runs.list(WORKSPACE, record.id) == [run]
    assert await world.store.artifacts.list(WORKSPACE, execution_id=record.id) == [artifact]
    assert await world.store.artifacts.get(WORKSPACE, artifact.id) == artifact


async def test_a_node_run_replaces_its_row(world: World) -> None:
    record = await world.get(world.started().id)
    first = world.node_run(input=value("1"))
    other = world.node_run(ordinal=1)
    world.advance(record, RUNNING, node_runs=[first, other])
    done = world.node_run(
        status=NodeStatus.COMPLETED,
        attempt=2,
        output=Value(None, b"\x03" * 32, 99_000),
        error={"code": "old"},
        finished_at=world.now,
        retry_at=1,
        wake_at=2,
        worker="w1",
        reused_from=record.id,
        interruptions=3,
    )
    world.advance(record, RUNNING, node_runs=[done])
    assert await world.store.node_runs.list(WORKSPACE, record.id) == [done, other]
    assert await world.store.node_runs.get(WORKSPACE, record.id, "n", 0) == done


async def test_an_end_is_complete(world: World) -> None:
    record = await world.get(world.started(deadline_at=world.now + 10**9).id)
    world.send(record.id)
    wait = WaitRecord(
        node="n",
        kind="signal",
        data={"name": "go"},
        created_at=world.now,
        execution_id=record.id,
        workspace=WORKSPACE,
        flow=FLOW,
    )
    world.advance(record, RUNNING, waits_opened=[wait])
    assert await world.store.waits.of(WORKSPACE, record.id) == [wait]
    error = {"code": "node_failed", "message": "no"}
    world.advance(record, ExecutionStatus.FAILED, output=value('"x"'), error=error)
    ended = await world.get(record.id)
    assert (ended.status, ended.worker, ended.finished_at) == (ExecutionStatus.FAILED, None, world.now)
    payload = await world.store.executions.payload(WORKSPACE, record.id)
    assert payload is not None
    assert (payload.output, payload.error) == (value('"x"'), error)
    assert await world.store.waits.of(WORKSPACE, record.id) == []
    assert await world.messages(record.id) == []
    assert world.fire() is None
    assert await world.types(record.id) == ["execution.created", "execution.started", "execution.failed"]


async def test_a_superseded_epoch_changes_nothing(world: World) -> None:
    old = await world.get(world.started().id)
    world.interrupt("w1")
    (claimed,) = world.claim("w2")
    child = world.new(of=old)
    stale = world.advancing(old, COMPLETED, output=value("1"), node_runs=[world.node_run()], children=[child])
    fresh = world.advancing(claimed.record, RUNNING, events=[Event("progress", world.now)])
    outcome = world.write(advances=(stale, fresh))
    assert outcome.advances[0] == Lost()
    assert isinstance(outcome.advances[1], Advanced)
    record = await world.get(old.id)
    assert (record.status, record.worker, record.epoch) == (RUNNING, "w2", 2)
    assert await world.store.node_runs.list(WORKSPACE, old.id) == []
    assert await world.store.executions.get(WORKSPACE, child.id) is None
    assert (await world.types(old.id))[-1] == "progress"


async def test_nothing_changes_after_the_end(world: World) -> None:
    started = world.started()
    world.end(started)
    for status in (RUNNING, COMPLETED, ExecutionStatus.FAILED):
        assert world.advance(started, status, node_runs=[world.node_run()]) == Lost()
    assert (await world.get(started.id)).status == COMPLETED
    assert await world.store.node_runs.list(WORKSPACE, started.id) == []


def test_who_released_is_no_owner_any_more(world: World) -> None:
    started = world.started()
    world.suspend(started)
    assert world.advance(started, RUNNING) == Lost()
    assert world.advance(started, RUNNING, previous=SUSPENDED) == Lost()


def test_an_unknown_execution_is_lost(world: World) -> None:
    ghost = Started(world.id(), 1, RUNNING, None, 1, 2)
    assert world.advance(ghost, COMPLETED) == Lost()


async def test_several_advances_of_one_execution_in_a_batch_follow_each_other(world: World) -> None:
    started = world.started()
    steps = [world.advancing(started, RUNNING, events=[Event("progress", world.now, data={"n": n})]) for n in range(5)]
    outcome = world.write(advances=(*steps, world.advancing(started, COMPLETED)))
    assert outcome.advances == [Advanced(first_seq=n) for n in range(3, 9)]
    progress = [event.data for event in await world.events(started.id) if event.type == "progress"]
    assert progress == [{"n": n} for n in range(5)]


async def test_a_large_batch_is_one_commit(world: World) -> None:
    started = world.start(*[world.new(claim_by="w1") for _ in range(777)])
    advances = [
        world.advancing(one, COMPLETED, output=value(str(index)), node_runs=[world.node_run()])
        for index, one in enumerate(started)
    ]
    outcome = world.write(advances=tuple(advances))
    assert outcome.advances == [Advanced(first_seq=3)] * 777
    payloads = await world.store.executions.payloads(WORKSPACE, [one.id for one in started])
    assert [payloads[one.id].output for one in started] == [value(str(index)) for index in range(777)]
    assert await world.store.events.feed_end() == {1: 2}


@pytest.mark.parametrize("count", [1, 2, 5, 16])
@pytest.mark.parametrize(
    "bad", [{"output": Value("\ud800", None, 1)}, {"events": [Event("log", 1, data={"x": object()})]}]
)
async def test_a_row_that_the_database_refuses_fails_its_execution_alone(
    world: World, count: int, bad: dict[str, object]
) -> None:
    started = [world.started() for _ in range(count)]
    victim = count // 2
    advances = [world.advancing(one, COMPLETED) for one in started]
    advances[victim] = world.advancing(started[victim], COMPLETED, **bad)
    outcome = world.write(StartExecutions(at=world.now, executions=[world.new()]), advances=tuple(advances))
    assert [isinstance(one, RowRefused) for one in outcome.advances] == [n == victim for n in range(count)]
    assert outcome.results[0][0].status == ExecutionStatus.QUEUED
    for n, one in enumerate(started):
        assert (await world.get(one.id)).status == (RUNNING if n == victim else COMPLETED)
        assert len(await world.events(one.id)) == (2 if n == victim else 3)
    assert world.advance(started[victim], COMPLETED) == Advanced(first_seq=3)


async def test_an_impossible_transition_is_refused(world: World) -> None:
    started, other = world.started(), world.started()
    bad = world.advancing(started, ExecutionStatus.QUEUED)
    outcome = world.write(advances=(bad, world.advancing(other, COMPLETED)))
    assert isinstance(outcome.advances[0], RowRefused)
    assert isinstance(outcome.advances[1], Advanced)
    assert (await world.get(started.id)).status == RUNNING


async def test_a_suspended_execution_with_unread_messages_goes_on_at_once(world: World) -> None:
    started = world.started()
    world.send(started.id, "signal", {"n": 1})
    assert world.last is not None
    assert world.last.deliveries == [("w1", started.id)]
    world.suspend(started)
    (claimed,) = world.claim("w2")
    assert claimed.was == SUSPENDED
    assert [message.data for message in claimed.messages] == [{"n": 1}]
    world.suspend(claimed.record, consumed=[claimed.messages[0].n])
    assert world.claim() == []
    assert await world.messages(started.id) == []


async def test_a_message_wakes_who_sleeps(world: World) -> None:
    started = world.started()
    world.suspend(started)
    assert world.claim() == []
    world.send(started.id)
    world.send(started.id)
    (claimed,) = world.claim()
    assert len(claimed.messages) == 2
    assert await world.types(started.id) == [
        "execution.created", "execution.started", "execution.suspended", "execution.resumed",
    ]  # fmt: skip


def test_nobody_consumes_the_messages_of_another(world: World) -> None:
    mine, other = world.started(), world.started()
    world.send(other.id)
    world.advance(mine, RUNNING, consumed=[1, 2, 3])
    world.suspend(other)
    (claimed,) = world.claim()
    assert len(claimed.messages) == 1


async def test_work_that_is_handed_back_is_claimable(world: World) -> None:
    started = world.started()
    outcome = world.advance(started, ExecutionStatus.INTERRUPTED, release=True, claimable=True)
    assert isinstance(outcome, Advanced)
    assert world.last is not None
    assert world.last.claimable
    (claimed,) = world.claim("w2")
    assert (claimed.was, claimed.record.crashes, claimed.record.recoveries) == (ExecutionStatus.INTERRUPTED, 0, 1)
    recovered = (await world.events(started.id))[-1]
    assert (recovered.type, recovered.data) == (EventType.EXECUTION_RECOVERED, {"recoveries": 1, "crashes": 0})


async def test_the_end_of_a_child_reaches_its_parent(world: World) -> None:
    sleeping, awake = world.started(), world.started()
    parents = [await world.get(sleeping.id), await world.get(awake.id)]
    children = [world.new(of=parent, claim_by="w2", parent_ordinal=7) for parent in parents]
    world.write(
        advances=tuple(world.advancing(p, RUNNING, children=[c]) for p, c in zip(parents, children, strict=True))
    )
    world.suspend(sleeping)
    records = [await world.get(child.id) for child in children]
    outcome = world.write(advances=tuple(world.advancing(child, COMPLETED, output=value("42")) for child in records))
    assert outcome.deliveries == [("w1", awake.id)]
    assert outcome.claimable
    (claimed,) = world.claim()
    assert claimed.record.id == sleeping.id
    (message,) = claimed.messages
    assert message.kind == "child_ended"
    assert message.data["child"].replace("-", "") == children[0].id.hex()
    assert (message.data["node"], message.data["ordinal"], message.data["attempt"]) == ("call", 7, 1)
    assert (message.data["status"], message.data["output"]["text"]) == ("completed", "42")
    assert [kind for kind, _ in await world.messages(awake.id)] == ["child_ended"]


async def test_a_repeated_advance_starts_no_second_child(world: World) -> None:
    parent = await world.get(world.started().id)
    for _ in range(3):
        world.advance(parent, RUNNING, children=[world.new(of=parent)])
    assert len(await world.all(parent=parent.id)) == 1


async def test_an_owner_cancels_its_children(world: World) -> None:
    parent = await world.get(world.started().id)
    queued, running = world.new(of=parent), world.new(of=parent, parent_ordinal=1, claim_by="w2")
    world.advance(parent, RUNNING, children=[queued, running])
    world.advance(parent, ExecutionStatus.CANCELLING, cancel_children=[queued.id, running.id], reason="enough")
    assert await world.status(queued.id) == (ExecutionStatus.CANCELLED, "enough")
    assert await world.messages(running.id) == [("cancel", {"reason": "enough", "force": False})]
    assert [kind for kind, _ in await world.messages(parent.id)] == ["child_ended"]
    world.advance(parent, ExecutionStatus.CANCELLED, previous=ExecutionStatus.CANCELLING)
    assert await world.status(parent.id) == (ExecutionStatus.CANCELLED, "enough")
