"""What the system itself says of a store whose tables are known."""

from __future__ import annotations

from tests.faults.harness.api import Api
from tests.faults.harness.store import Facts
from tests.faults.harness.stream import Follower

_PAGED = 40
"""Executions whose events are read page by page."""


def contradictions(api: Api, facts: Facts, *, recorded_in: str) -> list[str]:
    """What the API says of every execution, against the facts."""
    listed = {one["id"]: one for one in api.executions(kind="any")}
    findings = [f"T: the API does not list {id}" for id in facts.executions.keys() - listed.keys()]
    for id, one in listed.items():
        row = facts.executions.get(id)
        if row is None or one["status"] != row["status"]:
            findings.append(f"T: the API says that {id} is {one['status']}, the {recorded_in} {row and row['status']}")
    # Small pages, so that they begin and end within chunks.
    for id in [id for id in listed if id in facts.executions][:_PAGED]:
        last_seq = facts.executions[id]["last_seq"]
        seqs = [event["seq"] for event in api.events(id, page=min(7 + last_seq // 50, 1000))]
        if seqs != list(range(1, last_seq + 1)):
            findings.append(f"S: the pages of {id} have {seqs}")
    return findings


def streamed(follower: Follower) -> list[str]:
    """What is wrong with what a follower got, once its stream has had the time to end."""
    follower.ended.wait(20)
    follower.stop()
    return follower.findings()


def unfinished_business(api: Api, facts: Facts) -> str:
    """What the first of the unfinished executions wait for."""
    lines = [f"{len(facts.unfinished)} unfinished"]
    for id in facts.unfinished[:5]:
        row = facts.executions[id]
        held = {table: owners.count(id) for table, owners in facts.belongings.items() if id in owners}
        why = api.get(f"/executions/{id}/why")["summary"]
        told = [type for chunk in facts.chunks.get(id, ()) for type in chunk.types]
        state = {name: row[name] for name in ("flow", "status", "worker", "epoch", "recoveries", "crashes")}
        lines.append(f"{id}: {state} {held}\n    {why}\n    {told[-12:]}")
    return "\n".join(lines)
