"""Deleting: whatever has ended goes with every row of it and of all below it; what goes on stays whole."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.base.clock import HOUR
from perdure.errors import ExecutionNotEnded, ExecutionNotFound
from perdure.model.states import ExecutionKind, ExecutionStatus, NodeStatus
from perdure.store.commands import DeleteExecutions, FoldCounters, PutArtifacts, TagExecution
from perdure.store.interface import ExecutionFilter
from perdure.store.records import ArtifactRecord, NodeRunRecord, ReplayFacts, Reuse, ReusedRun, Started
from perdure.store.statements import Column, Procedure, Query
from tests.store.world import WORKSPACE, World, hashed, value

COMPLETED, FAILED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED


def delete(world: World, *ids: bytes, workspace: str = WORKSPACE) -> list[Any]:
    answers: list[Any] = world.do(DeleteExecutions(at=world.now, workspace=workspace, ids=list(ids)))
    return answers


def rich(world: World, **fields: Any) -> Started:
    """One that has ended and left rows of every kind."""
    one: Started = world.started(tags={"team": "blue"}, deadline_at=world.now + HOUR, **fields)
    run = NodeRunRecord(
        node="n",
        type="python",
        status=NodeStatus.COMPLETED,
        started_at=world.now,
        finished_at=world.now,
        output=value("1"),
    )
    artifact = ArtifactRecord(
        id=world.id(), workspace=WORKSPACE, execution_id=one.id, node="n", ordinal=0, attempt=1, name="a.txt", path="aa/aa",
        media_type="text/plain", size_bytes=1, sha256=hashed("a"), created_at=world.now,
    )  # fmt: skip
    world.do(PutArtifacts(at=world.now, artifacts=[artifact]))
    world.advance(one, COMPLETED, node_runs=[run], output=value("2"))
    return one


async def is_gone(world: World, id: bytes) -> bool:
    store = world.store
    found = [
        await store.executions.get(WORKSPACE, id),
        await store.executions.payload(WORKSPACE, id),
        await store.node_runs.list(WORKSPACE, id),
        await store.events.page(WORKSPACE, id, 0, 100),
        await store.waits.of(WORKSPACE, id),
        await store.artifacts.list(WORKSPACE, execution_id=id),
        await store.messages([id]),
        [one for one in await world.all() if one.id == id],
        [one for one in await world.all(tags=(("team", "blue"),)) if one.id == id],
    ]
    if any(found):
        assert all(found[:2]), found
    return not any(found)


async def counted(world: World, **conditions: Any) -> int:
    return await world.store.executions.count(WORKSPACE, ExecutionFilter(**conditions))


async def test_nothing_of_it_is_left_and_its_neighbours_stay(world: World) -> None:
    doomed, other = rich(world), rich(world)
    assert delete(world, doomed.id) == [None]
    assert await is_gone(world, doomed.id)
    assert not await is_gone(world, other.id)
    assert await world.store.artifacts.list(WORKSPACE, execution_id=other.id) != []
    assert [one.id for one in await world.all(tags=(("team", "blue"),))] == [other.id]
    (answer,) = delete(world, doomed.id)
    assert isinstance(answer, ExecutionNotFound)


async def test_counts_stay_exact_whether_they_are_folded_or_not(world: World) -> None:
    doomed = [rich(world) for _ in range(3)]
    rich(world)
    world.do(FoldCounters(at=world.now))
    delete(world, doomed[0].id)
    assert (await counted(world), await counted(world, statuses=(COMPLETED,))) == (3, 3)
    delete(world, doomed[1].id, doomed[2].id)
    world.do(FoldCounters(at=world.now))
    assert (await counted(world), await counted(world, flow="tests/flow", statuses=(COMPLETED,))) == (1, 1)


def orphans() -> Procedure[int]:
    sql = (
        "SELECT count(*) FROM events AS v WHERE NOT EXISTS (SELECT 1 FROM executions AS e WHERE e.id = v.execution_id)"
    )
    ((count,),) = yield Query(sql, {}, (Column("count", "bigint"),))
    found: int = count
    return found


async def test_what_happens_to_it_in_the_same_batch_goes_with_it(world: World) -> None:
    """Its events are written at the end of a batch, together with all others."""
    tagged, ending = rich(world), world.started()
    tag = TagExecution(
        at=world.now, workspace=WORKSPACE, execution_id=tagged.id, put={"color": "red"}, remove=(), by="somebody"
    )
    both = DeleteExecutions(at=world.now, workspace=WORKSPACE, ids=[tagged.id, ending.id])
    outcome = world.write(tag, both, advances=(world.advancing(ending, COMPLETED),))
    assert outcome.results[1] == [None, None]
    assert await is_gone(world, tagged.id)
    read: Any = world.store
    assert await read._read(orphans()) == 0
    assert await counted(world) == 0


def counter_rows(kept: str) -> Procedure[list[int]]:
    """How many rows each table of counters has, of those that `kept` holds of."""
    counts = []
    for table in ("counters", "hours", "hour_totals", "days", "totals", "durations"):
        sql = f"SELECT count(*) FROM {table} AS c WHERE {kept}"
        ((count,),) = yield Query(sql, {}, (Column("count", "bigint"),))
        counts.append(count)
    return counts


def rows_of(table: str) -> Procedure[int]:
    ((count,),) = yield Query(f"SELECT count(*) FROM {table}", {}, (Column("count", "bigint"),))
    found: int = count
    return found


async def test_counters_keep_no_row_of_what_came_to_nothing(world: World) -> None:
    """Or they would grow with every hour, flow and state that there ever was."""
    read: Any = world.store
    waiting = world.start()
    world.do(FoldCounters(at=world.now))
    ended = [rich(world) for _ in range(2)]
    world.end(world.claim()[0].record)
    world.do(FoldCounters(at=world.now))
    assert await counted(world, statuses=(COMPLETED,)) == 3
    assert await read._read(counter_rows("c.count = 0")) == [0] * 6
    delete(world, waiting.id, *(one.id for one in ended))
    world.do(FoldCounters(at=world.now))
    assert await read._read(counter_rows("TRUE")) == [0] * 6
    assert await read._read(rows_of("duration_totals")) == 0
    assert await counted(world) == 0


@pytest.mark.parametrize("state", ["pending", "queued", "running", "suspended", "interrupted", "cancelling"])
async def test_what_goes_on_is_refused_with_its_status(world: World, state: str) -> None:
    if state in ("pending", "queued"):
        one = world.start(start_at=world.now + HOUR if state == "pending" else None)
    else:
        one = world.started(has_cleanup=True)
        if state == "interrupted":
            world.interrupt("w1")
        elif state != "running":
            world.suspend(one)
        if state == "cancelling":
            world.cancel(one.id)
    ended = rich(world)
    answer, gone = delete(world, one.id, ended.id)
    assert isinstance(answer, ExecutionNotEnded)
    assert (answer.details["status"], gone) == (state, None)
    assert (await world.get(one.id)).status == state


async def test_children_and_units_go_with_it(world: World) -> None:
    top = world.started()
    child = world.started(of=await world.get(top.id))
    grandchild = world.started(of=await world.get(child.id), parent_node="deeper")
    unit = world.started(of=await world.get(top.id), kind=ExecutionKind.UNIT, parent_node="unit")
    for one in (grandchild, unit):
        world.end(one)
    for one in (child, top):
        # What its children told of their ends came meanwhile.
        world.end(await world.get(one.id))
    assert delete(world, top.id) == [None]
    assert [await is_gone(world, one.id) for one in (top, child, grandchild, unit)] == [True] * 4
    assert await counted(world) == 0


async def test_a_child_that_still_ends_holds_its_parent_and_a_living_parent_its_child(world: World) -> None:
    top = world.started()
    done = world.started(of=await world.get(top.id))
    late = world.started(of=await world.get(top.id), parent_node="late")
    world.end(done)
    (answer,) = delete(world, done.id)
    assert isinstance(answer, ExecutionNotEnded)
    assert answer.details["status"] == "running"
    world.end(await world.get(top.id), FAILED)
    (answer,) = delete(world, top.id)
    assert isinstance(answer, ExecutionNotEnded)
    assert not await is_gone(world, top.id)
    world.end(await world.get(late.id), ExecutionStatus.CANCELLED)
    assert delete(world, done.id, top.id, done.id) == [None, None, None]
    assert [await is_gone(world, one.id) for one in (top, done, late)] == [True] * 3


async def test_another_workspace_finds_nothing_to_delete(world: World) -> None:
    one = rich(world)
    answers = delete(world, one.id, world.id(), workspace="other")
    assert [type(answer) for answer in answers] == [ExecutionNotFound, ExecutionNotFound]
    assert not await is_gone(world, one.id)


async def test_its_idempotency_key_is_free_again(world: World) -> None:
    one = rich(world, idempotency_key="k", request_hash=hashed("r"))
    again = world.start(idempotency_key="k", request_hash=hashed("r"))
    assert (again.id, again.replayed) == (one.id, True)
    delete(world, one.id)
    other = world.start(idempotency_key="k", request_hash=hashed("another request"))
    assert (other.id != one.id, other.replayed) == (True, False)
    assert world.start(idempotency_key="k", request_hash=hashed("another request")).id == other.id


async def test_a_replay_of_it_stands_alone(world: World) -> None:
    original = rich(world)
    run = ReusedRun("n", 0, "", 0, "", NodeStatus.COMPLETED, 1, original.id)
    new = world.new(
        replay_of=original.id, trigger_kind="replay", reuse=Reuse(source=original.id, facts=ReplayFacts(), runs=[run])
    )
    replayed = world.start(new)
    delete(world, original.id)
    (claimed,) = world.claim()
    assert (claimed.record.id, claimed.record.replay_of) == (replayed.id, original.id)
    assert [(one.node, one.output) for one in claimed.node_runs] == [("n", value("1"))]


async def test_readers_of_the_feed_pass_over_what_is_gone(world: World) -> None:
    begin = await world.store.events.feed_end()
    doomed, other = rich(world), rich(world)
    delete(world, doomed.id)
    seen = {
        chunk.execution_id
        for _, _, chunks in await world.store.events.feed(WORKSPACE, begin, 1_000)
        for chunk in chunks
    }
    assert seen == {other.id}


async def test_tags_are_set_and_removed_and_found_even_of_what_has_ended(world: World) -> None:
    one = rich(world)
    tag = TagExecution(
        at=world.later(1_000),
        workspace=WORKSPACE,
        execution_id=one.id,
        put={"team": "red", "case": "7"},
        remove=(),
        by="ada",
    )
    assert world.do(tag) == {"team": "red", "case": "7"}
    assert world.do(tag) == {"team": "red", "case": "7"}
    assert [len(await world.all(tags=(wanted,))) for wanted in [("team", "blue"), ("team", "red"), ("case", None)]] == [
        0,
        1,
        1,
    ]
    event = (await world.events(one.id))[-1]
    assert (event.type, event.data) == (
        "execution.tagged", {"set": {"case": "7", "team": "red"}, "remove": [], "by": "ada"},
    )  # fmt: skip
    assert (await world.types(one.id)).count("execution.tagged") == 1
    removing = TagExecution(
        at=world.now, workspace=WORKSPACE, execution_id=one.id, put={}, remove=("team", "unheard"), by="ada"
    )
    assert world.do(removing) == {"case": "7"}
    assert (await world.events(one.id))[-1].data == {"set": {}, "remove": ["team"], "by": "ada"}
    record = await world.get(one.id)
    assert (record.tags, record.status, await world.all(tags=(("team", None),))) == ({"case": "7"}, COMPLETED, [])
    delete(world, one.id)
    assert await world.all(tags=(("case", None),)) == []


async def test_an_owner_goes_on_numbering_behind_a_tag(world: World) -> None:
    one = world.started()
    world.do(TagExecution(at=world.now, workspace=WORKSPACE, execution_id=one.id, put={"a": "b"}, remove=(), by="ada"))
    world.end(one)
    assert (await world.types(one.id))[-2:] == ["execution.tagged", "execution.completed"]
    assert (await world.get(one.id)).tags == {"a": "b"}
