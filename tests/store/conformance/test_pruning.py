"""What is past its time goes, in bounded portions, and nothing that is still of use."""

from perdure.base.clock import HOUR, MINUTE, SECOND
from perdure.model.states import ExecutionStatus
from perdure.store.commands import ForgetRates, ForgetWorkers, StopWorker
from tests.store.world import World


async def test_workers_that_stopped_long_ago_are_forgotten_the_oldest_first(world: World) -> None:
    ids = [world.worker(name) for name in ("a", "b", "c", "d")]
    for id in ids[:3]:
        world.do(StopWorker(at=world.later(MINUTE), worker=id))
    world.later(HOUR)
    assert world.do(ForgetWorkers(at=world.now, before=world.now - HOUR, limit=1)) == 1
    assert {worker.id for worker in await world.store.workers.list()} == set(ids[1:])
    assert world.do(ForgetWorkers(at=world.now, before=world.now - HOUR)) == 1
    assert world.do(ForgetWorkers(at=world.now, before=world.now - HOUR)) == 0
    assert {worker.id for worker in await world.store.workers.list()} == set(ids[2:])


async def test_a_worker_that_still_owns_something_is_not_forgotten(world: World) -> None:
    """Its executions would never be found again."""
    started = world.started("a")
    world.do(StopWorker(at=world.now, worker=world.worker("a")))
    world.later(HOUR)
    assert world.do(ForgetWorkers(at=world.now, before=world.now)) == 0
    world.interrupt("a")
    assert world.do(ForgetWorkers(at=world.now, before=world.now)) == 1
    assert (await world.get(started.id)).status is ExecutionStatus.INTERRUPTED


async def test_rates_that_are_free_are_forgotten_and_the_others_hold(world: World) -> None:
    for number in range(7):
        world.start(rate=world.rate(1, SECOND, key=f"old {number}"))
    world.later(HOUR)
    world.start(rate=world.rate(1, HOUR, key="new"))
    after, seen = ("", ""), 0
    while (found := world.do(ForgetRates(at=world.now, before=world.now - MINUTE, after=after, limit=3))) is not None:
        assert found > after
        after, seen = found, seen + 1
    assert seen == 2
    held = world.start(rate=world.rate(1, HOUR, key="new"))
    assert await world.status(held.id) == (ExecutionStatus.PENDING, "rate_limit")
    again = world.start(rate=world.rate(1, SECOND, key="old 3"))
    assert await world.status(again.id) == (ExecutionStatus.QUEUED, None)
    assert world.do(ForgetRates(at=world.now, before=world.now - MINUTE, limit=3)) is None
