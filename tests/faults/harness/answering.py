"""Answers to executions that wait for somebody, and what has to become of them whatever dies meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.faults.harness.api import API, Api, Lost

Body = dict[str, Any]

APPROVAL, ASK, SIGNAL = "faults/gate", "faults/question", "faults/paid"
FLOWS = (APPROVAL, ASK, SIGNAL)
BUSY = {503, 507}


def asleep(api: Api, flow: str, count: int) -> list[str]:
    """Executions of the flow that wait for somebody."""
    ids = [api.start(flow, {})["id"] for _ in range(count)]
    for id in ids:
        api.becomes(id, "suspended")
    return ids


def respond(api: Api, id: str, word: str, *, flow: str = APPROVAL) -> str | None:
    """The word of the answer that counts, ours or an earlier one's; None where nobody knows."""
    body: Body = {"approved": True, "comment": word} if flow == APPROVAL else {"answer": {"word": word}}
    try:
        answer = api.request("POST", f"{API}/executions/{id}/respond", json=body)
    except Lost:
        return None
    if answer.status_code in BUSY:
        return None
    found = answer.json()
    if answer.status_code != 200:
        assert found["code"] == "wait_answered", found
        found = found["details"]
        assert {"by", "at", "outcome"} <= found.keys(), "it is told who was first"
    said: str = found["comment"] if flow == APPROVAL else found["answer"]["word"]
    return said


def send(api: Api, id: str, word: str) -> bool:
    """Whether the signal was acknowledged."""
    try:
        answer = api.request("POST", f"{API}/executions/{id}/signal", json={"name": "paid", "payload": word})
    except Lost:
        return False
    return answer.status_code == 200


class Heard:
    """What clients were told, and what they sent: by execution."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.signals: dict[str, dict[str, bool]] = {}

    def say(self, api: Api, flow: str, id: str, word: str) -> None:
        """Answer or signal, and note what came back."""
        if flow == SIGNAL:
            self.signals.setdefault(id, {})[word] = send(api, id, word)
            return
        said = respond(api, id, word, flow=flow)
        if said is not None:
            assert self.answers.setdefault(id, said) == said, "what counts never changes"

    def check(self, api: Api, asked: Iterable[tuple[str, str]]) -> None:
        """Every execution (flow, id) was answered once, by whoever was told so."""
        for flow, id in asked:
            if flow == SIGNAL:
                self._check_signals(api, id)
            else:
                counted = respond(api, id, "last", flow=flow)
                execution = api.ended(id)
                assert execution["output"] == counted == self.answers.get(id, counted)
            execution = api.ended(id)
            assert execution["status"] == "completed", execution["error"]
            types = [event["type"] for event in api.events(id)]
            assert types.count("node.answered") == 1
            assert types.count("node.completed") == 2

    def _check_signals(self, api: Api, id: str) -> None:
        """What was acknowledged came once; what was not, once or never; one of them is what counts."""
        sent = self.signals.setdefault(id, {})
        if not any(sent.values()):
            sent["last"] = send(api, id, "last")
        output = api.ended(id)["output"]
        assert output in sent
        # The first is taken by the wait, the others are kept.
        came = [event for event in api.events(id) if event["type"] in {"node.answered", "execution.signalled"}]
        assert max(sum(sent.values()), 1) <= len(came) <= len(sent), (sent, came)
