"""Replays: new executions from what ended ones recorded, planned by `perdure.model.replay`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from perdure.base.clock import Clock
from perdure.base.codec import Json
from perdure.base.ids import id_text, new_id
from perdure.base.nearest import nearest_or_all
from perdure.base.pointers import pointer_of
from perdure.engine.catalog import Catalog
from perdure.engine.recollection import Recollection, calls_differ, same_calls
from perdure.engine.requests import ReplayRequest, StartRequest
from perdure.engine.starts import Starts
from perdure.engine.values import ValueRefused, Values, to_json
from perdure.errors import (
    ExecutionNotEnded,
    ExecutionNotFound,
    InvalidRequest,
    LimitExceeded,
    NothingToRetry,
    PermissionDenied,
    Problem,
    invalid_request,
)
from perdure.flows.program import Program
from perdure.model.answer import APPROVAL, ASK
from perdure.model.definition import Flow, qualified
from perdure.model.execution import NodeRun
from perdure.model.queue_line import queue_of
from perdure.model.recorded import Recorded
from perdure.model.replay import (
    FAILED,
    UNFINISHED,
    Edits,
    PlannedNode,
    Reason,
    Taken,
    changed_nodes,
    failures,
    may_keep_items,
    plan_replay,
)
from perdure.model.states import TERMINAL, ExecutionKind, ExecutionStatus, NodeStatus
from perdure.store.interface import Store
from perdure.store.records import (
    ArtifactRecord,
    ExecutionRecord,
    NewExecution,
    NodeRunRecord,
    Payload,
    ReplayFacts,
    Reuse,
    ReusedRun,
)

_PAGE = 1_000
_CUT_SHORT = frozenset({"row_refused", "unreadable"})
"""Failures by which the engine ends an execution whatever its nodes have come to."""


class Draft(NamedTuple):
    """A replay that was thought through and not written: what would become of each node, in the graph's order."""

    request: ReplayRequest
    original: ExecutionRecord
    version: int
    program: Program
    before: Flow
    """The original's version."""
    recorded: Recorded
    planned: dict[str, PlannedNode]
    input_: Json


class Replays:
    """Reads what was recorded, has it planned, and makes rows of the plan. Writes nothing."""

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        starts: Starts,
        values: Values,
        clock: Clock,
        secrets: Mapping[str, str],
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._starts = starts
        self._values = values
        self._clock = clock
        self._secrets = secrets

    async def draft(self, request: ReplayRequest) -> Draft:
        """Raises `ExecutionNotFound`, `ExecutionNotEnded`, `NothingToRetry`, `FlowVersionNotFound`, `InvalidInput`,
        `PermissionDenied`, and `InvalidRequest` with every node that is not there."""
        original, payload = await self._original(request)
        _, before = await self._catalog.program(request.workspace, original.flow, original.flow_version)
        version, program = await self._target(request, original)
        _check_nodes(request, program.flow)
        runs = await self._store.node_runs.recorded(request.workspace, original.id)
        recorded = Recorded(
            runs, completed=original.status is ExecutionStatus.COMPLETED, settled=_is_settled(original, payload)
        )
        has_failures = not recorded.completed or bool(failures(program.flow, recorded))
        if request.begin == FAILED and not (has_failures or request.outputs):
            raise NothingToRetry(
                f"execution {id_text(original.id)} completed, and nothing in it failed; replay it from nodes of your choice"
            )
        old_input = await self._values.load(payload.input)
        input_ = program.check_input(old_input if request.input is msgspec.UNSET else request.input)
        edits = changed_nodes(before.flow, program.flow)._replace(outputs=frozenset(request.outputs))
        planned = plan_replay(program.flow, recorded, begin=request.begin, edits=edits, reach=request.reach)
        recollection = Recollection(
            original, program, recorded, node_runs=self._store.node_runs, values=self._values, secrets=self._secrets
        )
        draft = Draft(request, original, version, program, before.flow, recorded, planned, input_)
        return await _with_comparisons(draft, recollection, edits, old_input)

    async def build(self, request: ReplayRequest) -> NewExecution:
        """The replay, not yet stored. Raises as `draft` does, and as a start."""
        draft = await self.draft(request)
        original = draft.original
        start = StartRequest(
            workspace=request.workspace,
            flow=original.flow,
            version=draft.version,
            input=draft.input_,
            tags=original.tags,
            trigger_kind="replay",
            trigger_id=request.asked_by,
            # Expressions may read it.
            trigger_context=original.trigger_context,
            idempotency_key=request.idempotency_key,
            request_hash=request.request_hash,
            # What the start had asked for stands; what was its flow's own is that of the version now.
            priority=None if original.priority == draft.before.priority else original.priority,
            queue=None if queue_of(original.queue) == draft.before.queue else queue_of(original.queue),
            timeout=_asked_timeout(original, draft.before),
        )
        execution, _ = await self._starts.build(start)
        return await self._reusing(draft, execution)

    async def child(
        self, start: StartRequest, *, parent: tuple[ExecutionRecord, NodeRun], earlier: bytes
    ) -> NewExecution | None:
        """A child as a `flow` node starts it, that takes over what stands of an earlier one.

        Returns:
            None where there is nothing to go on from: the earlier one is gone, has not ended, or is of another flow.
        Raises as a start.
        """
        record = await self._store.executions.get(start.workspace, earlier)
        if record is None or record.flow != qualified(start.flow) or record.status not in TERMINAL:
            return None
        request = ReplayRequest(
            workspace=start.workspace,
            id=earlier,
            # One that completed unknown to its parent completes again with the same, and runs nothing.
            begin=[] if record.status is ExecutionStatus.COMPLETED else FAILED,
            input=start.input,
            version=start.version or "latest",
        )
        try:
            draft = await self.draft(request)
        except ExecutionNotFound:
            return None
        start.version = draft.version
        return await self._reusing(draft, await self._starts.child(start, parent=parent))

    async def _reusing(self, draft: Draft, execution: NewExecution) -> NewExecution:
        """The start with what it takes over."""
        execution.replay_of = draft.original.id
        execution.reuse = Reuse(
            source=draft.original.id,
            facts=_facts(draft),
            runs=_reused_runs(draft),
            edited=[await self._edited(draft, name, draft.program.flow) for name in draft.request.outputs],
            artifacts=await self._artifacts(draft, execution),
        )
        return execution

    async def _original(self, request: ReplayRequest) -> tuple[ExecutionRecord, Payload]:
        named = id_text(request.id)
        found = await self._store.executions.whole(request.workspace, request.id)
        if found is None:
            raise ExecutionNotFound.of(named)
        record = found[0]
        if record.kind is ExecutionKind.UNIT:
            raise InvalidRequest(f"execution {named} is a part of {id_text(record.root)}; replay that one")
        if record.status not in TERMINAL:
            message = (
                f"execution {named} is {record.status}; one that has ended can be replayed: wait for it, or cancel it"
            )
            raise ExecutionNotEnded(message, id=named, status=str(record.status))
        return found

    async def _target(self, request: ReplayRequest, original: ExecutionRecord) -> tuple[int, Program]:
        wanted = request.version
        if wanted == "latest":
            return await self._catalog.program(request.workspace, original.flow)
        number = wanted if isinstance(wanted, int) else original.flow_version
        return await self._catalog.program(request.workspace, original.flow, number)

    async def _edited(self, draft: Draft, name: str, flow: Flow) -> NodeRunRecord:
        """The row of an edited output. One of a foreach stands for all of its items: it has no attempt."""
        spec = flow.nodes[name]
        try:
            data = to_json(draft.request.outputs[name], f"the output of {name}")
        except ValueRefused as error:
            problem = Problem(error.failure.code, error.failure.message, pointer_of(("outputs", name)))
            raise LimitExceeded(error.failure.message, problems=(problem,)) from None
        runs = draft.recorded.runs.get(name, ())
        attempt = (
            0 if spec.foreach is not None else max([run.attempt for run in runs if run.ordinal == 0], default=0) or 1
        )
        return NodeRunRecord(
            node=name, type=spec.type, status=NodeStatus.COMPLETED, attempt=attempt,
            output=await self._values.store(data), finished_at=self._clock.now(), reused_from=draft.original.id,
        )  # fmt: skip

    async def _artifacts(self, draft: Draft, execution: NewExecution) -> list[ArtifactRecord]:
        """Those of the runs that are taken over: the same contents under ids of their own."""
        places = {(one.run.node, one.run.ordinal): one.ordinal for plan in draft.planned.values() for one in plan.taken}
        for name in draft.request.outputs:
            places |= {(name, run.ordinal): run.ordinal for run in draft.recorded.runs.get(name, ())}
        found: list[ArtifactRecord] = []
        after: bytes | None = None
        while places:
            page = await self._store.artifacts.list(
                draft.request.workspace, execution_id=draft.original.id, after=after, limit=_PAGE
            )
            found += [one for one in page if (one.node, one.ordinal) in places]
            if len(page) < _PAGE:
                break
            after = page[-1].id
        return [
            msgspec.structs.replace(
                one, id=new_id(execution.created_at), execution_id=execution.id, ordinal=places[one.node, one.ordinal]
            )
            for one in found
        ]


async def _with_comparisons(draft: Draft, recollection: Recollection, edits: Edits, old_input: Json) -> Draft:
    """The draft once it is known which nodes the edited input reaches, and which items of a foreach it does not."""
    request, program, recorded = draft.request, draft.program, draft.recorded
    planned = draft.planned

    def plan(taken: Mapping[str, list[Taken]]) -> dict[str, PlannedNode]:
        return plan_replay(
            program.flow, recorded, begin=request.begin, edits=edits, reach=request.reach, same_calls=taken
        )

    async def scopes(name: str) -> tuple[Any, Any]:
        before = await recollection.scope(name, input_=old_input, outputs={})
        return before, await recollection.scope(name, input_=draft.input_, outputs=request.outputs)

    if draft.input_ != old_input:
        reached = []
        for name, one in planned.items():
            is_recorded = one.reason is Reason.RECORDED or bool(one.taken)
            # Who approved did so for the input of then, whether or not he was told of it.
            if is_recorded and (one.type == APPROVAL or await calls_differ(program, name, *await scopes(name))):
                reached.append(name)
        edits = edits._replace(reached=frozenset(reached))
        planned = plan({})
    kept = {}
    for name in may_keep_items(program.flow, planned, edits):
        if found := await same_calls(program, name, *await scopes(name), recorded):
            kept[name] = found
    return draft._replace(planned=plan(kept) if kept else planned)


def _check_nodes(request: ReplayRequest, flow: Flow) -> None:
    """Raises InvalidRequest for nodes that are not there, twice there, or cannot have such an output; PermissionDenied."""
    problems = []
    begin = request.begin if isinstance(request.begin, list) else []
    if isinstance(request.begin, str) and request.begin != FAILED:
        problems.append(Problem("invalid_value", f"from is a list of nodes, or {FAILED!r}", "/from"))
    places = [(name, f"/from/{index}") for index, name in enumerate(begin)]
    places += [(name, pointer_of(("outputs", name))) for name in request.outputs]
    for name, pointer in places:
        if name not in flow.nodes:
            detail = f"{flow.id} has no node {name[:100]!r}{nearest_or_all(name, flow.nodes)}"
            problems.append(Problem("unknown_name", detail, pointer))
    for name, output in request.outputs.items():
        if name in begin:
            detail = f"{name} cannot both run and have an edited output"
            problems.append(Problem("invalid_value", detail, pointer_of(("outputs", name))))
        if name in flow.nodes and flow.nodes[name].foreach is not None and not isinstance(output, list):
            detail = f"the output of {name} is the list of its items' outputs; give a list"
            problems.append(Problem("invalid_type", detail, pointer_of(("outputs", name))))
    if problems:
        raise invalid_request(problems)
    decided = [name for name in request.outputs if flow.nodes[name].type in (APPROVAL, ASK)]
    if decided and not request.may_decide:
        raise PermissionDenied(
            f"what people decide is theirs to say: to put something in the place of {', '.join(decided)} needs the role editor"
        )


def _is_settled(original: ExecutionRecord, payload: Payload) -> bool:
    if original.status is ExecutionStatus.FAILED:
        return payload.error is not None and payload.error["code"] not in _CUT_SHORT
    return original.status is ExecutionStatus.COMPLETED


def _asked_timeout(original: ExecutionRecord, before: Flow) -> int | None:
    if original.deadline_at is None:
        return None
    timeout = original.deadline_at - max(original.created_at, original.start_at or 0)
    return None if timeout == before.timeout else timeout


def _facts(draft: Draft) -> ReplayFacts:
    request = draft.request
    return ReplayFacts(
        begin=request.begin,
        reuse=str(request.reach),
        input_edited=request.input is not msgspec.UNSET,
        edited=sorted(request.outputs),
        whole=[name for name, one in draft.planned.items() if one.whole and _is_told_by_items(one, draft.program.flow)],
        children=[name for name, one in draft.planned.items() if one.type == "flow" and one.reason in UNFINISHED],
    )


def _is_told_by_items(planned: PlannedNode, flow: Flow) -> bool:
    """A skip, or a run that stands for all items, says by itself that there is nothing more."""
    if flow.nodes[planned.node].foreach is None or not planned.taken:
        return False
    first = planned.taken[0].run
    stands_for_all = first.attempt == 0 and first.status is NodeStatus.COMPLETED
    return first.status is not NodeStatus.SKIPPED and not stands_for_all


def _reused_runs(draft: Draft) -> list[ReusedRun]:
    return [
        ReusedRun(
            one.run.node, one.run.ordinal, one.run.label, one.ordinal, one.label, one.run.status, one.run.attempt,
            one.run.reused_from or draft.original.id,
        )
        for planned in draft.planned.values()
        for one in planned.taken
    ]  # fmt: skip
