"""What was kept long enough goes with all that is its own, from below, and counts stay exact."""

from typing import Any

from perdure.base.clock import DAY
from perdure.base.ids import id_floor
from perdure.model.event import Event, EventType
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.commands import EraseExecutions, EraseHistory, FoldCounters
from perdure.store.interface import ExecutionFilter
from tests.store.world import WORKSPACE, World


def erase(world: World, *ids: bytes) -> int:
    erased: int = world.do(EraseExecutions(at=world.now, ids=list(ids)))
    return erased


async def family(world: World, *tops: bytes) -> dict[bytes, list[bytes]]:
    return {top: [one.id for one in found] for top, found in (await world.store.executions.families(tops)).items()}


async def test_an_ended_execution_goes_with_its_family_and_is_counted_no_more(world: World) -> None:
    root = world.started(tags={"kind": "old"})
    child = world.started(of=await world.get(root.id))
    unit = world.started(of=await world.get(root.id), kind="unit", parent_ordinal=1)
    other = world.started()
    for one in (unit, child, root):
        world.end(one)
    assert erase(world, unit.id, child.id, root.id) == 3
    assert {one.id for one in await world.all(kind=None)} == {other.id}
    assert await world.store.events.page(WORKSPACE, root.id, 0, 10) == []
    assert await world.store.executions.count(WORKSPACE, ExecutionFilter()) == 1
    world.do(FoldCounters(at=world.now))
    assert await world.store.executions.count(WORKSPACE, ExecutionFilter()) == 1
    assert erase(world, root.id) == 0


async def test_a_family_is_told_from_above(world: World) -> None:
    root = world.started()
    child = world.started(of=await world.get(root.id))
    unit = world.started(of=await world.get(root.id), kind="unit", parent_ordinal=1)
    grandchild = world.started(of=await world.get(child.id))
    other = world.started()
    world.end(grandchild)
    found = await world.store.executions.families([root.id, other.id, world.id()])
    assert list(found) == [root.id, other.id]
    ids = [one.id for one in found[root.id]]
    assert (ids[0], set(ids[1:3]), ids[3:]) == (root.id, {child.id, unit.id}, [grandchild.id])
    last = found[root.id][-1]
    assert (last.status, last.last_seq) == ("completed", (await world.get(grandchild.id)).last_seq)
    assert await family(world, root.id, child.id) == {root.id: [root.id, unit.id], child.id: [child.id, grandchild.id]}


async def test_what_goes_on_stays_and_so_does_what_started_it(world: World) -> None:
    root = world.started()
    middle = world.started(of=await world.get(root.id))
    low = world.started(of=await world.get(middle.id))
    world.end(root)
    world.end(middle)
    assert erase(world, low.id, middle.id, root.id) == 0
    world.end(low, ExecutionStatus.FAILED)
    assert erase(world, root.id) == 0
    assert erase(world, middle.id, root.id) == 0
    assert erase(world, low.id) == 1
    assert erase(world, root.id, middle.id) == 2


async def test_a_long_history_goes_in_portions_before_its_execution(world: World) -> None:
    one, other = world.started(), world.started()
    for _ in range(3):
        runs = [world.node_run(f"n{n}", NodeStatus.COMPLETED) for n in range(5)]
        world.advance(one, ExecutionStatus.RUNNING, node_runs=runs, events=[Event(EventType.PROGRESS, world.now)])

    def portion(limit: int, id: bytes = one.id) -> Any:
        return world.do(EraseHistory(at=world.now, execution_id=id, limit=limit))

    assert portion(2) is False
    assert len(await world.events(one.id)) == 5
    world.end(one)
    seen = []
    while portion(2):
        chunks = await world.store.events.page(WORKSPACE, one.id, 0, 100)
        assert (await world.get(one.id)).last_seq == sum(len(chunk.events) for chunk in chunks), "it is whole as it is"
        seen.append((len(chunks), len(await world.store.node_runs.list(WORKSPACE, one.id))))
    assert seen == [(3, 5), (1, 5), (0, 5), (0, 3), (0, 1), (0, 0)]
    assert len(await world.events(other.id)) == 2
    assert erase(world, one.id) == 1
    assert portion(2) is False


async def test_what_may_be_old_enough_is_found_in_order(world: World) -> None:
    ids = [world.started().id for _ in range(3)]
    world.later(DAY)
    late = world.started().id
    found = await world.store.executions.passed(bytes(16), id_floor(world.now - DAY // 2), 2)
    assert [one.id for one in found] == ids[:2]
    assert (found[0].namespace, found[0].status, found[0].finished_at, found[0].depth) == ("tests", "running", None, 0)
    rest = await world.store.executions.passed(found[-1].id, id_floor(world.now - DAY // 2), 2)
    assert [one.id for one in rest] == ids[2:]
    assert late not in ids
