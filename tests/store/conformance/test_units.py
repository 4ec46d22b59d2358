"""Units: children that stand in no list, count nowhere, and go on like any execution."""

import pytest

from perdure.model.states import ExecutionKind, ExecutionStatus
from perdure.store.commands import FoldCounters
from perdure.store.interface import ExecutionFilter, Page
from perdure.store.records import ExecutionRecord, NewExecution
from tests.store.world import FLOW, WORKSPACE, World

UNIT = ExecutionKind.UNIT
COMPLETED, QUEUED, CANCELLED = ExecutionStatus.COMPLETED, ExecutionStatus.QUEUED, ExecutionStatus.CANCELLED


async def parent_of(world: World, count: int, **fields: object) -> tuple[ExecutionRecord, list[NewExecution]]:
    """A suspended execution and its queued units."""
    parent = await world.get(world.started(tags={"team": "x"}).id)
    units = [
        world.new(of=parent, kind=UNIT, parent_node="each", parent_ordinal=at, queue="gpu", tags=parent.tags, **fields)
        for at in range(count)
    ]
    world.suspend(parent, children=units)
    return await world.get(parent.id), units


async def test_no_list_shows_units_unless_it_asks_for_them(world: World) -> None:
    parent, units = await parent_of(world, 3)
    ids = [unit.id for unit in units]
    for wanted in (
        {}, {"flow": FLOW}, {"namespace": "tests"}, {"root": parent.id}, {"tags": (("team", "x"),)}, {"tags": (("team", None),)},
    ):  # fmt: skip
        for folded in (False, True):
            if folded:
                world.do(FoldCounters(at=world.now))
            assert [one.id for one in await world.all(**wanted)] == [parent.id]
            assert [one.id for one in await world.all(**wanted, kind=UNIT)] == ids[::-1]
            assert {one.id for one in await world.all(**wanted, kind=None)} == {parent.id, *ids}
            counts = {kind: await _count(world, kind=kind, **wanted) for kind in (ExecutionKind.FLOW, UNIT, None)}
            assert counts == {ExecutionKind.FLOW: 1, UNIT: 3, None: 4}
    assert await world.all(parent=parent.id) == []
    assert [one.id for one in await world.all(parent=parent.id, kind=UNIT)] == ids[::-1]
    assert await world.all(kind=UNIT, statuses=(COMPLETED,)) == []
    assert await world.all(kind=UNIT, tags=(("team", "y"),)) == []
    assert await world.store.executions.children(WORKSPACE, parent.id) == []
    rows, _ = await world.store.executions.statistics(WORKSPACE, ExecutionFilter(), ["trigger"])
    assert rows == [{"trigger": "api", "count": 1}]


async def _count(world: World, **conditions: object) -> int:
    return await world.store.executions.count(WORKSPACE, ExecutionFilter(**conditions))  # type: ignore[arg-type]


@pytest.mark.parametrize("newest_first", [True, False])
async def test_pages_of_units_go_on_where_the_last_one_ended(world: World, newest_first: bool) -> None:
    parent, units = await parent_of(world, 5)
    await parent_of(world, 2)
    world.end(world.claim(queues=("gpu",), limit=1)[0].record)
    found: list[bytes] = []
    while True:
        page = Page(limit=2, after=found[-1] if found else None, newest_first=newest_first)
        wanted = ExecutionFilter(kind=UNIT, parent=parent.id)
        rows = await world.store.executions.list(WORKSPACE, wanted, page)
        if not rows:
            break
        found += [row.id for row in rows]
    ids = [unit.id for unit in units]
    assert found == (ids[::-1] if newest_first else ids)


async def test_a_unit_runs_in_its_own_queue_and_its_end_reaches_its_parent(world: World) -> None:
    parent, units = await parent_of(world, 2)
    assert world.claim("w1", queues=("default",)) == []
    claimed = world.claim("w2", queues=("gpu",))
    assert [one.record.id for one in claimed] == [unit.id for unit in units]
    assert {one.record.kind for one in claimed} == {UNIT}
    world.end(claimed[1].record)
    [(kind, letter)] = await world.messages(parent.id)
    assert (kind, letter["node"], letter["ordinal"], letter["status"]) == ("child_ended", "each", 1, COMPLETED)
    assert [one.record.id for one in world.claim("w1", queues=("default",))] == [parent.id]


async def test_a_parent_goes_before_the_units_that_it_started(world: World) -> None:
    parent = await world.get(world.started().id)
    units = [world.new(of=parent, kind=UNIT, parent_ordinal=at) for at in range(3)]
    world.suspend(parent, children=units)
    world.later(1_000_000)
    first = world.claim(limit=1)[0]
    assert first.record.id == units[0].id
    world.end(first.record)
    assert [one.record.id for one in world.claim(limit=2)] == [parent.id, units[1].id]


async def test_a_run_and_what_undoes_it_each_have_their_unit(world: World) -> None:
    parent = await world.get(world.started().id)
    twice = [world.new(of=parent, kind=UNIT, parent_label=label) for label in ("", "compensate", "")]
    world.suspend(parent, children=twice)
    assert {one.id for one in await world.all(kind=UNIT)} == {twice[0].id, twice[1].id}


async def test_cancelling_a_parent_ends_its_queued_units(world: World) -> None:
    parent, units = await parent_of(world, 2)
    assert world.cancel(parent.id) == [CANCELLED]
    assert {(await world.get(unit.id)).status for unit in units} == {CANCELLED}


async def test_the_feed_says_what_kind_of_execution_it_tells_of(world: World) -> None:
    parent, units = await parent_of(world, 1)
    commits = await world.store.events.feed(WORKSPACE, {}, 100)
    kinds = {chunk.execution_id: chunk.kind for _, _, chunks in commits for chunk in chunks}
    assert kinds == {parent.id: ExecutionKind.FLOW, units[0].id: UNIT}
    (chunk, *_) = await world.store.events.page(WORKSPACE, units[0].id, 0, 10)
    assert chunk.kind == UNIT
