"""What answers decide, as functions of the terms and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import convert, to_builtins

from perdure.base.codec import decode, encode
from perdure.model.answer import (
    APPROVAL,
    ASK,
    SIGNAL,
    OnExpiry,
    OnReject,
    Outcome,
    Responder,
    Response,
    Terms,
    as_data,
    terms_of,
)
from perdure.model.decide.answer import Refusal, Verdict, expired, may_answer, missing, received, responded, verdict

NAMES = ["ada", "bob", "eve", "operators", "editors"]
people = st.builds(
    Responder,
    name=st.sampled_from(NAMES[:3]),
    groups=st.sampled_from([(), ("operators",), ("operators", "editors")]),
    known=st.booleans(),
)
terms = st.builds(
    Terms,
    attempt=st.just(1),
    approvers=st.lists(st.sampled_from(NAMES), unique=True).map(tuple),
    quorum=st.integers(1, 4),
    self_approval=st.booleans(),
    on_reject=st.sampled_from(OnReject),
    on_expiry=st.sampled_from(OnExpiry),
    value=st.sampled_from([None, 7, {"a": 1}]),
)
votes = st.lists(st.tuples(people, st.booleans()), max_size=8)


def answer_all(asked: Terms, given: list[tuple[Responder, bool]], starter: str | None) -> Terms:
    """Take what may be taken, until it is decided."""
    for at, (who, approved) in enumerate(given):
        if asked.decision is None and may_answer(APPROVAL, asked, who, starter=starter) is None:
            asked = responded(APPROVAL, asked, Response(by=who.name, at=at, approved=approved))
    return asked


@given(terms, votes, st.sampled_from([None, "ada"]))
def test_an_approval_is_decided_by_the_first_no_or_enough_different_yes(
    asked: Terms, given: list[tuple[Responder, bool]], starter: str | None
) -> None:
    done = answer_all(asked, given, starter)
    names = [response.by for response in done.responses]
    assert len(set(names)) == len(names)
    refusals = [response for response in done.responses if not response.approved]
    if done.decision is None:
        assert not refusals
        assert missing(done) == done.quorum - len(names) > 0
    elif done.decision.outcome is Outcome.REJECTED:
        assert refusals == [done.responses[-1]]
        assert done.decision.by == names[-1]
    else:
        assert not refusals
        assert len(names) == done.quorum


@given(terms, people, st.sampled_from([None, "ada", "bob"]))
def test_who_may_answer(asked: Terms, who: Responder, starter: str | None) -> None:
    refusal = may_answer(APPROVAL, asked, who, starter=starter)
    if not who.known:
        assert refusal is None
    elif asked.approvers and not {who.name, *who.groups} & {*asked.approvers}:
        assert refusal is Refusal.NO_APPROVER
    elif who.name == starter and not asked.self_approval:
        assert refusal is Refusal.SELF_APPROVAL
        assert may_answer(ASK, asked, who, starter=starter) is None
    else:
        assert refusal is None


@given(terms, votes)
def test_terms_and_verdicts_survive_being_written_down(asked: Terms, given: list[tuple[Responder, bool]]) -> None:
    done = expired(answer_all(asked, given, None), 9)
    assert terms_of(decode(encode(as_data(done)))) == done
    end = verdict(APPROVAL, done)
    assert convert(decode(encode(to_builtins(end))), Verdict) == end


@given(terms)
def test_what_an_expiry_comes_to(asked: Terms) -> None:
    end = verdict(APPROVAL, expired(asked, 9))
    match asked.on_expiry:
        case OnExpiry.FAIL:
            assert end.failure is not None
            assert (end.failure.code, end.failure.retryable, end.expired) == ("timeout", True, True)
        case OnExpiry.APPROVE:
            assert (end.output["approved"], end.output["by"]) == (True, None)
        case OnExpiry.REJECT if asked.on_reject is OnReject.FAIL:
            assert end.failure is not None
            assert (end.failure.code, end.failure.retryable) == ("rejected", False)
        case OnExpiry.REJECT:
            assert end.output["approved"] is False
        case OnExpiry.VALUE:
            assert end.output == asked.value


@pytest.mark.parametrize(
    ("kind", "field", "answer"), [(ASK, "answer", {"n": 1}), (ASK, "answer", None), (SIGNAL, "payload", [1])]
)
def test_an_answer_or_a_payload_is_kept(kind: str, field: str, answer: Any) -> None:
    asked = Terms(attempt=1, name="paid")
    if kind == ASK:
        done = responded(kind, asked, Response(by="ada", at=5, comment="so"), answer)
    else:
        done = received(asked, payload=answer, by="ada", at=5)
    output = verdict(kind, done).output
    assert (output[field], output["by"], output["at"]) == (answer, "ada", "1970-01-01T00:00:00.000005Z")


def test_refusing_to_answer_is_a_rejection() -> None:
    done = responded(ASK, Terms(attempt=1), Response(by="ada", at=5, approved=False, comment="no idea"))
    failure = verdict(ASK, done).failure
    assert failure is not None
    assert (failure.code, failure.message) == ("rejected", "rejected by ada: no idea")
