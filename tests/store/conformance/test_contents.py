"""A content is in use for as long as an execution refers to it, whichever one that is."""

from __future__ import annotations

from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.commands import DeleteExecutions, PutArtifacts
from perdure.store.records import ArtifactRecord, NodeRunRecord, ReplayFacts, Reuse, ReusedRun, Started, Value
from tests.store.world import WORKSPACE, World, hashed

NAMES = ["input", "run input", "output", "result", "artifact"]
ALL = {hashed(name) for name in NAMES}


def blob(name: str) -> Value:
    return Value(None, hashed(name), 100_000)


def rich(world: World) -> Started:
    one: Started = world.started(input=blob("input"))
    runs = [
        NodeRunRecord(
            node="n", ordinal=ordinal, type="python", status=NodeStatus.COMPLETED, started_at=world.now,
            finished_at=world.now, input=blob("run input"), output=blob("output"),
        )
        for ordinal in range(3)
    ]  # fmt: skip
    artifact = ArtifactRecord(
        id=world.id(), workspace=WORKSPACE, execution_id=one.id, node="n", ordinal=0, attempt=1, name="a.txt", path="aa/aa",
        media_type="text/plain", size_bytes=1, sha256=hashed("artifact"), created_at=world.now,
    )  # fmt: skip
    world.do(PutArtifacts(at=world.now, artifacts=[artifact]))
    world.advance(one, ExecutionStatus.COMPLETED, node_runs=runs, output=blob("result"))
    return one


async def used(world: World) -> set[str]:
    found = await world.store.contents.used([*ALL, hashed("unheard of")])
    return {name for name in NAMES if hashed(name) in found}


def delete(world: World, one: Started) -> None:
    assert world.do(DeleteExecutions(at=world.now, workspace=WORKSPACE, ids=[one.id])) == [None]


async def test_all_that_an_execution_holds_is_in_use_until_it_is_deleted(world: World) -> None:
    assert await used(world) == set()
    first, second = rich(world), rich(world)
    assert await used(world) == set(NAMES)
    delete(world, first)
    assert await used(world) == set(NAMES)
    delete(world, second)
    assert await used(world) == set()


async def test_a_replay_keeps_what_it_has_taken_over(world: World) -> None:
    original = rich(world)
    runs = [ReusedRun("n", at, "", at + 7, "", NodeStatus.COMPLETED, 1, original.id) for at in (1, 2)]
    reuse = Reuse(source=original.id, facts=ReplayFacts(), runs=runs)
    replay = world.started(replay_of=original.id, trigger_kind="replay", reuse=reuse)
    nothing = world.started(replay_of=original.id, reuse=Reuse(source=original.id, facts=ReplayFacts(), runs=[]))
    delete(world, original)
    assert await used(world) == {"run input", "output"}
    copied = await world.store.node_runs.list(WORKSPACE, replay.id)
    assert [(run.ordinal, run.reused_from) for run in copied] == [(8, original.id), (9, original.id)]
    for one in (replay, nothing):
        world.end(one)
    delete(world, replay)
    assert await used(world) == set()


async def test_spans_copy_what_they_name_and_nothing_else(world: World) -> None:
    original = world.started()
    runs = [
        NodeRunRecord(
            node=node, ordinal=ordinal, label=label, type="python", status=NodeStatus.COMPLETED, started_at=world.now,
            finished_at=world.now,
        )
        for node in ("a", "b")
        for ordinal in range(6)
        for label in ("", "undo")
    ]  # fmt: skip
    world.advance(original, ExecutionStatus.COMPLETED, node_runs=runs)
    wanted = [
        ("a", 0, "", 0, ""),
        ("a", 1, "", 1, ""),
        ("a", 3, "", 3, ""),
        ("a", 4, "", 3, "x"),
        ("b", 2, "undo", 5, "undo"),
    ]
    taken = [ReusedRun(*key, NodeStatus.COMPLETED, 1, original.id) for key in wanted]
    reuse = Reuse(source=original.id, facts=ReplayFacts(), runs=taken)
    replay = world.started(replay_of=original.id, trigger_kind="replay", reuse=reuse)
    copied = await world.store.node_runs.list(WORKSPACE, replay.id)
    assert {(run.node, run.ordinal, run.label) for run in copied} == {
        (node, to, label) for node, _, _, to, label in wanted
    }


async def test_a_store_is_told_from_others(world: World) -> None:
    assert await world.store.contents.store_id() == await world.store.contents.store_id() >= 0
