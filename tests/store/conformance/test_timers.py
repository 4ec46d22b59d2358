"""Due times: sleepers, deadlines, starts."""

from perdure.base.clock import HOUR, SECOND
from perdure.model.states import ExecutionStatus, NodeStatus
from tests.store.world import WORKSPACE, World

TIMED_OUT, RUNNING = ExecutionStatus.TIMED_OUT, ExecutionStatus.RUNNING


async def test_a_sleeper_wakes_when_it_is_due(world: World) -> None:
    started = world.started()
    due_at = world.now + HOUR
    world.suspend(started, wake_at=due_at, node_runs=[world.node_run("s", NodeStatus.SUSPENDED, wake_at=due_at)])
    world.now = due_at - 1
    assert world.fire() == due_at
    assert world.claim() == []
    world.now = due_at
    assert world.fire() is None
    (claimed,) = world.claim()
    assert claimed.was == ExecutionStatus.SUSPENDED
    assert claimed.node_runs[0].wake_at == due_at


def test_timers_fire_in_bounded_portions(world: World) -> None:
    due_at = world.now + HOUR
    for n in range(7):
        world.start(start_at=due_at + n * SECOND)
    world.now = due_at + HOUR
    assert world.fire(limit=3) == due_at + 3 * SECOND
    assert len(world.claim()) == 3
    assert world.fire(limit=3) == due_at + 6 * SECOND
    assert world.fire(limit=3) is None
    assert len(world.claim()) == 4


async def test_a_deadline_ends_what_nobody_runs(world: World) -> None:
    due_at = world.now + HOUR
    pending = world.start(start_at=due_at + HOUR, deadline_at=due_at)
    queued = world.start(deadline_at=due_at, has_cleanup=True)
    suspended = world.started(deadline_at=due_at)
    world.suspend(suspended, node_runs=[world.node_run("s", NodeStatus.SUSPENDED)], wake_at=due_at + HOUR)
    world.now = due_at
    assert world.fire() is None
    for one in (pending, queued, suspended):
        assert (await world.get(one.id)).status == TIMED_OUT
        assert (await world.types(one.id))[-1] == "execution.timed_out"
        payload = await world.store.executions.payload(WORKSPACE, one.id)
        assert payload is not None
        assert payload.error is not None
        assert payload.error["code"] == "timeout"
    (run,) = await world.store.node_runs.list(WORKSPACE, suspended.id)
    assert run.status == NodeStatus.CANCELLED
    assert world.claim() == []


async def test_a_deadline_is_told_to_all_others(world: World) -> None:
    due_at = world.now + HOUR
    running = world.started(deadline_at=due_at)
    cleaning = world.started("w2", deadline_at=due_at, has_cleanup=True)
    world.suspend(cleaning)
    interrupted = world.started("w3", deadline_at=due_at)
    world.interrupt("w3")
    world.now = due_at
    world.fire()
    assert world.last is not None
    assert world.last.deliveries == [("w1", running.id)]
    for one in (running, cleaning, interrupted):
        assert await world.messages(one.id) == [("deadline", {"at": due_at})]
    assert {claimed.record.id for claimed in world.claim()} == {cleaning.id, interrupted.id}


async def test_a_deadline_takes_unowned_children_along(world: World) -> None:
    due_at = world.now + HOUR
    parent = await world.get(world.started(deadline_at=due_at).id)
    child = world.new(of=parent)
    world.advance(parent, RUNNING, children=[child])
    world.suspend(parent)
    world.now = due_at
    world.fire()
    assert (await world.get(parent.id)).status == TIMED_OUT
    assert await world.status(child.id) == (ExecutionStatus.CANCELLED, "parent_timed_out")


async def test_a_parent_of_running_children_ends_itself(world: World) -> None:
    due_at = world.now + HOUR
    parent = await world.get(world.started(deadline_at=due_at).id)
    child = world.new(of=parent, claim_by="w2")
    world.advance(parent, RUNNING, children=[child])
    world.suspend(parent)
    world.now = due_at
    world.fire()
    assert (await world.get(parent.id)).status == ExecutionStatus.SUSPENDED
    assert [message.kind for message in world.claim()[0].messages] == ["deadline"]


async def test_a_deadline_frees_the_slot(world: World) -> None:
    due_at = world.now + HOUR
    world.start(limit=world.limit(1), deadline_at=due_at)
    waiting = world.start(limit=world.limit(1), deadline_at=due_at + HOUR)
    world.now = due_at
    world.fire()
    assert await world.status(waiting.id) == (ExecutionStatus.QUEUED, None)
