"""What becomes of a start: its row, its events, its answer, and an answer for everyone who asks again."""

import pytest

from perdure.base.clock import DAY, HOUR, SECOND
from perdure.errors import IdempotencyConflict, RowRefused
from perdure.model.states import ExecutionStatus, PendingReason
from perdure.store.commands import ForgetKeys, StartExecutions
from perdure.store.records import Started, Value
from tests.store.world import BEGIN, WORKSPACE, World, hashed, value


async def test_a_start_is_queued_and_claimable(world: World) -> None:
    started = world.start(tags={"k": "v"}, input=value('{"a":1}'))
    assert (started.status, started.epoch, started.last_seq, started.replayed) == (ExecutionStatus.QUEUED, 0, 2, False)
    assert world.last is not None
    assert world.last.claimable
    record = await world.get(started.id)
    assert (record.status, record.number, record.tags) == (ExecutionStatus.QUEUED, started.number, {"k": "v"})
    assert record.queued_at == record.created_at
    assert record.started_at is None
    assert record.namespace == "tests"
    assert await world.types(started.id) == ["execution.created", "execution.queued"]
    payload = await world.store.executions.payload(WORKSPACE, started.id)
    assert payload is not None
    assert payload.input == value('{"a":1}')


async def test_a_start_with_an_owner_is_running_at_once(world: World) -> None:
    started = world.started()
    assert (started.status, started.epoch) == (ExecutionStatus.RUNNING, 1)
    assert world.last is not None
    assert not world.last.claimable
    record = await world.get(started.id)
    assert record.worker == "w1"
    assert record.started_at is not None
    assert await world.types(started.id) == ["execution.created", "execution.started"]
    assert world.claim() == []


async def test_every_field_of_a_start_comes_back(world: World) -> None:
    root = world.start()
    new = world.new(
        of=await world.get(root.id),
        parent_node="n",
        parent_ordinal=3,
        parent_attempt=2,
        input=Value(None, b"\x01" * 32, 70_000),
        trigger_id="t",
        trigger_context={"who": ["me"]},
        replay_of=root.id,
        idempotency_key="key",
        request_hash=b"h",
        limit=world.limit(5, "slots"),
        has_cleanup=True,
        max_recoveries=2,
        deadline_at=BEGIN + DAY,
        priority=9,
        queue="heavy",
    )
    world.start(new)
    record = await world.get(new.id)
    for name in (
        "id", "workspace", "flow", "flow_version", "priority", "queue", "tags", "trigger_kind", "trigger_id",
        "trigger_context", "parent", "parent_node", "parent_ordinal", "parent_attempt", "root", "depth", "replay_of",
        "idempotency_key", "has_cleanup", "max_recoveries", "created_at", "start_at", "deadline_at",
    ):  # fmt: skip
        assert getattr(record, name) == getattr(new, name), name
    assert record.concurrency_key == "slots"
    payload = await world.store.executions.payload(WORKSPACE, new.id)
    assert payload is not None
    assert payload.input == new.input


def test_numbers_follow_the_order_of_the_starts(world: World) -> None:
    answers = world.start(*[world.new() for _ in range(700)])
    numbers = [answer.number for answer in answers]
    assert numbers == list(range(numbers[0], numbers[0] + 700))
    assert world.start().number == numbers[-1] + 1


async def test_a_start_for_later_waits_for_its_time(world: World) -> None:
    due_at = world.now + HOUR
    started = world.start(start_at=due_at)
    assert (started.status, started.reason) == (ExecutionStatus.PENDING, PendingReason.START_AT)
    assert world.last is not None
    assert world.last.due_at == due_at
    assert world.claim() == []
    assert world.fire() == due_at
    world.later(HOUR)
    assert world.fire() is None
    assert await world.status(started.id) == (ExecutionStatus.QUEUED, None)
    assert [claimed.record.id for claimed in world.claim()] == [started.id]


async def test_the_same_key_and_body_answer_with_the_first_execution(world: World) -> None:
    first = world.start(idempotency_key="k", request_hash=hashed("body"))
    again = world.start(idempotency_key="k", request_hash=hashed("body"))
    assert (again.id, again.replayed) == (first.id, True)
    assert len(await world.all()) == 1


async def test_the_same_key_with_another_body_is_refused(world: World) -> None:
    first = world.start(idempotency_key="k", request_hash=hashed("body"))
    with pytest.raises(IdempotencyConflict) as caught:
        world.start(idempotency_key="k", request_hash=hashed("other"))
    assert str(caught.value.details["execution"]).replace("-", "") == first.id.hex()
    assert len(await world.all()) == 1


async def test_keys_are_settled_within_one_batch(world: World) -> None:
    outcome = world.write(
        *[
            StartExecutions(at=world.now, executions=[world.new(idempotency_key="k", request_hash=hashed(body))])
            for body in ("a", "a", "b")
        ]
    )
    (first,), (second,), (third,) = outcome.results
    assert (second.id, second.replayed) == (first.id, True)
    assert isinstance(third, IdempotencyConflict)
    assert len(await world.all()) == 1


def test_a_key_is_good_for_a_day_and_within_its_workspace(world: World) -> None:
    first = world.start(idempotency_key="k", request_hash=b"a")
    assert world.start(workspace="other", idempotency_key="k", request_hash=b"b").replayed is False
    world.later(DAY)
    second = world.start(idempotency_key="k", request_hash=b"b")
    assert second.id != first.id
    assert world.start(idempotency_key="k", request_hash=b"b").id == second.id


async def test_what_answers_under_a_key_can_be_read(world: World) -> None:
    first = world.start(idempotency_key="k", request_hash=b"a")
    repeated = world.store.executions.repeated
    again = await repeated(WORKSPACE, "k", b"a", world.now)
    assert isinstance(again, Started)
    assert (again.id, again.number, again.status, again.replayed) == (first.id, first.number, first.status, True)
    assert isinstance(await repeated(WORKSPACE, "k", b"b", world.now), IdempotencyConflict)
    assert await repeated(WORKSPACE, "other", b"a", world.now) is None
    assert await repeated("other", "k", b"a", world.now) is None
    assert await repeated(WORKSPACE, "k", b"a", world.now + DAY) is None


def test_old_keys_are_forgotten(world: World) -> None:
    for index in range(5):
        world.start(idempotency_key=f"k{index}", request_hash=b"a")
    before = world.later(SECOND)
    world.start(idempotency_key="young", request_hash=b"a")
    assert world.do(ForgetKeys(at=world.now, before=before, limit=3)) == 3
    assert world.do(ForgetKeys(at=world.now, before=before, limit=3)) == 2
    assert world.start(idempotency_key="k0", request_hash=b"b").replayed is False
    assert world.start(idempotency_key="young", request_hash=b"a").replayed is True


async def test_an_atomic_start_is_all_or_nothing(world: World) -> None:
    world.start(idempotency_key="k", request_hash=b"a")
    with pytest.raises(IdempotencyConflict):
        world.start(world.new(), world.new(idempotency_key="k", request_hash=b"b"), world.new(), atomic=True)
    assert len(await world.all()) == 1
    assert len(world.start(world.new(), world.new(), atomic=True)) == 2


async def test_without_atomic_each_start_has_its_own_answer(world: World) -> None:
    world.start(idempotency_key="k", request_hash=b"a")
    answers = world.start(world.new(), world.new(idempotency_key="k", request_hash=b"b"), world.new())
    assert [isinstance(answer, IdempotencyConflict) for answer in answers] == [False, True, False]
    assert len(await world.all()) == 3


async def test_a_child_is_started_once(world: World) -> None:
    parent = await world.get(world.started().id)
    first = world.start(of=parent)
    assert world.start(of=parent).id == first.id
    assert world.start(of=parent, parent_attempt=2).id != first.id
    same, twin = world.start(world.new(of=parent, parent_ordinal=1), world.new(of=parent, parent_ordinal=1))
    assert (twin.id, twin.replayed) == (same.id, True)
    assert [child.id for child in await world.store.executions.children(WORKSPACE, parent.id)] == sorted(
        child.id for child in await world.all(parent=parent.id)
    )
    assert len(await world.all(parent=parent.id)) == 3


async def test_a_start_that_the_database_refuses_fails_alone(world: World) -> None:
    commands = [StartExecutions(at=world.now, executions=[world.new(), world.new()]) for _ in range(4)]
    commands[2] = StartExecutions(
        at=world.now, executions=[world.new(), world.new(tags={"bad": "\ud800"}), world.new(priority=1 << 70)]
    )
    results = world.write(*commands).results
    refused = [[isinstance(answer, RowRefused) for answer in answers] for answers in results]
    assert refused == [[False, False], [False, False], [False, True, True], [False, False]]
    good = [answer for answers in results for answer in answers if not isinstance(answer, RowRefused)]
    assert sorted(answer.id for answer in good) == sorted(record.id for record in await world.all())
    for answer in good:
        assert await world.types(answer.id) == ["execution.created", "execution.queued"]
