"""Operations on many executions, asked for by a client that does not give up, and what really became of each."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.faults.harness.api import API, Api, Lost, Refused
from tests.faults.harness.waiting import until

OPEN = frozenset({"collecting", "running"})


def ask(api: Api, body: dict[str, Any], key: str) -> dict[str, Any]:
    """Raises `Refused`, `Lost`."""
    answer = api.request("POST", f"{API}/executions/bulk", json=body, headers={"Idempotency-Key": key})
    if answer.status_code != 202:
        raise Refused(answer)
    found: dict[str, Any] = answer.json()
    return found


def over(api: Api, id: str, *, within_s: float = 60) -> dict[str, Any]:
    """The operation, once it is over."""

    def look() -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = api.get(f"/operations/{id}")
        except Lost:
            return None
        return found if found["status"] not in OPEN else None

    return until(look, within_s=within_s, what=f"operation {id} is over")


def items(api: Api, id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"/operations/{id}/items", limit=1000)["data"]
    return found


def require_done_once(api: Api, executions: list[str], *, tagging: dict[str, Any], replaying: dict[str, Any]) -> None:
    """Each of them has one event of the one operation, and one replay of the other."""
    for one in (tagging, replaying):
        assert (one["status"], one["total"], one["succeeded"], one["refused"]) == (
            "completed", len(executions), len(executions), 0,
        )  # fmt: skip
    replays = {item["execution"]: item["replay"] for item in items(api, replaying["id"])}
    assert sorted(replays) == sorted(executions)
    for id in executions:
        told = Counter(event["type"] for event in api.events(id))
        assert told["execution.tagged"] == 1, id
        found = api.get(f"/executions/{id}/replays", limit=10)["data"]
        assert [one["id"] for one in found] == [replays[id]], id
