"""Operations: what a step does and what it notes are one, for the holder alone, and for each execution once."""

from __future__ import annotations

from itertools import product
from typing import Any

import msgspec
import pytest

from perdure.base.clock import DAY, SECOND
from perdure.base.ids import id_floor
from perdure.errors import IdempotencyConflict, OperationEnded, OperationNotFound
from perdure.model.operation import Action, ItemOutcome, OperationStatus
from perdure.model.states import ExecutionStatus
from perdure.store.commands import (
    CancelOperation,
    ClaimOperation,
    CollectOperation,
    CreateOperation,
    DeleteExecutions,
    ForgetOperations,
    ReleaseOperation,
    StepOperation,
)
from perdure.store.operation_records import OperationFilter, OperationRecord, Refusal, Step, Wishes
from tests.store.world import WORKSPACE, World, hashed

WAITING, ASKED, SUCCEEDED, REFUSED = (
    ItemOutcome.WAITING, ItemOutcome.ASKED, ItemOutcome.SUCCEEDED, ItemOutcome.REFUSED,
)  # fmt: skip
LEASE = 10 * SECOND


def new(world: World, action: Action, wishes: Wishes, *, ids: list[bytes], **fields: Any) -> OperationRecord:
    is_known = bool(ids)
    given: dict[str, Any] = {
        "id": world.id(),
        "workspace": WORKSPACE,
        "action": action,
        "status": OperationStatus.RUNNING if is_known else OperationStatus.COLLECTING,
        "request": "{}",
        "plan": msgspec.json.encode(wishes).decode(),
        "asked_by": "ada",
        "until": id_floor(world.now),
        "total": len(ids),
        "created_at": world.now,
        "updated_at": world.now,
    }
    return OperationRecord(**(given | fields))


def create(world: World, action: Action, *ids: bytes, wishes: Wishes | None = None, **fields: Any) -> OperationRecord:
    operation = new(world, action, wishes or Wishes(), ids=list(ids), **fields)
    created = world.do(CreateOperation(at=world.now, operation=operation, ids=list(ids)))
    found: OperationRecord = created.operation
    return found


def claim(world: World, holder: str = "a", *, lease: int = LEASE) -> OperationRecord | None:
    found: OperationRecord | None = world.do(ClaimOperation(at=world.now, holder=holder, free_at=world.now + lease))
    return found


def step(world: World, id: bytes, *steps: Step, holder: str = "a") -> OperationRecord | None:
    command = StepOperation(at=world.now, id=id, holder=holder, free_at=world.now + LEASE, steps=list(steps))
    found: OperationRecord | None = world.do(command)
    return found


async def all_steps(world: World, id: bytes) -> list[Step]:
    return [Step(n=item.n, execution_id=item.execution_id) for item in await world.store.operations.items(id)]


async def outcomes(world: World, id: bytes) -> list[tuple[ItemOutcome, str | None]]:
    return [(item.outcome, item.code) for item in await world.store.operations.items(id)]


async def carry_out(world: World, action: Action, *ids: bytes, wishes: Wishes | None = None) -> OperationRecord:
    operation = create(world, action, *ids, wishes=wishes)
    assert claim(world) is not None
    after = step(world, operation.id, *await all_steps(world, operation.id))
    assert after is not None
    assert after == await world.store.operations.get(WORKSPACE, operation.id)
    return after


async def test_tags_are_set_and_removed_and_each_outcome_is_noted(world: World) -> None:
    going, ended = world.started(tags={"old": "x"}), world.started()
    world.end(ended)
    missing = world.id()
    wishes = Wishes(put={"case": "7"}, remove=["old"])
    after = await carry_out(world, Action.TAG, going.id, ended.id, missing, wishes=wishes)
    assert (after.status, after.total, after.succeeded, after.refused) == (OperationStatus.COMPLETED, 3, 2, 1)
    assert after.finished_at == world.now
    assert await outcomes(world, after.id) == [
        (SUCCEEDED, None), (SUCCEEDED, None), (REFUSED, "execution_not_found"),
    ]  # fmt: skip
    assert [(await world.get(one.id)).tags for one in (going, ended)] == [{"case": "7"}, {"case": "7"}]
    assert {one.id for one in await world.all(tags=(("case", "7"),))} == {going.id, ended.id}
    assert await world.all(tags=(("old", None),)) == []
    assert (await world.types(going.id))[-1] == "execution.tagged"


async def test_a_cancellation_is_settled_when_its_owner_has_said_what_became_of_it(world: World) -> None:
    waiting, ended = world.start(), world.started()
    obeys, finishes, orphan = world.started(), world.started(), world.started("w2")
    world.end(ended)
    ids = [waiting.id, ended.id, obeys.id, finishes.id, orphan.id]
    operation = await carry_out(world, Action.CANCEL, *ids, wishes=Wishes(reason="no more"))
    assert (operation.status, operation.left) == (OperationStatus.RUNNING, 3)
    assert await outcomes(world, operation.id) == [
        (SUCCEEDED, None), (REFUSED, "execution_ended"), (ASKED, None), (ASKED, None), (ASKED, None),
    ]  # fmt: skip
    # Nothing has changed yet: neither does a look.
    assert step(world, operation.id, *(await all_steps(world, operation.id))[2:]) == operation
    assert [kind for kind, _ in await world.messages(obeys.id)] == ["cancel"]
    world.advance(obeys, ExecutionStatus.CANCELLING)
    world.end(finishes)
    world.interrupt("w2")
    after = step(world, operation.id, *await all_steps(world, operation.id))
    assert after is not None
    assert (after.status, after.succeeded, after.refused) == (OperationStatus.COMPLETED, 3, 2)
    assert await outcomes(world, operation.id) == [
        (SUCCEEDED, None), (REFUSED, "execution_ended"), (SUCCEEDED, None), (REFUSED, "execution_ended"), (SUCCEEDED, None),
    ]  # fmt: skip
    assert await world.status(orphan.id) == (ExecutionStatus.CANCELLED, "no more")


async def test_there_is_news_of_what_ended_obeys_or_has_lost_its_owner(world: World) -> None:
    going, obeys, finishes, orphan, gone = (world.started(worker) for worker in ("w", "w", "w", "w2", "w"))
    ids = [going.id, obeys.id, finishes.id, orphan.id, gone.id]
    operation = await carry_out(world, Action.CANCEL, *ids)
    assert await world.store.operations.news(operation.id, 10) == []
    world.advance(obeys, ExecutionStatus.CANCELLING)
    world.end(finishes)
    world.interrupt("w2")
    world.end(gone)
    world.do(DeleteExecutions(at=world.now, workspace=WORKSPACE, ids=[gone.id]))
    assert [item.execution_id for item in await world.store.operations.news(operation.id, 10)] == ids[1:]
    assert [item.n for item in await world.store.operations.news(operation.id, 2)] == [2, 3]


async def test_a_refusal_of_what_its_owner_was_asked_for_is_noted_as_it_is(world: World) -> None:
    """The database refused what a second look would do: it is not looked at a third time."""
    orphan, going = world.started("w2"), world.started()
    operation = await carry_out(world, Action.CANCEL, orphan.id, going.id)
    world.interrupt("w2")
    refused = Step(n=1, execution_id=orphan.id, refusal=Refusal("row_refused", "no such text"))
    after = step(world, operation.id, refused)
    assert after is not None
    assert (after.status, after.refused, after.left) == (OperationStatus.RUNNING, 1, 1)
    assert await outcomes(world, operation.id) == [(REFUSED, "row_refused"), (ASKED, None)]
    assert (await world.status(orphan.id))[0] is ExecutionStatus.INTERRUPTED


async def test_deleting_by_name_and_by_filter_differ_in_what_is_gone_already(world: World) -> None:
    going, top = world.started(), world.started()
    child = world.started(of=await world.get(top.id))
    world.end(child)
    world.end(await world.get(top.id))
    named = await carry_out(world, Action.DELETE, top.id, going.id)
    assert await outcomes(world, named.id) == [(SUCCEEDED, None), (REFUSED, "execution_not_ended")]
    assert await world.store.executions.get(WORKSPACE, child.id) is None
    assert await outcomes(world, (await carry_out(world, Action.DELETE, child.id)).id) == [
        (REFUSED, "execution_not_found")
    ]
    chosen = await carry_out(world, Action.DELETE, child.id, wishes=Wishes(is_chosen=True))
    assert await outcomes(world, chosen.id) == [(SUCCEEDED, None)]


async def test_replays_start_in_the_transaction_that_notes_them(world: World) -> None:
    first, second = world.started(), world.started()
    for one in (first, second):
        world.end(one, ExecutionStatus.FAILED)
    operation = create(world, Action.RETRY, first.id, second.id)
    claim(world)
    replay = world.new(trigger_kind="replay", replay_of=first.id)
    steps = [
        Step(n=1, execution_id=first.id, start=replay),
        Step(n=2, execution_id=second.id, refusal=Refusal("flow_version_not_found", "it is gone")),
    ]
    after = step(world, operation.id, *steps)
    assert after is not None
    assert (after.status, after.succeeded, after.refused) == (OperationStatus.COMPLETED, 1, 1)
    items = await world.store.operations.items(operation.id)
    assert [(item.outcome, item.result) for item in items] == [(SUCCEEDED, replay.id), (REFUSED, None)]
    assert (items[1].code, items[1].detail) == ("flow_version_not_found", "it is gone")
    assert (await world.get(replay.id)).replay_of == first.id


async def test_what_is_noted_is_not_done_again(world: World) -> None:
    one = world.started()
    world.end(one, ExecutionStatus.FAILED)
    other = world.started()
    operation = create(world, Action.RETRY, one.id, other.id)
    claim(world)
    for _ in range(2):
        step(world, operation.id, Step(n=1, execution_id=one.id, start=world.new(replay_of=one.id)))
    assert len(await world.all(replay_of=one.id)) == 1
    assert (await world.store.operations.get(WORKSPACE, operation.id)).succeeded == 1  # type: ignore[union-attr]


async def test_only_the_holder_takes_steps_and_another_takes_over_when_its_time_is_over(world: World) -> None:
    one = world.started()
    operation = create(world, Action.TAG, one.id, wishes=Wishes(put={"k": "v"}))
    held = claim(world, "a")
    assert held is not None
    assert (held.id, held.holder) == (operation.id, "a")
    assert claim(world, "b") is None
    is_free = world.store.operations.is_any_free
    assert [await is_free(world.now), await is_free(world.now + LEASE)] == [False, True]
    world.later(LEASE)
    taken = claim(world, "b")
    assert taken is not None
    assert taken.holder == "b"
    assert step(world, operation.id, Step(n=1, execution_id=one.id), holder="a") is None
    assert (await world.get(one.id)).tags == {}
    assert step(world, operation.id, Step(n=1, execution_id=one.id), holder="b") is not None
    assert claim(world, "c") is None


async def test_the_one_that_was_left_alone_the_longest_comes_next(world: World) -> None:
    one = world.started()
    first, second = (create(world, Action.TAG, one.id) for _ in range(2))
    turns = []
    for _ in range(4):
        world.later(SECOND)
        held = claim(world)
        assert held is not None
        turns.append(held.id)
        world.do(ReleaseOperation(at=world.later(SECOND), id=held.id, holder="a"))
    assert turns == [first.id, second.id, first.id, second.id]


async def test_what_a_filter_chooses_is_written_down_page_by_page(world: World) -> None:
    ids = [world.started().id for _ in range(3)]
    operation = create(world, Action.TAG, wishes=Wishes(is_chosen=True, put={"k": "v"}))
    claim(world)
    base: dict[str, Any] = {"at": world.now, "id": operation.id, "holder": "a", "free_at": world.now + LEASE}
    half = world.do(CollectOperation(ids=ids[:2], collected_to=ids[1], **base))
    assert (half.status, half.total, half.collected_to) == (OperationStatus.COLLECTING, 2, ids[1])
    assert step(world, operation.id, Step(n=1, execution_id=ids[0])) is None
    whole = world.do(CollectOperation(ids=ids[2:], collected_to=None, **base))
    assert (whole.status, whole.total) == (OperationStatus.RUNNING, 3)
    assert [(item.n, item.execution_id) for item in await world.store.operations.items(operation.id)] == [
        (1, ids[0]), (2, ids[1]), (3, ids[2]),
    ]  # fmt: skip
    empty = create(world, Action.TAG)
    claim(world)
    done = world.do(CollectOperation(ids=[], collected_to=None, **(base | {"id": empty.id, "at": world.now})))
    assert (done.status, done.total, done.finished_at) == (OperationStatus.COMPLETED, 0, world.now)


async def test_the_same_key_and_request_is_the_same_operation(world: World) -> None:
    one = world.started()
    keyed: dict[str, Any] = {"idempotency_key": "k", "request_hash": hashed("a")}
    first = create(world, Action.TAG, one.id, **keyed)
    assert create(world, Action.TAG, one.id, **keyed).id == first.id
    with pytest.raises(IdempotencyConflict):
        create(world, Action.TAG, one.id, **(keyed | {"request_hash": hashed("b")}))
    assert create(world, Action.TAG, one.id, **keyed, workspace="other").id != first.id
    assert [record.id for record in await world.store.operations.list(WORKSPACE)] == [first.id]


async def test_nothing_is_done_behind_its_cancellation(world: World) -> None:
    one = world.started()
    operation = create(world, Action.TAG, one.id, wishes=Wishes(put={"k": "v"}))
    claim(world)
    cancel = CancelOperation(at=world.now, workspace=WORKSPACE, id=operation.id)
    assert world.do(cancel).status is OperationStatus.CANCELLED
    assert step(world, operation.id, Step(n=1, execution_id=one.id)) is None
    assert (await world.get(one.id)).tags == {}
    with pytest.raises(OperationEnded):
        world.do(cancel)
    with pytest.raises(OperationNotFound):
        world.do(CancelOperation(at=world.now, workspace="other", id=operation.id))
    assert claim(world, lease=0) is None
    assert not await world.store.operations.is_any_free(world.now + LEASE)


async def test_one_that_fails_says_why_and_is_nobody_s(world: World) -> None:
    operation = create(world, Action.TAG, world.started().id)
    claim(world)
    world.do(ReleaseOperation(at=world.now, id=operation.id, holder="a", error=Refusal("internal_error", "no")))
    after = await world.store.operations.get(WORKSPACE, operation.id)
    assert after is not None
    assert (after.status, after.error, after.holder) == (
        OperationStatus.FAILED, {"code": "internal_error", "detail": "no"}, None,
    )  # fmt: skip
    assert await world.store.operations.get("other", operation.id) is None


async def test_items_and_operations_are_read_by_pages(world: World) -> None:
    ended = [world.started() for _ in range(4)]
    for one in ended[::2]:
        world.end(one)
    operation = await carry_out(world, Action.DELETE, *(one.id for one in ended))
    items = world.store.operations.items
    assert [item.n for item in await items(operation.id, after=1, limit=2)] == [2, 3]
    assert [item.n for item in await items(operation.id, outcome=REFUSED)] == [2, 4]
    assert [item.n for item in await items(operation.id, outcome=REFUSED, after=2)] == [4]
    later = create(world, Action.TAG, ended[1].id)
    listed = world.store.operations.list
    assert [one.id for one in await listed(WORKSPACE)] == [later.id, operation.id]
    assert [one.id for one in await listed(WORKSPACE, before=later.id)] == [operation.id]


async def test_they_are_listed_by_status_action_and_time(world: World) -> None:
    statuses, actions = list(OperationStatus), list(Action)
    made = []
    for index in range(40):
        status, action = statuses[index % 4], actions[index % 5]
        made.append(create(world, action, status=status, workspace="other" if index % 7 == 6 else WORKSPACE))
        world.later(SECOND // 3)
    known = [one for one in reversed(made) if one.workspace == WORKSPACE]
    times = [None, made[13].created_at, made[13].created_at + 1, made[30].created_at]
    for picked, chosen, after, before in product(
        [(), (statuses[1],), (statuses[0], statuses[3], statuses[4])],
        [(), (actions[2],), (actions[4], actions[0])],
        times,
        times,
    ):
        filter = OperationFilter(statuses=picked, actions=chosen, created_after=after, created_before=before)
        expected = [
            one.id
            for one in known
            if (not picked or one.status in picked)
            and (not chosen or one.action in chosen)
            and (after is None or one.created_at >= after)
            and (before is None or one.created_at < before)
        ]
        found: list[bytes] = []
        while page := await world.store.operations.list(
            WORKSPACE, filter=filter, before=found[-1] if found else None, limit=3
        ):
            found += [one.id for one in page]
        assert found == expected, filter


async def test_those_that_are_over_are_forgotten_in_portions(world: World) -> None:
    one = world.started()
    old = create(world, Action.TAG, *(world.started().id for _ in range(3)))
    claim(world)
    step(world, old.id, *await all_steps(world, old.id))
    open_one = create(world, Action.TAG, one.id)
    world.later(DAY)
    dropped: list[int] = []
    while dropped[-1:] != [0]:
        dropped.append(world.do(ForgetOperations(at=world.now, before=world.now - 1, limit=2)))
    assert dropped == [2, 2, 0]
    assert await world.store.operations.get(WORKSPACE, old.id) is None
    assert await world.store.operations.items(old.id) == []
    assert await world.store.operations.get(WORKSPACE, open_one.id) is not None
    assert len(await world.store.operations.items(open_one.id)) == 1
