"""What the expressions of an ended execution saw, so that its calls can be compared with those of a replay."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from perdure.base.codec import Json, encode
from perdure.engine.node_runs import every_run
from perdure.engine.values import Values
from perdure.engine.views import execution_facts
from perdure.flows.program import ExpressionFailed, Program, Scope
from perdure.model.definition import Flow
from perdure.model.recorded import Recorded
from perdure.model.replay import Taken
from perdure.model.states import NodeStatus
from perdure.store.interface import NodeRuns
from perdure.store.records import ExecutionRecord, NodeRunRecord

_AT_ONCE = 100
"""Items compared without letting others go on."""


class Recollection:
    """Recorded outputs by node, each read once. `program` is the replay's; the definitions that it compares are equal."""

    def __init__(
        self,
        record: ExecutionRecord,
        program: Program,
        recorded: Recorded,
        *,
        node_runs: NodeRuns,
        values: Values,
        secrets: Mapping[str, str],
    ) -> None:
        self._record = record
        self._program = program
        self._recorded = recorded
        self._node_runs = node_runs
        self._values = values
        self._secrets = secrets
        self._facts = execution_facts(record)
        self._seen: dict[str, dict[str, Any]] = {}

    async def scope(self, node_id: str, *, input_: Json, outputs: Mapping[str, Json]) -> Scope:
        """What the node's expressions see with this input, where `outputs` stand in the place of recorded ones."""
        nodes = {}
        for name in self._program.references(node_id):
            if name in outputs:
                nodes[name] = {"output": outputs[name], "status": str(NodeStatus.COMPLETED), "error": None}
            else:
                nodes[name] = await self._node(name)
        return Scope(input=input_, nodes=nodes, execution=self._facts, secrets=self._secrets)

    async def _node(self, name: str) -> dict[str, Any]:
        if name not in self._seen:
            self._seen[name] = await self._read(name, self._program.flow)
        return self._seen[name]

    async def _read(self, name: str, flow: Flow) -> dict[str, Any]:
        spec = flow.nodes[name]
        outcome = self._recorded.outcome(spec)
        outputs: list[Json] = []
        error: dict[str, Any] | None = None
        async for run in every_run(self._node_runs, self._record.workspace, self._record.id, node=name):
            if _is_own(run, self._recorded):
                outputs.append(await self._values.load(run.output))
                error = error or run.error
        output: Json = None
        if spec.foreach is None:
            output = outputs[0] if outputs else None
        elif outcome is NodeStatus.COMPLETED:
            stands_for_all = self._recorded.runs[name][0].attempt == 0
            output = outputs[0] or [] if stands_for_all else outputs
        return {
            "output": output,
            "status": None if outcome is None else str(outcome),
            "error": error if outcome is NodeStatus.FAILED else None,
        }


def _is_own(run: NodeRunRecord, recorded: Recorded) -> bool:
    """Not what undid one."""
    return any(one.label == run.label for one in recorded.runs.get(run.node, ()) if one.ordinal == run.ordinal)


async def calls_differ(program: Program, node_id: str, before: Scope, after: Scope) -> bool:
    """Whether the node would run otherwise, or with something else, than it did."""
    return await _calls(program, node_id, before) != await _calls(program, node_id, after)


async def same_calls(program: Program, node_id: str, before: Scope, after: Scope, recorded: Recorded) -> list[Taken]:
    """Recorded runs of a foreach's items that stand in the list still, called with the same.

    Items are the same by their key; without `key` by their place.
    """
    old, new = await _calls(program, node_id, before), await _calls(program, node_id, after)
    if not isinstance(old, Items) or not isinstance(new, Items):
        return []
    places: defaultdict[object, deque[int]] = defaultdict(deque)
    for index, key in enumerate(new.keys):
        places[key].append(index)
    found = []
    for run in recorded.runs.get(node_id, ()):
        if run.attempt == 0 or run.ordinal >= len(old.calls) or not recorded.stands(run):
            continue
        candidates = places[old.keys[run.ordinal]]
        if candidates and old.calls[run.ordinal] == new.calls[candidates[0]]:
            index = candidates.popleft()
            found.append(Taken(run, index, new.labels[index]))
    return found


class Items(NamedTuple):
    """A foreach's items, each with what it is called with."""

    keys: list[object]
    labels: list[str]
    calls: list[object]


async def _calls(program: Program, node_id: str, scope: Scope) -> object:
    """`Items` of a foreach that runs; else something that is equal for equal calls. Failures are equal that say the same."""
    spec = program.flow.nodes[node_id]
    try:
        if not program.when(node_id, scope):
            return None
        if spec.foreach is None:
            return _rendered(program, node_id, scope)
        items = program.items(node_id, scope)
        found = Items([], [], [])
        for index, item in enumerate(items):
            if index % _AT_ONCE == _AT_ONCE - 1:
                # Ten thousand of them take their time; others go on meanwhile.
                await asyncio.sleep(0)
            own = _of_item(scope, item, index)
            label = "" if spec.key is None else program.label(node_id, own)
            found.keys.append(index if spec.key is None else label)
            found.labels.append(label)
            found.calls.append(_rendered(program, node_id, own))
    except ExpressionFailed as error:
        return error.failure.message
    return found


def _rendered(program: Program, node_id: str, scope: Scope) -> object:
    try:
        rendered = program.call(node_id, scope)
    except ExpressionFailed as error:
        return error.failure.message
    return encode((rendered.config, rendered.with_, rendered.env))


def _of_item(scope: Scope, item: Json, index: int) -> Scope:
    return Scope(
        input=scope.input, nodes=scope.nodes, execution=scope.execution, item=item, index=index, secrets=scope.secrets
    )
