"""Claims: who is first, and all that an owner gets."""

from perdure.base.clock import HOUR, MINUTE, SECOND
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.records import QueuePlace, WaitRecord
from tests.store.world import FLOW, WORKSPACE, World, value


def test_first_come_first_served_within_a_priority(world: World) -> None:
    started = [world.start() for _ in range(5)]
    first = world.claim(limit=2)
    assert [one.record.id for one in first] == [one.id for one in started[:2]]
    assert [one.record.id for one in world.claim()] == [one.id for one in started[2:]]
    assert world.claim() == []
    assert world.claim(limit=0) == []


def test_a_level_of_priority_is_worth_a_minute_of_waiting(world: World) -> None:
    low = world.start(priority=0)
    world.later(8 * MINUTE)
    middle = world.start(priority=5)
    world.later(30 * SECOND)
    high = world.start(priority=9)
    world.later(2 * MINUTE)
    late = world.start(priority=9)
    assert [one.record.id for one in world.claim()] == [high.id, low.id, late.id, middle.id]


def test_the_oldest_low_priority_is_not_starved(world: World) -> None:
    low = world.start(priority=0)
    claimed: list[bytes] = []
    for _ in range(20):
        world.later(MINUTE)
        world.start(priority=9)
        claimed += [one.record.id for one in world.claim(limit=1)]
    assert low.id in claimed


def test_a_worker_takes_from_its_queues_only(world: World) -> None:
    a, b, c = (world.start(queue=queue) for queue in ("a", "b", "c"))
    assert [one.record.id for one in world.claim(queues=("c", "a"))] == [a.id, c.id]
    assert world.claim(queues=("nobody",)) == []
    assert [one.record.id for one in world.claim(queues=None)] == [b.id]


def test_a_worker_takes_only_what_its_tags_suffice_for(world: World) -> None:
    plain, gpu, both = (world.start(queue=queue) for queue in ("default", "default+gpu", "default+fast+gpu"))
    assert [one.record.id for one in world.claim()] == [plain.id]
    assert [one.record.id for one in world.claim(tags=("gpu",))] == [gpu.id]
    assert world.claim(queues=("other",), tags=("fast", "gpu")) == []
    assert [one.record.id for one in world.claim(queues=("default",), tags=("fast", "gpu"))] == [both.id]


def test_one_execution_can_be_claimed_by_name(world: World) -> None:
    _, second = world.start(), world.start()
    assert [one.record.id for one in world.claim(root=second.id)] == [second.id]
    assert world.claim(root=second.id) == []
    assert world.claim(root=world.id()) == []


async def test_the_place_in_the_queue_is_known(world: World) -> None:
    first, second = world.start(), world.start(priority=6)
    assert await world.store.executions.queue_place(WORKSPACE, first.id) == QueuePlace("default", 1)
    assert await world.store.executions.queue_place(WORKSPACE, second.id) == QueuePlace("default", 0)
    assert await world.store.executions.queue_place("other", first.id) is None
    world.claim()
    assert await world.store.executions.queue_place(WORKSPACE, first.id) is None


async def test_a_claim_brings_all_that_an_owner_needs(world: World) -> None:
    started = [world.start(input=value(f'{{"n":{n}}}'), tags={"n": str(n)}) for n in range(300)]
    claimed = world.claim(limit=300)
    assert [one.record.id for one in claimed] == [one.id for one in started]
    assert [one.payload.input.text for one in claimed] == [f'{{"n":{n}}}' for n in range(300)]
    runs = [world.node_run(f"n{n}", NodeStatus.SUSPENDED, output=value(str(n))) for n in range(20)]
    wait = WaitRecord(
        node="n1",
        kind="timer",
        due_at=5,
        data={"a": 1},
        created_at=world.now,
        execution_id=claimed[7].record.id,
        workspace=WORKSPACE,
        flow=FLOW,
    )
    record = claimed[7].record
    world.suspend(record, node_runs=runs, waits_opened=[wait])
    world.send(record.id, "signal", {"go": True})
    (again,) = world.claim("w2")
    assert sorted(again.node_runs, key=lambda run: run.node) == sorted(runs, key=lambda run: run.node)
    assert again.waits == [wait]
    assert [(message.kind, message.data) for message in again.messages] == [("signal", {"go": True})]
    assert (again.record.epoch, again.record.worker, again.was) == (2, "w2", ExecutionStatus.SUSPENDED)
    assert again.record == await world.get(record.id)
    loaded = await world.store.load(record.id)
    assert loaded is not None
    assert (loaded.record, loaded.waits, len(loaded.node_runs)) == (again.record, [wait], 20)
    assert await world.store.load(world.id()) is None


async def test_a_woken_sleeper_has_no_timer_left(world: World) -> None:
    started = world.started()
    due_at = world.now + HOUR
    world.suspend(started, wake_at=due_at)
    assert world.last is not None
    assert world.last.due_at == due_at
    world.send(started.id)
    world.claim()
    assert world.fire() is None


async def test_a_cancelling_execution_stays_so_when_claimed(world: World) -> None:
    started = world.started(has_cleanup=True)
    world.suspend(started)
    world.cancel(started.id, reason="stop")
    (claimed,) = world.claim()
    assert (claimed.record.status, claimed.was) == (ExecutionStatus.CANCELLING,) * 2
    assert claimed.record.reason == "stop"
    assert [message.kind for message in claimed.messages] == ["cancel"]
    assert (await world.types(started.id))[-1] == "execution.cancelling"
