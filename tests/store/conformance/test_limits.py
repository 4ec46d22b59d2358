"""Concurrency slots and rates: what happens to a start that is one too many."""

import pytest

from perdure.base.clock import HOUR, MINUTE, SECOND
from perdure.errors import ConcurrencyLimitReached
from perdure.model.definition import OnLimit
from perdure.model.states import ExecutionStatus, PendingReason
from perdure.store.commands import StartExecutions
from tests.store.world import WORKSPACE, World

PENDING, QUEUED, CANCELLED = ExecutionStatus.PENDING, ExecutionStatus.QUEUED, ExecutionStatus.CANCELLED
LIMITED = PendingReason.CONCURRENCY_LIMIT


async def test_queue_waits_and_is_handed_the_slot_in_the_terminal_transaction(world: World) -> None:
    first = world.started(limit=world.limit())
    second, third = world.start(limit=world.limit()), world.started(limit=world.limit())
    assert [(one.status, one.reason) for one in (second, third)] == [(PENDING, LIMITED)] * 2
    assert world.claim() == []
    world.end(first)
    assert world.last is not None
    assert world.last.claimable
    assert await world.status(second.id) == (QUEUED, None)
    assert await world.status(third.id) == (PENDING, LIMITED)
    assert await world.types(second.id) == ["execution.created", "execution.queued"]
    (claimed,) = world.claim()
    world.end(claimed.record)
    assert await world.status(third.id) == (QUEUED, None)


async def test_a_slot_is_kept_while_suspended_or_interrupted(world: World) -> None:
    first = world.started(limit=world.limit())
    second = world.start(limit=world.limit())
    world.suspend(first)
    assert await world.status(second.id) == (PENDING, LIMITED)
    world.send(first.id)
    world.claim("w1")
    world.interrupt("w1")
    assert await world.status(second.id) == (PENDING, LIMITED)
    world.cancel(first.id)
    assert await world.status(second.id) == (QUEUED, None)


async def test_priority_and_waiting_decide_who_is_next(world: World) -> None:
    first = world.started(limit=world.limit())
    low = world.start(limit=world.limit(), priority=5)
    world.later(30 * SECOND)
    high = world.start(limit=world.limit(), priority=6)
    world.later(3 * MINUTE)
    late = world.start(limit=world.limit(), priority=7)
    order = []
    record = first
    for _ in range(3):
        world.end(record)
        (claimed,) = world.claim()
        record = claimed.record
        order.append(record.id)
    assert order == [high.id, low.id, late.id]


async def test_nobody_overtakes_those_who_wait(world: World) -> None:
    holders = [world.started(limit=world.limit(2)) for _ in range(2)]
    waiting = world.start(limit=world.limit(2))
    outcome = world.write(
        StartExecutions(at=world.now, executions=[world.new(limit=world.limit(2))]),
        advances=(world.advancing(holders[0], ExecutionStatus.COMPLETED),),
    )
    assert outcome.results[0][0].status == PENDING
    assert await world.status(waiting.id) == (QUEUED, None)


async def test_reject_names_the_limit_and_its_holder(world: World) -> None:
    holder = world.started(limit=world.limit(1, on_limit=OnLimit.REJECT))
    with pytest.raises(ConcurrencyLimitReached) as caught:
        world.start(limit=world.limit(1, on_limit=OnLimit.REJECT))
    details = caught.value.details
    assert (details["key"], details["limit"]) == ("key", 1)
    assert details["holder"].replace("-", "") == holder.id.hex()
    assert len(await world.all()) == 1
    world.end(holder)
    assert world.start(limit=world.limit(1, on_limit=OnLimit.REJECT)).status == QUEUED


async def test_skip_ends_at_once(world: World) -> None:
    world.started(limit=world.limit(1, on_limit=OnLimit.SKIP))
    skipped = world.start(limit=world.limit(1, on_limit=OnLimit.SKIP), deadline_at=world.now + HOUR)
    assert (skipped.status, skipped.reason) == (CANCELLED, LIMITED)
    record = await world.get(skipped.id)
    assert record.finished_at is not None
    assert await world.types(skipped.id) == ["execution.created", "execution.cancelled"]
    assert world.fire() is None


async def test_a_child_that_is_not_admitted_ends_and_tells_its_parent(world: World) -> None:
    parent = await world.get(world.started().id)
    world.started(limit=world.limit(1))
    for ordinal, policy in enumerate((OnLimit.REJECT, OnLimit.SKIP)):
        child = world.new(of=parent, parent_ordinal=ordinal, limit=world.limit(1, on_limit=policy))
        world.advance(parent, ExecutionStatus.RUNNING, children=[child])
        assert world.last is not None
        assert world.last.deliveries == [("w1", parent.id)]
        assert await world.status(child.id) == (CANCELLED, LIMITED)
    told = await world.messages(parent.id)
    assert [(kind, data["status"], data["reason"]) for kind, data in told] == [
        ("child_ended", "cancelled", LIMITED)
    ] * 2


async def test_cancel_oldest_takes_the_place_of_one_that_nobody_owns(world: World) -> None:
    oldest = world.start(limit=world.limit(2, on_limit=OnLimit.CANCEL_OLDEST))
    other = world.start(limit=world.limit(2, on_limit=OnLimit.CANCEL_OLDEST))
    newest = world.start(limit=world.limit(2, on_limit=OnLimit.CANCEL_OLDEST))
    assert newest.status == QUEUED
    assert await world.status(oldest.id) == (CANCELLED, LIMITED)
    assert await world.status(other.id) == (QUEUED, None)


async def test_cancel_oldest_waits_for_an_owner_to_let_go(world: World) -> None:
    holder = world.started(limit=world.limit(1, on_limit=OnLimit.CANCEL_OLDEST))
    second = world.start(limit=world.limit(1, on_limit=OnLimit.CANCEL_OLDEST))
    assert (second.status, second.reason) == (PENDING, LIMITED)
    assert await world.messages(holder.id) == [("cancel", {"reason": LIMITED, "force": False})]
    third = world.start(limit=world.limit(1, on_limit=OnLimit.CANCEL_OLDEST))
    assert await world.status(second.id) == (CANCELLED, LIMITED)
    assert len(await world.messages(holder.id)) == 1
    world.advance(holder, ExecutionStatus.CANCELLED)
    assert await world.status(third.id) == (QUEUED, None)


async def test_a_raised_limit_lets_those_in_who_wait(world: World) -> None:
    world.started(limit=world.limit(1))
    waiting = [world.start(limit=world.limit(1)) for _ in range(3)]
    newest = world.start(limit=world.limit(4))
    assert newest.status == PENDING
    assert [(await world.get(one.id)).status for one in waiting] == [QUEUED] * 3


async def test_keys_and_workspaces_have_slots_of_their_own(world: World) -> None:
    world.started(limit=world.limit(1, "a"))
    assert world.start(limit=world.limit(1, "b")).status == QUEUED
    assert world.start(limit=world.limit(1, "a"), workspace="other").status == QUEUED
    assert world.start(limit=world.limit(1, "a")).status == PENDING


async def test_a_limit_is_taken_when_the_start_is_due(world: World) -> None:
    soon = world.now + HOUR
    early = world.start(limit=world.limit(1), start_at=soon)
    holder = world.started(limit=world.limit(1))
    assert holder.status == ExecutionStatus.RUNNING
    skipped = world.start(limit=world.limit(1, on_limit=OnLimit.SKIP), start_at=soon + 1)
    world.later(HOUR + SECOND)
    world.fire()
    assert await world.status(early.id) == (PENDING, LIMITED)
    assert await world.status(skipped.id) == (CANCELLED, LIMITED)
    world.end(holder)
    assert await world.status(early.id) == (QUEUED, None)


async def test_a_start_that_is_put_off_tells_until_when(world: World) -> None:
    soon = world.now + HOUR
    waiting = world.start(start_at=soon)
    assert await world.store.executions.start_due(WORKSPACE, waiting.id) == soon
    assert await world.store.executions.start_due("other", waiting.id) is None
    assert await world.store.executions.start_due(WORKSPACE, world.start().id) is None


async def test_a_limit_shows_who_holds_it(world: World) -> None:
    holders = [world.started(limit=world.limit(2)) for _ in range(2)]
    waiting = [world.start(limit=world.limit(2)) for _ in range(2)]
    state = await world.store.executions.limit_state(WORKSPACE, waiting[1].id)
    assert state is not None
    assert (state.key, state.limit, state.held, state.ahead) == ("key", 2, 2, 1)
    assert state.holders == [holder.id for holder in holders]
    assert await world.store.executions.limit_state(WORKSPACE, world.start().id) is None
    assert await world.store.executions.limit_state("other", waiting[1].id) is None


async def test_a_rate_lets_a_burst_go_and_reserves_the_rest(world: World) -> None:
    begun = world.now
    news = [world.new(rate=world.rate(2, 10 * SECOND)) for _ in range(5)]
    answers = world.do(StartExecutions(at=begun, executions=news))
    assert [answer.status for answer in answers] == [QUEUED] * 2 + [PENDING] * 3
    assert {answer.reason for answer in answers[2:]} == {PendingReason.RATE_LIMIT}
    started = []
    for after in (5, 10, 15):
        assert world.fire() == begun + after * SECOND
        world.now = begun + after * SECOND
        world.fire()
        started.append([(await world.get(new.id)).status for new in news].count(QUEUED))
    assert started == [3, 4, 5]


async def test_a_rate_and_then_a_limit(world: World) -> None:
    rate, limit = world.rate(1, MINUTE), world.limit(1)
    holder = world.started(rate=rate, limit=limit)
    second = world.start(rate=rate, limit=limit)
    assert second.reason == PendingReason.RATE_LIMIT
    world.later(2 * MINUTE)
    world.fire()
    assert await world.status(second.id) == (PENDING, LIMITED)
    world.end(holder)
    assert await world.status(second.id) == (QUEUED, None)
