"""Flows and their versions, tokens, workers."""

from typing import Any

import pytest

from perdure.errors import FlowInUse, FlowManaged, FlowNotFound, TokenNotFound
from perdure.store.commands import (
    ClaimExecutions,
    CreateToken,
    DeleteFlow,
    NewFlow,
    PutFlows,
    RegisterWorker,
    RevokeToken,
    StopWorker,
)
from perdure.store.records import WorkerRecord
from tests.store.world import FLOW, WORKSPACE, World


def put(world: World, content: str = "a", id: str = FLOW, **fields: Any) -> Any:
    """The version's number, and whether it is new."""
    [done] = put_all(world, [new(content, id, description=fields.pop("description", None))], **fields)
    return done.number, done.is_new


def new(content: str = "a", id: str = FLOW, *, description: str | None = None) -> NewFlow:
    return NewFlow(
        id=id,
        description=description,
        content_hash=content,
        document=f'"{content}"',
        source_text=content,
        media_type="application/yaml",
    )


def put_all(world: World, flows: list[NewFlow], **fields: Any) -> Any:
    given: dict[str, Any] = {"workspace": WORKSPACE} | fields
    return world.do(PutFlows(at=world.later(1), flows=flows, **given))


async def test_versions_are_immutable_and_reused(world: World) -> None:
    assert [put(world, content) for content in "abacb"] == [(1, True), (2, True), (1, False), (3, True), (2, False)]
    flow = await world.store.flows.get(WORKSPACE, FLOW)
    assert flow is not None
    assert (flow.latest, flow.updated_at) == (2, world.now)
    latest = await world.store.flows.version(WORKSPACE, FLOW)
    assert latest is not None
    assert (latest.number, latest.document, latest.source_text) == (2, '"b"', "b")
    first = await world.store.flows.version(WORKSPACE, FLOW, 1)
    assert first is not None
    assert first.content_hash == "a"
    assert await world.store.flows.version(WORKSPACE, FLOW, 9) is None
    assert [version.number for version in await world.store.flows.versions(WORKSPACE, FLOW)] == [3, 2, 1]
    assert [one.number for one in await world.store.flows.versions(WORKSPACE, FLOW, before=3, limit=1)] == [2]
    assert await world.store.flows.get("other", FLOW) is None


async def test_putting_the_same_again_changes_nothing(world: World) -> None:
    put(world)
    before = await world.store.flows.get(WORKSPACE, FLOW)
    assert put(world) == (1, False)
    assert await world.store.flows.get(WORKSPACE, FLOW) == before


async def test_a_new_version_uses_no_flow_number_up(world: World) -> None:
    put(world)
    for content in "bcad":
        put(world, content)
    put(world, id="a/next")
    first, following = await world.store.flows.get(WORKSPACE, FLOW), await world.store.flows.get(WORKSPACE, "a/next")
    assert first is not None
    assert following is not None
    assert (first.latest, following.number) == (4, first.number + 1)


async def test_flows_are_listed_by_name(world: World) -> None:
    for id in ("b/y", "a/x", "b/x", "bc/x"):
        put(world, id=id)
    put(world, id="b/foreign", workspace="other")
    flows = world.store.flows
    assert [flow.id for flow in await flows.list(WORKSPACE)] == ["a/x", "b/x", "b/y", "bc/x"]
    assert [flow.id for flow in await flows.list(WORKSPACE, namespace="b")] == ["b/x", "b/y"]
    assert [flow.id for flow in await flows.list(WORKSPACE, after="b/x", limit=1)] == ["b/y"]
    assert [flow.id for flow in await flows.list(WORKSPACE, namespace="b", after="b/x")] == ["b/y"]


async def test_a_managed_flow_is_changed_by_its_manager_only(world: World) -> None:
    put(world, source="folder")
    with pytest.raises(FlowManaged):
        put(world, "b")
    with pytest.raises(FlowManaged):
        world.do(DeleteFlow(at=world.now, workspace=WORKSPACE, id=FLOW))
    assert put(world, "b", source="folder") == (2, True)
    world.do(DeleteFlow(at=world.now, workspace=WORKSPACE, id=FLOW, source="folder"))
    assert put(world, "c") == (3, True)


async def test_several_flows_are_put_together_or_not_at_all(world: World) -> None:
    put(world, "a", id="b/there")
    flows = [new("b", "b/there"), new("a", "b/fresh"), new("a", "a/fresh")]
    done = put_all(world, flows)
    assert [(one.number, one.is_new, one.before) for one in done] == [(2, True, 1), (1, True, None), (1, True, None)]
    again = put_all(world, flows)
    assert [(one.number, one.is_new, one.before) for one in again] == [(2, False, 2), (1, False, 1), (1, False, 1)]
    put(world, "a", id="c/managed", source="folder")
    with pytest.raises(FlowManaged):
        put_all(world, [new("c", "a/fresh"), new("a", "d/fresh"), new("b", "c/managed")])
    assert [flow.id for flow in await world.store.flows.list(WORKSPACE)] == [
        "a/fresh",
        "b/fresh",
        "b/there",
        "c/managed",
    ]
    assert len(await world.store.flows.versions(WORKSPACE, "a/fresh")) == 1


async def test_a_deleted_flow_keeps_its_versions(world: World) -> None:
    put(world, "a")
    running = world.started()
    with pytest.raises(FlowInUse):
        world.do(DeleteFlow(at=world.now, workspace=WORKSPACE, id=FLOW))
    world.end(running)
    world.do(DeleteFlow(at=world.now, workspace=WORKSPACE, id=FLOW))
    for command in (
        DeleteFlow(at=world.now, workspace=WORKSPACE, id=FLOW),
        DeleteFlow(at=world.now, workspace="other", id=FLOW),
    ):
        with pytest.raises(FlowNotFound):
            world.do(command)
    assert await world.store.flows.get(WORKSPACE, FLOW) is None
    assert await world.store.flows.version(WORKSPACE, FLOW) is None
    assert await world.store.flows.list(WORKSPACE) == []
    assert await world.store.flows.version(WORKSPACE, FLOW, 1) is not None
    assert put(world, "b") == (2, True)
    assert put(world, "a") == (1, False)


async def test_tokens_are_found_by_their_hash(world: World) -> None:
    assert not await world.store.tokens.any()
    id = world.id()
    world.do(CreateToken(at=world.now, id=id, name="ci", sha256=b"h" * 32, role="admin", workspace=None, expires_at=9))
    assert await world.store.tokens.any()
    token = await world.store.tokens.by_hash(b"h" * 32)
    assert token is not None
    assert (token.id, token.name, token.role, token.expires_at, token.revoked_at) == (id, "ci", "admin", 9, None)
    assert await world.store.tokens.by_hash(b"x" * 32) is None
    world.do(RevokeToken(at=world.later(1), id=id))
    world.do(RevokeToken(at=world.later(1), id=id))
    assert [one.revoked_at for one in await world.store.tokens.list()] == [world.now - 1]
    with pytest.raises(TokenNotFound):
        world.do(RevokeToken(at=world.now, id=world.id()))
    assert await world.store.tokens.any()


async def test_workers_are_listed_with_what_they_take_and_own(world: World) -> None:
    record = WorkerRecord(
        id="w", number=0, name="anna", host="h", pid=7, started_at=world.now, heartbeat_at=world.now, slots=3,
        queues=("a", "b"), tags=("gpu",), version="1.2.3",
    )  # fmt: skip
    number = world.do(RegisterWorker(at=world.now, worker=record))
    world.start(queue="a")
    claimed = world.do(ClaimExecutions(at=world.now, worker="w", queues=("a", "b"), limit=9))
    (found,) = await world.store.workers.list()
    assert (found.id, found.number, found.name, found.pid, found.slots) == ("w", number, "anna", 7, 3)
    assert (found.queues, found.tags, found.version, found.owned) == (("a", "b"), ("gpu",), "1.2.3", len(claimed))
    assert await world.store.workers.count() == 1
    world.do(StopWorker(at=world.now, worker="w"))
    assert await world.store.workers.count() == 0
