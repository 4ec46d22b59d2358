"""Reading node runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.model.recorded import RecordedRun
from perdure.model.states import NodeStatus
from perdure.store.procedures.rows import node_run_of
from perdure.store.reads.reader import Reader
from perdure.store.records import NodeRunRecord
from perdure.store.statements import All, Procedure

BEFORE_ALL = ("", -1, "")


class StoredNodeRuns:
    def __init__(self, read: Reader) -> None:
        self._read = read

    async def get(
        self, workspace: str, execution_id: bytes, node: str, ordinal: int, label: str = ""
    ) -> NodeRunRecord | None:
        key = {"workspace": workspace, "id": execution_id, "node": node, "ordinal": ordinal, "label": label}
        found = await self._read(_node_runs(All("node_run", key)))
        return found[0] if found else None

    async def recorded(self, workspace: str, execution_id: bytes) -> list[RecordedRun]:
        return await self._read(_recorded(workspace, execution_id))

    async def summary(self, workspace: str, execution_id: bytes) -> list[dict[str, Any]]:
        return await self._read(_summary(workspace, execution_id))

    async def in_status(
        self, workspace: str, execution_id: bytes, status: NodeStatus, *, limit: int
    ) -> Sequence[NodeRunRecord]:
        params = {"workspace": workspace, "id": execution_id, "status": str(status), "limit": limit}
        return await self._read(_node_runs(All("node_runs_in_status", params)))

    async def list(
        self,
        workspace: str,
        execution_id: bytes,
        *,
        node: str | None = None,
        limit: int = 1000,
        after: tuple[str, int, str] | None = None,
    ) -> list[NodeRunRecord]:
        after_node, after_ordinal, after_label = after or BEFORE_ALL
        params: dict[str, Any] = {"workspace": workspace, "id": execution_id, "limit": limit}
        params |= {"after_ordinal": after_ordinal, "after_label": after_label}
        if node is None:
            return await self._read(_node_runs(All("node_run_list", {**params, "after_node": after_node})))
        if after is not None and after_node != node:
            params |= {"after_ordinal": -1, "after_label": ""}
        return await self._read(_node_runs(All("node_run_list_of_node", {**params, "node": node})))


def _node_runs(request: All) -> Procedure[list[NodeRunRecord]]:
    rows = yield request
    return [node_run_of(row) for row in rows]


def _recorded(workspace: str, execution_id: bytes) -> Procedure[list[RecordedRun]]:
    rows = yield All("node_runs_recorded", {"workspace": workspace, "id": execution_id})
    return [
        RecordedRun(node, ordinal, label, NodeStatus(status), attempt, bool(has_error), reused_from)
        for node, ordinal, label, status, attempt, has_error, reused_from in rows
    ]


def _summary(workspace: str, execution_id: bytes) -> Procedure[list[dict[str, Any]]]:
    rows = yield All("node_run_summary", {"workspace": workspace, "id": execution_id})
    nodes: dict[str, dict[str, Any]] = {}
    for node, kind, status, runs, attempts, duration_us, started_at, finished_at in rows:
        found = nodes.setdefault(
            node,
            {
                "node": node,
                "type": kind,
                "runs": 0,
                "by_status": {},
                "attempts": 0,
                "duration_us_sum": 0,
                "started_at": None,
                "finished_at": None,
            },
        )
        found["runs"] += runs
        found["by_status"][status] = found["by_status"].get(status, 0) + runs
        found["attempts"] += attempts
        found["duration_us_sum"] += duration_us
        if started_at is not None:
            found["started_at"] = min(started_at, found["started_at"] or started_at)
        if finished_at is not None:
            found["finished_at"] = max(finished_at, found["finished_at"] or finished_at)
    return list(nodes.values())
