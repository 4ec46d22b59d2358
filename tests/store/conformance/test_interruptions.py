"""Dead workers: everything that they owned goes on, or is given up with the reason."""

import pytest

from perdure.base.clock import HOUR, SECOND
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.commands import ClaimExecutions, InterruptWorkers, RegisterWorker, RescueExecutions, StopWorker
from perdure.store.interface import Lost
from perdure.store.records import WorkerRecord
from tests.store.world import WORKSPACE, World

RUNNING, INTERRUPTED, ABANDONED = ExecutionStatus.RUNNING, ExecutionStatus.INTERRUPTED, ExecutionStatus.ABANDONED


async def test_the_executions_of_a_dead_worker_are_claimable(world: World) -> None:
    mine, theirs = world.started("w1"), world.started("w2")
    assert world.interrupt("w1", "unknown") == [mine.id]
    assert (await world.get(mine.id)).status == INTERRUPTED
    assert (await world.get(theirs.id)).status == RUNNING
    interrupted = (await world.events(mine.id))[-1]
    assert (interrupted.type, interrupted.data) == (
        "execution.interrupted", {"worker": "w1", "crash": False, "crashes": 0},
    )  # fmt: skip
    (claimed,) = world.claim("w3")
    assert (claimed.record.epoch, claimed.record.recoveries, claimed.was) == (2, 1, INTERRUPTED)
    assert (await world.types(mine.id))[-1] == "execution.recovered"
    assert world.interrupt("w1") == []


async def test_at_start_every_other_worker_is_dead(world: World) -> None:
    old, older, own = world.started("old"), world.started("older"), world.started("me")
    assert sorted(world.interrupt(all_but="me")) == sorted([old.id, older.id])
    assert (await world.get(own.id)).status == RUNNING
    assert world.advance(old, ExecutionStatus.COMPLETED) == Lost()


async def test_only_an_attempt_in_flight_counts_as_a_crash(world: World) -> None:
    busy, idle = world.started(), world.started()
    world.advance(busy, RUNNING, node_runs=[world.node_run()])
    world.advance(idle, RUNNING, node_runs=[world.node_run(status=NodeStatus.RETRYING)])
    world.interrupt("w1")
    assert [(await world.get(one.id)).crashes for one in (busy, idle)] == [1, 0]


@pytest.mark.parametrize("max_recoveries", [0, 2])
async def test_too_many_crashes_end_it(world: World, max_recoveries: int) -> None:
    parent = await world.get(world.started("safe").id)
    new = world.new(of=parent, claim_by="w0", max_recoveries=max_recoveries, limit=world.limit(1))
    world.advance(parent, RUNNING, children=[new])
    waiting = world.start(limit=world.limit(1))
    grandchild = world.new(of=await world.get(new.id))
    world.advance(await world.get(new.id), RUNNING, node_runs=[world.node_run()], children=[grandchild])
    for n in range(max_recoveries):
        world.interrupt(f"w{n}")
        (claimed,) = world.claim(f"w{n + 1}", root=new.id)
        assert claimed.record.crashes == n + 1
    world.interrupt(f"w{max_recoveries}")
    assert await world.status(new.id) == (ABANDONED, "recoveries_exhausted")
    assert (await world.types(new.id))[-3:] == ["execution.interrupted", "node.failed", "execution.abandoned"]
    payload = await world.store.executions.payload(WORKSPACE, new.id)
    assert payload is not None
    assert payload.error is not None
    assert payload.error["code"] == "recoveries_exhausted"
    assert payload.error["details"]["crashes"] == max_recoveries + 1
    (run,) = await world.store.node_runs.list(WORKSPACE, new.id)
    assert run.status == NodeStatus.FAILED
    assert run.error is not None
    assert run.error["code"] == "abandoned"
    assert (await world.get(waiting.id)).status == ExecutionStatus.QUEUED
    assert (await world.get(grandchild.id)).status == ExecutionStatus.CANCELLED
    ((kind, data),) = await world.messages(parent.id)
    assert (kind, data["status"]) == ("child_ended", "abandoned")


async def test_progress_forgives_crashes(world: World) -> None:
    started = world.started(max_recoveries=1)
    world.advance(started, RUNNING, node_runs=[world.node_run()])
    world.interrupt("w1")
    for n in range(5):
        (claimed,) = world.claim(f"x{n}")
        world.advance(claimed.record, RUNNING, crashes=0, recoveries=claimed.record.recoveries)
        world.interrupt(f"x{n}")
    record = await world.get(started.id)
    assert (record.status, record.crashes, record.recoveries) == (INTERRUPTED, 1, 5)


async def test_a_cancelling_one_stays_cancelling(world: World) -> None:
    started = world.started()
    world.advance(started, ExecutionStatus.CANCELLING, reason="stop")
    world.interrupt("w1")
    assert await world.status(started.id) == (ExecutionStatus.CANCELLING, "stop")
    (claimed,) = world.claim("w2")
    world.end(claimed.record, ExecutionStatus.CANCELLED)


async def test_interrupted_work_goes_before_what_came_later(world: World) -> None:
    first = world.started("w1")
    second = world.start()
    world.later(1_000_000)
    world.interrupt("w1")
    assert [one.record.id for one in world.claim()] == [first.id, second.id]


async def test_workers_are_known_until_they_stop(world: World) -> None:
    for name in ("a", "b"):
        worker = WorkerRecord(
            id=name, number=0, name=name, host="h", pid=1, started_at=world.now, heartbeat_at=world.now
        )
        world.do(RegisterWorker(at=world.now, worker=worker))
    world.start()
    assert world.claim("c", limit=0) == []
    world.do(StopWorker(at=world.later(1), worker="a"))
    stopped_at = world.now
    assert world.do(ClaimExecutions(at=world.now, worker="a", queues=None, limit=1)) is None
    world.do(InterruptWorkers(at=world.later(1), workers=("b",)))
    assert world.do(ClaimExecutions(at=world.now, worker="b", queues=None, limit=1)) is None
    assert world.do(ClaimExecutions(at=world.now, worker="nobody", queues=None, limit=1)) is None
    c, b, a = await world.store.workers.list()
    assert (a.id, a.stopped_at) == ("a", stopped_at)
    assert (b.id, b.number, b.stopped_at) == ("b", a.number + 1, world.now)
    assert (c.id, c.stopped_at) == ("c", None)


async def test_nobody_is_taken_for_dead_before_his_own_lease_is_over(world: World) -> None:
    """Processes with another `--lease` may look for the dead: a worker does not know of theirs, and goes by its own."""

    def register(name: str, lease: int) -> None:
        at = world.later(SECOND)
        worker = WorkerRecord(id=name, number=0, name=name, host="h", pid=1, started_at=at, heartbeat_at=at)
        world.do(RegisterWorker(at=at, worker=worker, lease=lease))

    def dead() -> list[str]:
        found: list[str] = world.do(RescueExecutions(at=world.later(SECOND), lease=0))
        return found

    register("long", HOUR)
    assert dead() == []
    register("short", 1)
    assert dead() == [], "as long as the other one may be alive"
    for name in ("long", "short"):
        world.do(StopWorker(at=world.now, worker=name))
    register("alone", 1)
    assert dead() == ["alone"]
