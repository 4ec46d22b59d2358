"""Waits for somebody from outside: one answer counts, signals are kept in order, a pause stays, the inbox finds them."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import to_builtins

from perdure.base.clock import HOUR, MINUTE
from perdure.errors import (
    AlreadyResponded,
    ExecutionEnded,
    ExecutionNotFound,
    ExecutionStopping,
    LimitExceeded,
    NotAnApprover,
    NotPaused,
    SelfApproval,
    WaitAnswered,
    WaitNotOpen,
)
from perdure.model.answer import MAX_SIGNALS, OUTSIDE, Responder, Terms
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.commands import ExpireWait, PauseExecution, Respond, ResumeExecution, SendSignal
from perdure.store.records import Answered, ExecutionRecord, SignalSent, Started, WaitFilter, WaitRecord
from tests.store.portal import call
from tests.store.world import WORKSPACE, World

ADA, BOB = Responder(name="ada", groups=("operators",)), Responder(name="bob")
RUNNING, SUSPENDED = ExecutionStatus.RUNNING, ExecutionStatus.SUSPENDED


def wait(
    world: World, kind: str = "approval", *, node: str = "n", ordinal: int = 0, due_at: int | None = None, **terms: Any
) -> WaitRecord:
    data = to_builtins(Terms(attempt=1, **terms))
    return WaitRecord(node=node, ordinal=ordinal, kind=kind, due_at=due_at, data=data, created_at=world.now)


def waiting(world: World, *waits: WaitRecord, **fields: Any) -> Any:
    """An execution that has gone to sleep with these waits open."""
    started = world.started(**fields)
    runs = [world.node_run(one.node, NodeStatus.SUSPENDED, ordinal=one.ordinal) for one in waits]
    place = {name: fields[name] for name in ("workspace", "flow") if name in fields}
    world.suspend(started, waits_opened=list(waits), node_runs=runs, **place)
    return started


def respond(world: World, id: bytes, who: Responder = ADA, *, approved: bool | None = True, **more: Any) -> Answered:
    given: dict[str, Any] = {"node": "n", "ordinal": 0, "label": "", "attempt": 1, "workspace": WORKSPACE} | more
    answered: Answered = world.do(Respond(at=world.now, execution_id=id, responder=who, approved=approved, **given))
    return answered


def expire(world: World, id: bytes, *, attempt: int = 1) -> bool:
    found: bool = world.do(ExpireWait(at=world.now, execution_id=id, node="n", ordinal=0, label="", attempt=attempt))
    return found


def signal(world: World, id: bytes, name: str = "paid", payload: Any = None) -> SignalSent:
    sent: SignalSent = world.do(
        SendSignal(at=world.now, workspace=WORKSPACE, execution_id=id, name=name, payload=payload, sender="ada")
    )
    return sent


def pause(world: World, id: bytes) -> None:
    world.do(PauseExecution(at=world.now, workspace=WORKSPACE, execution_id=id, by="ada", reason="dinner"))


def resume(world: World, id: bytes) -> None:
    world.do(ResumeExecution(at=world.now, workspace=WORKSPACE, execution_id=id, by="bob"))


async def test_an_answer_wakes_whoever_sleeps_with_what_it_decided(world: World) -> None:
    one = waiting(world, wait(world, message="Go?"))
    assert world.claim() == []
    answered = respond(world, one.id, comment="fine")
    assert answered.terms.decision is not None
    [claimed] = world.claim("w2")
    [message] = claimed.messages
    assert (message.kind, message.data["node"], message.data["event"]) == ("answered", "n", None)
    assert message.data["verdict"]["output"]["by"] == "ada"
    assert (await world.types(one.id))[-2:] == ["node.answered", "execution.resumed"]


async def test_an_owner_is_told_and_numbers_the_event_itself(world: World) -> None:
    started = world.started()
    world.advance(started, RUNNING, waits_opened=[wait(world)], node_runs=[world.node_run(status=NodeStatus.SUSPENDED)])
    before = (await world.get(started.id)).last_seq
    respond(world, started.id)
    assert world.last is not None
    assert world.last.deliveries == [("w1", started.id)]
    [(kind, data)] = await world.messages(started.id)
    assert (kind, data["event"]["type"]) == ("answered", "node.answered")
    assert (await world.get(started.id)).last_seq == before


def test_of_two_answers_and_an_expiry_the_first_one_counts(world: World) -> None:
    one = waiting(world, wait(world))
    respond(world, one.id, comment="first")
    with pytest.raises(WaitAnswered) as told:
        respond(world, one.id, BOB, approved=False)
    assert (told.value.details["by"], told.value.details["comment"]) == ("ada", "first")
    assert expire(world, one.id) is False
    late = waiting(world, wait(world))
    assert expire(world, late.id) is True
    assert expire(world, late.id) is False
    with pytest.raises(WaitAnswered, match="nobody in time"):
        respond(world, late.id)


async def test_who_is_too_late_too_early_or_somewhere_else(world: World) -> None:
    one = waiting(world, wait(world))
    with pytest.raises(WaitNotOpen):
        respond(world, one.id, attempt=2)
    with pytest.raises(WaitNotOpen):
        respond(world, one.id, node="other")
    with pytest.raises(ExecutionNotFound):
        respond(world, one.id, workspace="elsewhere")
    world.cancel(one.id)
    for late in (respond, signal, pause):
        with pytest.raises(ExecutionEnded):
            late(world, one.id)
    assert expire(world, one.id) is False


def test_nothing_is_taken_once_a_stop_was_asked_for(world: World) -> None:
    owned = world.started()
    world.advance(owned, RUNNING, waits_opened=[wait(world)])
    world.cancel(owned.id)
    sleeping = waiting(world, wait(world), has_cleanup=True)
    world.cancel(sleeping.id)
    for id in (owned.id, sleeping.id):
        for late in (respond, signal, pause, resume):
            with pytest.raises(ExecutionStopping):
                late(world, id)


async def test_a_quorum_gathers_without_waking_anybody(world: World) -> None:
    one = waiting(world, wait(world, quorum=2))
    assert respond(world, one.id).terms.decision is None
    with pytest.raises(AlreadyResponded):
        respond(world, one.id)
    assert world.claim() == []
    [open_one] = await world.store.waits.of(WORKSPACE, one.id)
    assert open_one.data is not None
    assert [response["by"] for response in open_one.data["responses"]] == ["ada"]
    assert respond(world, one.id, BOB).terms.decision is not None
    assert len(world.claim()) == 1


def test_who_may_not_answer(world: World) -> None:
    one = waiting(world, wait(world, approvers=("bob", "editors")))
    with pytest.raises(NotAnApprover):
        respond(world, one.id)
    own = waiting(world, wait(world), trigger_kind="cli", trigger_id="ada")
    with pytest.raises(SelfApproval):
        respond(world, own.id)
    child = waiting(world, wait(world), of=record(world, own))
    with pytest.raises(SelfApproval):
        respond(world, child.id)
    respond(world, child.id, BOB)


def record(world: World, started: Started) -> ExecutionRecord:
    found = call(world.store.executions.get, WORKSPACE, started.id)
    assert found is not None
    return found


async def test_signals_are_taken_by_the_oldest_wait_or_kept_in_order(world: World) -> None:
    one = waiting(world, wait(world, "signal", name="paid", node="a"), wait(world, "signal", name="other", node="b"))
    taken = signal(world, one.id, payload=1)
    assert taken.wait is not None
    assert taken.wait.node == "a"
    assert [signal(world, one.id, payload=n).buffered for n in (2, 3)] == [1, 2]
    [claimed] = world.claim()
    later = [wait(world, "signal", name="paid", node=node) for node in ("c", "d", "e")]
    consumed = [message.n for message in claimed.messages]
    world.advance(claimed.record, RUNNING, waits_opened=later, waits_closed=[("a", 0, "")], consumed=consumed)
    found = {data["node"]: data["verdict"]["output"]["payload"] for _, data in await world.messages(one.id)}
    assert found == {"c": 2, "d": 3}
    assert signal(world, one.id, payload=4).wait is not None
    with pytest.raises(WaitNotOpen):
        respond(world, one.id, node="e")


async def test_a_signal_that_waits_wakes_an_execution_that_rests_as_it_opens_its_wait(world: World) -> None:
    started = world.started()
    signal(world, started.id, payload="early")
    [(kind, data)] = await world.messages(started.id)
    assert (kind, data["event"]["type"]) == ("told", "execution.signalled")
    told = [message.n for message in (await world.store.messages([started.id]))[started.id]]
    world.suspend(started, waits_opened=[wait(world, "signal", name="paid")], consumed=told)
    [claimed] = world.claim()
    assert [message.kind for message in claimed.messages] == ["answered"]
    assert (await world.types(started.id))[-1] == "execution.resumed"


def test_an_end_forgets_the_signals_that_nobody_took(world: World) -> None:
    started = world.started()
    signal(world, started.id)
    world.end(started)
    again = world.started()
    assert signal(world, again.id).buffered == 1


def test_signals_that_nobody_takes_are_bounded(world: World) -> None:
    one = waiting(world, wait(world, "signal", name="other"))
    commands = [
        SendSignal(at=world.now, workspace=WORKSPACE, execution_id=one.id, name="x", payload=n, sender="ada")
        for n in range(MAX_SIGNALS + 1)
    ]
    answers = world.write(*commands).results
    assert isinstance(answers[-1], LimitExceeded)
    assert [type(answer) for answer in answers[:-1]] == [SignalSent] * MAX_SIGNALS


async def test_a_pause_is_a_wait_that_whoever_claims_finds(world: World) -> None:
    sleeping, queued, pending = waiting(world, wait(world)), world.start(), world.start(start_at=world.now + HOUR)
    for one in (sleeping, queued, pending):
        pause(world, one.id)
        pause(world, one.id)
        assert (await world.types(one.id)).count("execution.paused") == 1
    assert await world.status(sleeping.id) == (SUSPENDED, "paused")
    [claimed] = world.claim()
    assert [one.kind for one in claimed.waits] == ["pause"]
    assert claimed.waits[0].data == {"by": "ada", "reason": "dinner"}
    resume(world, sleeping.id)
    [woken] = world.claim()
    assert (woken.record.id, woken.record.reason) == (sleeping.id, None)
    assert [one.kind for one in woken.waits] == ["approval"]
    with pytest.raises(NotPaused):
        resume(world, sleeping.id)


async def test_an_owner_hears_of_a_pause_and_of_its_end(world: World) -> None:
    started = world.started()
    pause(world, started.id)
    resume(world, started.id)
    assert [kind for kind, _ in await world.messages(started.id)] == ["paused", "unpaused"]
    assert await world.store.waits.of(WORKSPACE, started.id) == []


async def inbox(world: World, *, size: int = 100, by_due: bool = False, **filter: Any) -> list[tuple[str, int]]:
    """(flow, ordinal) of all pages."""
    found: list[tuple[str, int]] = []
    after = None
    while True:
        page = await world.store.waits.inbox(WORKSPACE, WaitFilter(**filter), by_due=by_due, after=after, limit=size)
        found += [(one.flow, one.ordinal) for one in page.waits]
        if page.next is None:
            return found
        assert page.waits
        after = page.next


async def test_the_inbox_finds_waits_by_kind_flow_approver_and_due_page_by_page(world: World) -> None:
    flows = ("tests/a", "tests/b")
    for n in range(12):
        world.later(MINUTE)
        kind = ("approval", "ask", "signal")[n % 3]
        terms: dict[str, Any] = (
            {"name": "s"} if kind == "signal" else {"approvers": (("ada",), (), ("ada", "editors"))[n % 3]}
        )
        due_at = world.now + (20 - n) * HOUR if n % 2 else None
        waiting(world, wait(world, kind, ordinal=n, due_at=due_at, **terms), flow=flows[n % 2])
    foreign = waiting(world, wait(world), workspace="elsewhere")
    timer = WaitRecord(node="n", kind="timer", due_at=world.now, created_at=world.now)
    waiting(world, timer)
    for size in (1, 3, 100):
        everything = [n for _, n in await inbox(world, size=size)]
        assert everything == list(range(12))
        assert [n for _, n in await inbox(world, size=size, kinds=("ask", "approval"))] == [0, 1, 3, 4, 6, 7, 9, 10]
        assert [n for _, n in await inbox(world, size=size, flow="tests/b", kinds=OUTSIDE)] == [1, 3, 5, 7, 9, 11]
        assert [n for _, n in await inbox(world, size=size, approvers=("ada",))] == [0, 3, 6, 9]
        assert [n for _, n in await inbox(world, size=size, approvers=("ada", "editors", "*"))] == [
            0,
            1,
            3,
            4,
            6,
            7,
            9,
            10,
        ]
        assert [n for _, n in await inbox(world, size=size, by_due=True)] == [11, 9, 7, 5, 3, 1]
        soon = world.now + 14 * HOUR
        assert [n for _, n in await inbox(world, size=size, due_before=soon, kinds=("approval", "signal"))] == [11, 9]
    assert foreign is not None


async def test_what_somebody_has_responded_to_is_no_longer_his(world: World) -> None:
    one = waiting(world, wait(world, quorum=2))
    respond(world, one.id)
    for responder, found in ((None, [0]), ("ada", []), ("bob", [0])):
        assert [n for _, n in await inbox(world, approvers=("*",), responder=responder)] == found


async def test_the_inbox_forgets_what_was_answered_cancelled_or_ended(world: World) -> None:
    ones = [waiting(world, wait(world, ordinal=n, approvers=("ada",))) for n in range(3)]
    respond(world, ones[0].id, ordinal=0)
    world.cancel(ones[1].id)
    assert [n for _, n in await inbox(world)] == [2]
    assert [n for _, n in await inbox(world, approvers=("ada",))] == [2]
    again = waiting(world, wait(world, ordinal=7, approvers=("bob",)))
    assert [n for _, n in await inbox(world, approvers=("bob",))] == [7]
    assert again is not None
