"""What was kept long enough goes with all that is its own, families as a whole, and counts stay exact."""

from perdure.base.clock import DAY
from perdure.base.ids import id_floor
from perdure.model.states import ExecutionStatus
from perdure.store.commands import ExpireExecutions, FoldCounters
from perdure.store.interface import ExecutionFilter
from tests.store.world import WORKSPACE, World


def expire(world: World, *roots: bytes, limit: int = 100) -> tuple[int, list[bytes]]:
    deleted, left = world.do(ExpireExecutions(at=world.now, roots=list(roots), limit=limit))
    return deleted, left


async def test_an_ended_execution_goes_with_its_family_and_is_counted_no_more(world: World) -> None:
    root = world.started(tags={"kind": "old"})
    child = world.started(of=await world.get(root.id))
    unit = world.started(of=await world.get(root.id), kind="unit", parent_ordinal=1)
    other = world.started()
    for one in (unit, child, root):
        world.end(one)
    assert expire(world, root.id) == (3, [])
    assert {one.id for one in await world.all(kind=None)} == {other.id}
    assert await world.store.events.page(WORKSPACE, root.id, 0, 10) == []
    assert await world.store.executions.count(WORKSPACE, ExecutionFilter()) == 1
    world.do(FoldCounters(at=world.now))
    assert await world.store.executions.count(WORKSPACE, ExecutionFilter()) == 1
    assert expire(world, root.id) == (0, [])


async def test_what_goes_on_keeps_its_whole_family(world: World) -> None:
    root = world.started()
    grandchild_of = world.started(of=await world.get(root.id))
    grandchild = world.started(of=await world.get(grandchild_of.id))
    world.end(root)
    world.end(grandchild_of)
    running = world.started()
    assert expire(world, root.id, running.id) == (0, [])
    assert len(await world.all()) == 4
    world.end(grandchild, ExecutionStatus.FAILED)
    assert expire(world, root.id, running.id) == (3, [])


async def test_a_large_family_goes_in_portions_from_below(world: World) -> None:
    root = world.started()
    parent = await world.get(root.id)
    children = [world.started(of=parent, parent_ordinal=ordinal) for ordinal in range(5)]
    small = world.started()
    for one in (*children, root, small):
        world.end(one)
    seen, left, roots = [], [root.id, small.id], []
    while left:
        deleted, left = expire(world, *left, limit=2)
        seen.append(deleted)
        there = {one.id for one in await world.all()}
        assert root.id in there or not there & {child.id for child in children}
        roots.append(left)
    assert seen == [2, 2, 2, 1]
    assert roots == [[root.id, small.id], [root.id, small.id], [small.id], []]


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
