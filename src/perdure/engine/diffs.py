"""Two executions compared: what each was given, what became of each node, and what came out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from perdure.base.codec import Json, encode
from perdure.base.ids import id_text
from perdure.engine.catalog import Catalog
from perdure.engine.node_runs import every_run
from perdure.engine.values import Values
from perdure.errors import ExecutionNotFound
from perdure.model.definition import Flow
from perdure.model.differences import MOST, Difference, differences
from perdure.model.execution import COMPENSATE
from perdure.model.replay import in_order, same_definition
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.interface import ExecutionFilter, Page, Store
from perdure.store.records import ExecutionRecord, NodeRunRecord, Payload, Value

LAST_SUCCESS = "last_success"
_OPENED = 20
"""Differing runs of one node whose outputs are looked into."""


class Differences(NamedTuple):
    places: list[Difference]
    more: bool
    """There are places that are not told."""


class RunSummary(NamedTuple):
    """What one look at a run is enough for."""

    ordinal: int
    label: str
    status: NodeStatus
    digest: bytes | None
    """Of its output."""
    code: str | None
    """Of its error."""
    items: list[Json] | None = None
    """Of the list that stands for all items of a foreach, where the run is one of them."""


class NodeComparison(NamedTuple):
    """`before` and `after` are what `NodeRuns.summary` gives, None for a side that has no run of the node."""

    node: str
    type: str
    definition_changed: bool
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    errors: tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]
    """The first failure's of each side."""
    differing_runs: int
    output: Differences


class Comparison(NamedTuple):
    before: tuple[ExecutionRecord, Payload]
    after: tuple[ExecutionRecord, Payload]
    input_: Differences
    output: Differences
    nodes: list[NodeComparison]


class Diffs:
    """Compares executions of one workspace. Reads only."""

    def __init__(self, *, store: Store, catalog: Catalog, values: Values) -> None:
        self._store = store
        self._catalog = catalog
        self._values = values

    async def compare(self, workspace: str, before: bytes, after: bytes) -> Comparison:
        """Raises `ExecutionNotFound`."""
        sides = []
        for id_ in (before, after):
            found = await self._store.executions.whole(workspace, id_)
            if found is None:
                raise ExecutionNotFound.of(id_text(id_))
            sides.append(found)
        old, new = sides
        return Comparison(
            old,
            new,
            await self._values_differ(old[1].input, new[1].input),
            await self._values_differ(old[1].output, new[1].output),
            await self._nodes(workspace, old[0], new[0]),
        )

    async def last_success(self, record: ExecutionRecord) -> bytes:
        """The newest completed execution of the same flow before this one. Raises `ExecutionNotFound`."""
        wanted = ExecutionFilter(flow=record.flow, statuses=(ExecutionStatus.COMPLETED,))
        found = await self._store.executions.list(record.workspace, wanted, Page(limit=1, after=record.id))
        if not found:
            raise ExecutionNotFound(
                f"no execution of {record.flow} completed before {id_text(record.id)}; name one to compare it with"
            )
        return found[0].id

    async def _nodes(self, workspace: str, old: ExecutionRecord, new: ExecutionRecord) -> list[NodeComparison]:
        flows = [await self._flow(record) for record in (old, new)]
        summaries = [
            {row["node"]: row for row in await self._store.node_runs.summary(workspace, record.id)}
            for record in (old, new)
        ]
        runs = [await self._runs(workspace, record.id) for record in (old, new)]
        names = in_order(flows[1])
        names += [name for name in in_order(flows[0]) if name not in flows[1].nodes]
        compared = []
        for name in names:
            specs = [flow.nodes.get(name) for flow in flows]
            spec = specs[1] or specs[0]
            assert spec is not None
            sides = _by_key(runs[0].get(name, ()), runs[1].get(name, ()))
            differing, output = await self._outputs(
                workspace, (old, new), name, sides, repeated=spec.foreach is not None
            )
            compared.append(
                NodeComparison(
                    node=name,
                    type=spec.type,
                    definition_changed=specs[0] is None or specs[1] is None or not same_definition(specs[0], specs[1]),
                    before=summaries[0].get(name),
                    after=summaries[1].get(name),
                    errors=(await self._error(old, name, sides[0]), await self._error(new, name, sides[1])),
                    differing_runs=differing,
                    output=output,
                )
            )
        return compared

    async def _flow(self, record: ExecutionRecord) -> Flow:
        _, program = await self._catalog.program(record.workspace, record.flow, record.flow_version)
        return program.flow

    async def _runs(self, workspace: str, id_: bytes) -> dict[str, list[RunSummary]]:
        """By node, without what undid them; a run that stands for a whole foreach as the items of its output."""
        found: dict[str, list[RunSummary]] = {}
        async for run in every_run(self._store.node_runs, workspace, id_):
            if run.attempt == 0 and run.status is NodeStatus.COMPLETED:
                found[run.node] = _items(await self._values.load(run.output) or [])
            elif run.label != COMPENSATE:
                found.setdefault(run.node, []).append(_summary(run))
        return found

    async def _outputs(
        self,
        workspace: str,
        records: tuple[ExecutionRecord, ExecutionRecord],
        node: str,
        sides: list[dict[object, RunSummary]],
        *,
        repeated: bool,
    ) -> tuple[int, Differences]:
        """How many runs differ, and where the outputs of the first of them do."""
        old, new = sides
        keys = [key for key in (*old, *(key for key in new if key not in old)) if _differ(old.get(key), new.get(key))]
        places: list[Difference] = []
        more = False
        for opened, key in enumerate(keys):
            if opened == _OPENED or len(places) >= MOST:
                more = True
                break
            outputs = [await self._output(workspace, records[at].id, node, sides[at].get(key)) for at in (0, 1)]
            found, rest = differences(outputs[0], outputs[1], most=MOST - len(places))
            at = f"/{(new.get(key) or old[key]).ordinal}" if repeated else ""
            places += [one._replace(pointer=at + one.pointer) for one in found]
            more = more or rest
        return len(keys), Differences(places, more)

    async def _output(self, workspace: str, id_: bytes, node: str, run: RunSummary | None) -> Json:
        if run is None or run.digest is None:
            return None
        if run.items is not None:
            return run.items[run.ordinal]
        row = await self._store.node_runs.get(workspace, id_, node, run.ordinal, run.label)
        return None if row is None else await self._values.load(row.output)

    async def _error(
        self, record: ExecutionRecord, node: str, runs: Mapping[object, RunSummary]
    ) -> Mapping[str, Any] | None:
        failed = next((run for run in runs.values() if run.code is not None), None)
        if failed is None:
            return None
        row = await self._store.node_runs.get(record.workspace, record.id, node, failed.ordinal, failed.label)
        return None if row is None else row.error

    async def _values_differ(self, before: Value | None, after: Value | None) -> Differences:
        if _digest(before) == _digest(after):
            return Differences([], False)
        return Differences(*differences(await self._values.load(before), await self._values.load(after)))


def _by_key(*sides: Sequence[RunSummary]) -> list[dict[object, RunSummary]]:
    """Each side by key where the items have one, else by place; items of an output as a whole have their place alone."""
    by_place = any(run.items is not None for side in sides for run in side)
    return [{run.ordinal if by_place else run.label or run.ordinal: run for run in side} for side in sides]


def _differ(before: RunSummary | None, after: RunSummary | None) -> bool:
    if before is None or after is None:
        return True
    return (before.status, before.digest, before.code) != (after.status, after.digest, after.code)


def _summary(run: NodeRunRecord) -> RunSummary:
    code = None if run.error is None else run.error["code"]
    return RunSummary(run.ordinal, run.label, run.status, _digest(run.output), code)


def _items(output: list[Json]) -> list[RunSummary]:
    return [
        RunSummary(place, "", NodeStatus.COMPLETED, hashlib.sha256(encode(item)).digest(), None, output)
        for place, item in enumerate(output)
    ]


def _digest(value: Value | None) -> bytes | None:
    if value is None:
        return None
    return value.blob or hashlib.sha256((value.text or "").encode()).digest()
