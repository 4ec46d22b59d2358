"""Cancelling in every state: one winner, and nothing of the execution is left behind."""

import pytest

from perdure.base.clock import HOUR
from perdure.errors import ExecutionEnded, ExecutionNotFound
from perdure.model.states import TERMINAL, ExecutionStatus, NodeStatus
from perdure.store.interface import Lost
from perdure.store.records import WaitRecord
from tests.store.world import WORKSPACE, World

CANCELLED, CANCELLING, RUNNING = ExecutionStatus.CANCELLED, ExecutionStatus.CANCELLING, ExecutionStatus.RUNNING


async def test_what_never_ran_is_cancelled_at_once(world: World) -> None:
    pending = world.start(start_at=world.now + HOUR, has_cleanup=True)
    queued = world.start(has_cleanup=True, deadline_at=world.now + HOUR)
    assert world.cancel(pending.id, queued.id, reason="no need") == [CANCELLED, CANCELLED]
    for one in (pending, queued):
        assert await world.status(one.id) == (CANCELLED, "no need")
        assert (await world.events(one.id))[-1].data == {"reason": "no need"}
    assert world.claim() == []
    assert world.fire() is None


async def test_what_sleeps_is_cancelled_with_all_that_it_waits_for(world: World) -> None:
    started = world.started()
    wait = WaitRecord(node="n", kind="timer", due_at=world.now + HOUR, created_at=world.now)
    runs = [world.node_run("n", NodeStatus.SUSPENDED), world.node_run("m", NodeStatus.COMPLETED)]
    world.suspend(started, waits_opened=[wait], node_runs=runs, wake_at=world.now + HOUR)
    world.send(started.id)
    assert world.cancel(started.id) == [CANCELLED]
    found = {run.node: run.status for run in await world.store.node_runs.list(WORKSPACE, started.id)}
    assert found == {"n": NodeStatus.CANCELLED, "m": NodeStatus.COMPLETED}
    assert await world.store.waits.of(WORKSPACE, started.id) == []
    assert await world.messages(started.id) == []
    assert (world.claim(), world.fire()) == ([], None)
    assert (await world.types(started.id))[-2:] == ["node.cancelled", "execution.cancelled"]


async def test_an_interrupted_one_is_cancelled_before_it_goes_on(world: World) -> None:
    started = world.started()
    world.advance(started, RUNNING, node_runs=[world.node_run()])
    world.interrupt("w1")
    assert world.cancel(started.id) == [CANCELLED]
    assert world.claim("w2") == []
    (run,) = await world.store.node_runs.list(WORKSPACE, started.id)
    assert (run.status, run.finished_at) == (NodeStatus.CANCELLED, world.now)


async def test_an_owner_is_told_and_decides(world: World) -> None:
    started = world.started()
    assert world.cancel(started.id, reason="stop", force=True) == [RUNNING]
    assert world.last is not None
    assert world.last.deliveries == [("w1", started.id)]
    assert await world.messages(started.id) == [("cancel", {"reason": "stop", "force": True})]
    world.end(started)
    assert (await world.get(started.id)).status == ExecutionStatus.COMPLETED


async def test_what_has_to_clean_up_is_claimable_for_it(world: World) -> None:
    started = world.started(has_cleanup=True)
    world.suspend(started, wake_at=world.now + HOUR)
    assert world.cancel(started.id, reason="stop") == [CANCELLING]
    assert await world.status(started.id) == (CANCELLING, "stop")
    assert world.cancel(started.id) == [CANCELLING]
    assert len(await world.messages(started.id)) == 1
    assert world.cancel(started.id, force=True) == [CANCELLING]
    assert [data["force"] for _, data in await world.messages(started.id)] == [False, True]
    (claimed,) = world.claim()
    world.end(claimed.record, CANCELLED)
    assert await world.status(started.id) == (CANCELLED, "stop")


@pytest.mark.parametrize("status", sorted(TERMINAL - {ExecutionStatus.ABANDONED}))
async def test_what_has_ended_stays_as_it_is(world: World, status: ExecutionStatus) -> None:
    started = world.started()
    world.end(started, status)
    (answer,) = world.cancel(started.id)
    assert isinstance(answer, ExecutionEnded)
    assert answer.details["status"] == status
    assert len(await world.events(started.id)) == 3


async def test_others_and_unknown_ones_are_not_found(world: World) -> None:
    foreign = world.start(workspace="other")
    mine = world.start()
    answers = world.cancel(foreign.id, mine.id, world.id(), mine.id)
    assert [isinstance(answer, ExecutionNotFound) for answer in answers] == [True, False, True, False]
    record = await world.store.executions.get("other", foreign.id)
    assert record is not None
    assert record.status == ExecutionStatus.QUEUED


async def test_a_tree_that_nobody_owns_ends_as_a_whole(world: World) -> None:
    root = await world.get(world.started().id)
    child, other = (world.new(of=root, parent_ordinal=n, claim_by="w1") for n in range(2))
    world.advance(root, RUNNING, children=[child, other])
    grandchild = world.new(of=await world.get(child.id))
    world.advance(await world.get(child.id), RUNNING, children=[grandchild])
    for one in (root, child, other):
        world.suspend(await world.get(one.id))
    assert world.cancel(root.id, reason="all") == [CANCELLED]
    for one in (root, child, other, grandchild):
        assert await world.status(one.id) == (CANCELLED, "all")
        assert await world.messages(one.id) == []
    assert world.claim() == []


async def test_a_parent_lingers_until_its_owned_children_have_ended(world: World) -> None:
    root = await world.get(world.started().id)
    queued, owned = world.new(of=root), world.new(of=root, parent_ordinal=1, claim_by="w2")
    world.advance(root, RUNNING, children=[queued, owned])
    world.suspend(root)
    assert world.cancel(root.id) == [CANCELLING]
    assert (await world.get(queued.id)).status == CANCELLED
    assert [kind for kind, _ in await world.messages(owned.id)] == ["cancel"]
    (claimed,) = world.claim("w1")
    assert [message.kind for message in claimed.messages] == ["cancel", "child_ended"]
    world.end(await world.get(owned.id), CANCELLED)
    assert (await world.messages(root.id))[-1][1]["status"] == "cancelled"
    world.end(claimed.record, CANCELLED)


async def test_parents_and_children_may_be_named_together(world: World) -> None:
    root = await world.get(world.started().id)
    child = world.new(of=root)
    world.advance(root, RUNNING, children=[child])
    world.suspend(root)
    assert world.cancel(child.id, root.id) == [CANCELLED, CANCELLED]
    assert len(await world.events(child.id)) == 3


def test_cancel_and_completion_in_one_batch_have_one_winner(world: World) -> None:
    started = world.started()
    world.suspend(started)
    world.send(started.id)
    assert world.cancel(started.id) == [CANCELLED]
    assert world.claim() == []
    assert world.advance(started, ExecutionStatus.COMPLETED) == Lost()
