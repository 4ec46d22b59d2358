"""Approvals, questions and signals through the engine: who answers, what it comes to, and that it happens once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from perdure.base.clock import HOUR
from perdure.base.manual_clock import ManualClock
from perdure.errors import (
    AlreadyResponded,
    ExecutionEnded,
    InvalidAnswer,
    InvalidRequest,
    LimitExceeded,
    NotAnApprover,
    SelfApproval,
    WaitAnswered,
    WaitNotOpen,
)
from perdure.model.answer import MAX_SIGNALS, Responder
from perdure.model.states import ExecutionStatus
from perdure.store.records import Answered, ExecutionRecord, SignalSent
from tests.engine.opened import WORKSPACE, Bench, Opener, opened

ADA = Responder(name="ada", groups=("operators", "editors"))
BOB = Responder(name="bob", groups=("operators",))
ANYBODY = Responder(name="anybody", groups=("operators", "editors", "admins"), known=False)


def is_suspended(record: ExecutionRecord) -> bool:
    return record.status is ExecutionStatus.SUSPENDED


async def waiting(bench: Bench, flow: str, input: Any = None, **more: Any) -> bytes:
    """An execution of the flow that has gone to sleep."""
    id = await bench.start(flow, input, **more)
    await bench.until(id, is_suspended)
    return id


async def respond(
    bench: Bench, id: bytes, who: Responder = ADA, *, wait: str | None = None, approved: bool | None = None, **more: Any
) -> Answered:  # fmt: skip
    return await bench.engine.answers.respond(
        WORKSPACE, id, responder=who, wait=wait, approved=approved, answer=more.get("answer"),
        has_answer="answer" in more, comment=more.get("comment"),
    )  # fmt: skip


async def send(bench: Bench, id: bytes, name: str, payload: Any = None, sender: str = "ada") -> SignalSent:
    return await bench.engine.answers.signal(WORKSPACE, id, name=name, payload=payload, sender=sender)


def approval(config: str = "{message: 'Publish ${input.title}?'}", more: str = "") -> str:
    return (
        "id: published\nnodes:\n"
        f"  approve: {{approval: {config}{more}}}\n"
        "  publish: {transform: '${nodes.approve.output.by}', needs: [approve]}\n"
        "output: '${nodes.approve.output}'\n"
    )


async def test_an_approved_execution_goes_on_and_tells_who_approved(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(approval())
    id = await waiting(bench, "published", {"title": "News"})
    [wait] = await bench.engine.store.waits.of(WORKSPACE, id)
    assert (wait.kind, wait.flow, wait.data) == (
        "approval",
        "default/published",
        {"attempt": 1, "message": "Publish News?"},
    )
    answered = await respond(bench, id, approved=True, comment="fine")
    assert answered.terms.decision is not None
    assert (await bench.ended(id)).status is ExecutionStatus.COMPLETED
    output = await bench.output(id)
    assert output.pop("at") == output["responses"][0].pop("at")
    assert output == {
        "approved": True, "outcome": "approved", "by": "ada", "comment": "fine",
        "responses": [{"by": "ada", "approved": True, "comment": "fine"}],
    }  # fmt: skip
    types = [type for type, _ in await bench.events(id)]
    assert types[types.index("execution.suspended") :] == [
        "execution.suspended", "node.answered", "execution.resumed", "node.completed", "node.started", "node.completed",
        "execution.completed",
    ]  # fmt: skip


async def test_a_rejection_fails_the_execution_with_the_comment(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(approval())
    id = await waiting(bench, "published", {"title": "News"})
    await respond(bench, id, approved=False, comment="too early")
    assert (await bench.ended(id)).status is ExecutionStatus.FAILED
    error = (await bench.payload(id)).error
    assert error is not None
    assert (error["code"], error["message"]) == ("rejected", "rejected by ada: too early")


async def test_a_flow_may_go_on_from_a_rejection(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(approval("{on_reject: complete}"))
    id = await waiting(bench, "published")
    await respond(bench, id, approved=False)
    await bench.ended(id)
    assert (await bench.output(id))["approved"] is False


async def test_the_second_answer_is_told_who_was_first_while_it_waits_and_after_it_ended(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(approval())
    id = await waiting(bench, "published", {"title": "News"})
    await respond(bench, id, approved=True, comment="fine")
    with pytest.raises(WaitAnswered) as first:
        await respond(bench, id, BOB, approved=False)
    await bench.ended(id)
    with pytest.raises(WaitAnswered) as second:
        await respond(bench, id, BOB, wait="approve", approved=False)
    for told in (first.value.details, second.value.details):
        assert (told["by"], told["outcome"], told["comment"]) == ("ada", "approved", "fine")
    assert first.value.details["at"] == second.value.details["at"]


async def test_a_rejected_execution_too_tells_who_was_first(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(approval())
    id = await waiting(bench, "published", {"title": "News"})
    await respond(bench, id, approved=False)
    await bench.ended(id)
    with pytest.raises(WaitAnswered) as told:
        await respond(bench, id, BOB, approved=True)
    assert (told.value.details["by"], told.value.details["outcome"]) == ("ada", "rejected")


async def test_a_quorum_needs_different_people(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(approval("{quorum: 2}"))
    id = await waiting(bench, "published")
    assert (await respond(bench, id, ADA, approved=True)).terms.decision is None
    with pytest.raises(AlreadyResponded):
        await respond(bench, id, ADA, approved=True)
    assert (await bench.record(id)).status is ExecutionStatus.SUSPENDED
    await respond(bench, id, BOB, approved=True)
    await bench.ended(id)
    output = await bench.output(id)
    assert [one["by"] for one in output["responses"]] == ["ada", "bob"]


async def test_one_rejection_ends_a_quorum(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(approval("{quorum: 2}"))
    id = await waiting(bench, "published")
    await respond(bench, id, ADA, approved=True)
    await respond(bench, id, BOB, approved=False)
    assert (await bench.ended(id)).status is ExecutionStatus.FAILED


@pytest.mark.parametrize(
    ("approvers", "may"), [("[ada]", True), ("[editors]", True), ("[admins]", False), ("[bob]", False)]
)
async def test_only_who_is_named_may_approve(open_bench: Opener, approvers: str, may: bool) -> None:
    bench = await open_bench()
    await bench.put(approval(f"{{approvers: {approvers}}}"))
    id = await waiting(bench, "published")
    if may:
        await respond(bench, id, ADA, approved=True)
    else:
        with pytest.raises(NotAnApprover):
            await respond(bench, id, ADA, approved=True)
        # An open server can tell nobody from anybody.
        await respond(bench, id, ANYBODY, approved=True)
    await bench.ended(id)


async def test_nobody_approves_what_he_started_unless_the_flow_lets_him(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(approval())
    id = await waiting(bench, "published", {"title": "News"}, trigger_id="ada")
    with pytest.raises(SelfApproval):
        await respond(bench, id, ADA, approved=True)
    await respond(bench, id, BOB, approved=True)
    await bench.ended(id)
    await bench.put(approval("{self_approval: true}"))
    id = await waiting(bench, "published", trigger_id="ada")
    await respond(bench, id, ADA, approved=True)
    await bench.ended(id)


async def test_nobody_approves_in_a_child_what_he_started_far_above(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(approval("{message: Go}"))
    await bench.put("id: outer\nnodes:\n  call: {flow: published}\n")
    outer = await waiting(bench, "outer", trigger_id="ada")
    [child] = await bench.engine.store.executions.children(WORKSPACE, outer)
    await bench.until(child.id, is_suspended)
    with pytest.raises(SelfApproval):
        await respond(bench, child.id, ADA, approved=True)
    await respond(bench, child.id, BOB, approved=True)
    assert (await bench.ended(outer)).status is ExecutionStatus.COMPLETED


@pytest.mark.parametrize(
    ("on_expiry", "status", "output"),
    [
        ("fail", ExecutionStatus.FAILED, None),
        ("reject", ExecutionStatus.FAILED, None),
        ("approve", ExecutionStatus.COMPLETED, {"approved": True, "outcome": "expired", "by": None}),
        ("{value: {by: the clock}}", ExecutionStatus.COMPLETED, {"by": "the clock"}),
    ],
)
async def test_what_nobody_answers_in_time_comes_to_what_the_flow_says(
    open_bench: Opener, on_expiry: str, status: ExecutionStatus, output: Any
) -> None:
    bench = await open_bench()
    await bench.put(approval(f"{{on_expiry: {on_expiry}}}", more=", timeout: 1h"))
    began = bench.clock.now()
    id = await waiting(bench, "published")
    record = await bench.ended(id)
    assert record.status is status
    assert (record.finished_at or 0) - began >= HOUR
    if output is None:
        error = (await bench.payload(id)).error
        assert error is not None
        assert error["code"] == ("timeout" if on_expiry == "fail" else "rejected")
    else:
        found = await bench.output(id)
        assert {name: found[name] for name in output} == output
    with pytest.raises((WaitAnswered, ExecutionEnded)):
        await respond(bench, id, approved=True)


async def test_an_expired_approval_may_be_asked_for_again(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(approval("{}", more=", timeout: 1h, retry: {attempts: 2, backoff: 1s}"))
    id = await waiting(bench, "published")
    while True:
        waits = await bench.engine.store.waits.of(WORKSPACE, id)
        if waits and waits[0].data is not None and waits[0].data["attempt"] == 2:
            break
        await bench.engine.wait_ended(WORKSPACE, id, 20_000)
        bench.skip()
    with pytest.raises(WaitNotOpen):
        await respond(bench, id, wait="approve@1", approved=True)
    await respond(bench, id, wait="approve@2", approved=True)
    assert (await bench.ended(id)).status is ExecutionStatus.COMPLETED


FORM = """\
id: asked
nodes:
  ask: {ask: {message: Where to?, form: {city: {type: string, minLength: 1}, days: {type: integer, minimum: 1}, by: {enum: [train, ship], default: train}}%s}%s}
output: '${nodes.ask.output.answer}'
"""


async def test_an_answer_is_checked_by_its_form_all_errors_at_once_and_gets_its_defaults(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(FORM % ("", ""))
    id = await waiting(bench, "asked")
    with pytest.raises(InvalidAnswer) as refused:
        await respond(bench, id, answer={"city": "", "days": 0, "why": "so"})
    assert {problem.pointer for problem in refused.value.problems} == {"/answer/city", "/answer/days", "/answer/why"}
    await respond(bench, id, answer={"city": "Oslo", "days": 2})
    await bench.ended(id)
    assert await bench.output(id) == {"city": "Oslo", "days": 2, "by": "train"}


async def test_an_ask_that_nobody_answers_takes_its_default(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(FORM % (", on_expiry: {value: {city: Rome, days: 1}}", ", timeout: 1d"))
    id = await waiting(bench, "asked")
    await bench.ended(id)
    assert await bench.output(id) == {"city": "Rome", "days": 1, "by": "train"}


async def test_an_ask_may_be_refused(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(FORM % ("", ""))
    id = await waiting(bench, "asked")
    await respond(bench, id, approved=False, comment="no idea")
    assert (await bench.ended(id)).status is ExecutionStatus.FAILED


async def test_a_response_must_be_of_the_kind_that_is_asked_for(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(approval("{}"))
    id = await waiting(bench, "published")
    with pytest.raises(InvalidAnswer) as refused:
        await respond(bench, id, answer=1)
    assert {problem.pointer for problem in refused.value.problems} == {"/answer", "/approved"}
    with pytest.raises(WaitNotOpen):
        await respond(bench, id, wait="publish", approved=True)
    with pytest.raises(InvalidRequest):
        await respond(bench, id, wait="no such name!", approved=True)


async def test_where_several_wait_one_has_to_be_named(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put("id: many\nnodes:\n  each: {approval: 'Take ${item}?', foreach: [a, b, c]}\n")
    id = await waiting(bench, "many")
    with pytest.raises(InvalidRequest, match=r"each@1, each\[1\]@1, each\[2\]@1"):
        await respond(bench, id, approved=True)
    for wait in ("each[0]", "each[2]@1", "each[1]"):
        await respond(bench, id, wait=wait, approved=True)
    assert (await bench.ended(id)).status is ExecutionStatus.COMPLETED


async def test_who_answered_is_told_behind_any_number_of_others(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put("id: crowd\nnodes:\n  each: {approval: 'Take ${item}?', foreach: '${input.items}'}\n")
    id = await waiting(bench, "crowd", {"items": list(range(1_002))})
    await respond(bench, id, BOB, wait="each[1001]", approved=True)
    with bench.engine.hub.subscribe(id) as subscription:
        while any(wait.ordinal == 1_001 for wait in await bench.engine.store.waits.of(WORKSPACE, id)):
            async with asyncio.timeout(20):
                await subscription.wait()
            subscription.take()
    with pytest.raises(WaitAnswered, match="bob"):
        await respond(bench, id, wait="each[1001]", approved=False)


async def test_a_wait_survives_the_engine_that_opened_it(tmp_path: Path) -> None:
    async with opened(tmp_path, ManualClock()) as first:
        await first.put(approval())
        id = await waiting(first, "published", {"title": "News"})
    async with opened(tmp_path, ManualClock()) as second:
        assert (await second.record(id)).status is ExecutionStatus.SUSPENDED
        await respond(second, id, approved=True)
        assert (await second.ended(id)).status is ExecutionStatus.COMPLETED


async def test_signals_come_before_during_and_after(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(
        "id: paid\nnodes:\n  gate: {signal: open}\n  first: {signal: paid, needs: [gate]}\n"
        "  second: {signal: paid, needs: [first]}\n"
        "output: ['${nodes.first.output.payload}', '${nodes.second.output.payload}']\n"
    )
    id = await waiting(bench, "paid")
    assert (await send(bench, id, "paid", {"n": 1})).buffered == 1
    assert (await send(bench, id, "paid", {"n": 2})).buffered == 2
    taken = await send(bench, id, "open")
    assert taken.wait is not None
    assert taken.wait.node == "gate"
    assert (await bench.ended(id)).status is ExecutionStatus.COMPLETED
    assert await bench.output(id) == [{"n": 1}, {"n": 2}]
    with pytest.raises(ExecutionEnded):
        await send(bench, id, "paid")


async def test_a_signal_that_does_not_come_in_time(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(
        "id: late\nnodes:\n  wait: {signal: {name: paid, on_expiry: {value: nothing}}, timeout: 1h}\n"
        "output: '${nodes.wait.output.payload}'\n"
    )
    id = await waiting(bench, "late")
    await bench.ended(id)
    assert await bench.output(id) == "nothing"


async def test_signals_that_nobody_takes_are_bounded(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put("id: deaf\nnodes:\n  wait: {signal: other}\n")
    id = await waiting(bench, "deaf")
    await asyncio.gather(*(send(bench, id, "paid") for _ in range(MAX_SIGNALS)))
    with pytest.raises(LimitExceeded):
        await send(bench, id, "paid")
    await send(bench, id, "other")
    assert (await bench.ended(id)).status is ExecutionStatus.COMPLETED


async def test_secrets_do_not_stand_in_what_is_asked_or_answered(open_bench: Opener) -> None:
    bench = await open_bench(secrets={"key": "a-long-secret-value"})
    await bench.put("id: hushed\nnodes:\n  ask: {ask: 'Is it ${secrets.key}?'}\noutput: '${nodes.ask.output.answer}'\n")
    id = await waiting(bench, "hushed")
    [wait] = await bench.engine.store.waits.of(WORKSPACE, id)
    assert "a-long-secret-value" not in str(wait.data)
    await respond(bench, id, answer="it is a-long-secret-value")
    await bench.ended(id)
    assert "a-long-secret-value" not in await bench.output(id)


async def test_terms_that_make_no_sense_fail_the_node(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put("id: odd\nnodes:\n  ask: {approval: {quorum: '${input.n}', approvers: [ada]}}\n")
    id = await bench.start("odd", {"n": "2"})
    assert (await bench.ended(id)).status is ExecutionStatus.FAILED
    error = (await bench.payload(id)).error
    assert error is not None
    assert error["code"] == "invalid_config"
