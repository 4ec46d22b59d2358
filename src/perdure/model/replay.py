"""What a replay takes over and what it runs: a function of the graph, of what an execution recorded, and of edits.

A recorded result is taken over where nothing that it was made from runs again or was edited. The rest runs, and all
that follows from it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from perdure.model.definition import Flow, Node, RunIf
from perdure.model.recorded import BAD, Recorded, RecordedRun
from perdure.model.states import NodeStatus

FAILED = "failed"
"""Begin with what failed."""


class Reach(StrEnum):
    """How much is taken over: whatever does not depend on what runs, or the ancestors of where it begins alone."""

    INDEPENDENT = "independent"
    ANCESTORS = "ancestors"


class Reason(StrEnum):
    """Why a node is taken over (the first two) or runs."""

    RECORDED = "recorded"
    EDITED = "edited"
    FROM_START = "from_start"
    ASKED = "asked"
    FAILED = "failed"
    NOT_FINISHED = "not_finished"
    UNDONE = "undone"
    NEW_NODE = "new_node"
    DEFINITION_CHANGED = "definition_changed"
    INPUT_EDITED = "input_edited"
    DEPENDS = "depends"
    NOT_AN_ANCESTOR = "not_an_ancestor"


REUSING = frozenset({Reason.RECORDED, Reason.EDITED})
_SAME_DEFINITION = ("type", "config", "with_", "env", "when", "run_if", "foreach", "key", "on_item_error", "needs")
"""Fields of a node from which its result follows; how it is tried, bounded or undone changes nothing of a result."""
_ITEMS_STAY = frozenset({Reason.FAILED, Reason.NOT_FINISHED, Reason.UNDONE})
"""Reasons that concern some items of a foreach; the others keep their results."""
UNFINISHED = frozenset({Reason.FAILED, Reason.NOT_FINISHED})
"""Reasons that concern a child as a whole no more than its parent: it too goes on from what failed."""


class Taken(NamedTuple):
    """A recorded run that is taken over, under another place where its item stands there now."""

    run: RecordedRun
    ordinal: int
    label: str


class PlannedNode(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a node. `because` names the nodes that it runs after; `taken` are the runs that it keeps.

    A foreach is `whole` when the taken runs are all that it has; else its items are told anew, and those without a
    result run.
    """

    node: str
    type: str
    reason: Reason
    because: tuple[str, ...] = ()
    taken: tuple[Taken, ...] = ()
    whole: bool = False

    @property
    def runs(self) -> bool:
        return self.reason not in REUSING


class Edits(NamedTuple):
    """What differs from the original besides where it begins.

    `outputs`: nodes whose output was edited. `changed`: nodes whose definition is another one in the target version;
    `added`: those that the original's version does not have. `reached`: nodes that the edited input reaches.
    """

    outputs: Collection[str] = ()
    changed: Collection[str] = ()
    added: Collection[str] = ()
    reached: Collection[str] = ()


NO_EDITS = Edits()


def plan_replay(
    flow: Flow,
    recorded: Recorded,
    *,
    begin: Collection[str] | str | None = None,
    edits: Edits = NO_EDITS,
    reach: Reach = Reach.INDEPENDENT,
    same_calls: Mapping[str, Sequence[Taken]] | None = None,
) -> dict[str, PlannedNode]:
    """Args:
        flow: the target version's.
        begin: nodes to begin with, `FAILED`, or None: from the start, or behind the edited outputs if there are some.
        same_calls: by foreach that runs because of what it follows from (see `may_keep_items`): the runs whose items
            are called with the same as before.

    Returns:
        for each node of the flow, in an order in which each stands behind what it needs.
    """
    whole_flow = begin is None and not edits.outputs
    asked = begin if begin is not None and not isinstance(begin, str) else ()
    handled = _handled(flow, recorded)
    own = {
        name: Reason.FROM_START if whole_flow else _own_reason(spec, recorded, asked, edits, handled, begin=begin)
        for name, spec in flow.nodes.items()
    }
    kept: Collection[str] = flow.nodes
    if reach is Reach.ANCESTORS:
        begins = [name for name, reason in own.items() if reason is not None] if begin == FAILED else asked
        kept = _ancestors(flow, [*begins, *edits.outputs])
    planned: dict[str, PlannedNode] = {}
    for name in in_order(flow):
        spec = flow.nodes[name]
        if name in edits.outputs:
            planned[name] = PlannedNode(node=name, type=spec.type, reason=Reason.EDITED, whole=True)
            continue
        reason = own[name]
        because = tuple(need for need in spec.needs if planned[need].runs or need in edits.outputs)
        if reason in (None, *_ITEMS_STAY) and because:
            reason = Reason.DEPENDS
        if reason is None and name not in kept:
            reason = Reason.NOT_AN_ANCESTOR
        taken = _taken(spec, recorded, reason, (same_calls or {}).get(name, ()))
        whole = reason is None and (spec.foreach is None or _is_whole(flow, spec, recorded))
        if reason is None and not whole:
            # Whether all of its items had begun is known once they are told again.
            reason = Reason.NOT_FINISHED
        planned[name] = PlannedNode(
            node=name, type=spec.type, reason=reason or Reason.RECORDED,
            because=because if reason is Reason.DEPENDS else (), taken=taken, whole=whole,
        )  # fmt: skip
    return planned


def may_keep_items(flow: Flow, planned: Mapping[str, PlannedNode], edits: Edits) -> list[str]:
    """Each foreach that runs only because what it is called with was edited, while all of that is known already."""
    return [
        name
        for name, spec in flow.nodes.items()
        if spec.foreach is not None
        and planned[name].reason in (Reason.DEPENDS, Reason.INPUT_EDITED)
        and name not in edits.changed
        and name not in edits.added
        and not any(planned[need].runs for need in spec.needs)
    ]


def changed_nodes(before: Flow, after: Flow) -> Edits:
    """What the second version of a flow has changed and added, as far as results follow from it."""
    added = [name for name in after.nodes if name not in before.nodes]
    changed = [
        name
        for name, spec in after.nodes.items()
        if name in before.nodes and not same_definition(before.nodes[name], spec)
    ]
    return Edits(changed=changed, added=added)


def same_definition(before: Node, after: Node) -> bool:
    """Whether both give the same result from the same values."""
    return all(getattr(before, field) == getattr(after, field) for field in _SAME_DEFINITION)


def in_order(flow: Flow) -> list[str]:
    """The nodes, each behind those that it needs."""
    missing = {name: len(spec.needs) for name, spec in flow.nodes.items()}
    ready = [name for name, count in missing.items() if count == 0]
    for name in ready:
        for following in flow.successors[name]:
            missing[following] -= 1
            if missing[following] == 0:
                ready.append(following)
    return ready


def failures(flow: Flow, recorded: Recorded) -> list[str]:
    """What `begin=FAILED` begins with: nodes that did not come to a good end, or of a completed execution all that failed."""
    handled = _handled(flow, recorded)
    reasons = ((name, _failure(spec, recorded, handled, begin=FAILED)) for name, spec in flow.nodes.items())
    return [name for name, reason in reasons if reason is not None]


def _own_reason(
    spec: Node,
    recorded: Recorded,
    asked: Collection[str],
    edits: Edits,
    handled: Collection[str],
    *,
    begin: Collection[str] | str | None,
) -> Reason | None:
    """Why the node runs whatever becomes of those before it; None when it need not."""
    name = spec.id
    if name in asked:
        return Reason.ASKED
    if name in edits.added:
        return Reason.NEW_NODE
    if name in edits.changed:
        return Reason.DEFINITION_CHANGED
    if name in edits.reached:
        return Reason.INPUT_EDITED
    return _failure(spec, recorded, handled, begin=begin)


def _failure(
    spec: Node, recorded: Recorded, handled: Collection[str], *, begin: Collection[str] | str | None
) -> Reason | None:
    """What is wrong with what the original recorded of the node."""
    outcome = recorded.outcome(spec)
    if outcome is None or outcome is NodeStatus.CANCELLED:
        return Reason.NOT_FINISHED
    if recorded.is_undone(spec.id):
        return Reason.UNDONE
    settled = not (begin == FAILED and recorded.completed)
    if outcome is NodeStatus.FAILED and not (settled and spec.id in handled):
        return Reason.FAILED
    if not settled and any(run.status in BAD for run in recorded.runs[spec.id]):
        return Reason.FAILED
    return None


def _taken(spec: Node, recorded: Recorded, reason: Reason | None, same_calls: Sequence[Taken]) -> tuple[Taken, ...]:
    runs = recorded.runs.get(spec.id, ())
    if reason is None:
        return tuple(Taken(run, run.ordinal, run.label) for run in runs)
    if spec.foreach is None:
        return ()
    if reason in _ITEMS_STAY:
        # The run that stands for a foreach over nothing has no attempt, and is no item.
        return tuple(Taken(run, run.ordinal, run.label) for run in runs if recorded.stands(run) and run.attempt)
    return tuple(one for one in same_calls if recorded.stands(one.run))


def _is_whole(flow: Flow, spec: Node, recorded: Recorded) -> bool:
    """Whether the rows of a foreach that is taken over are all that it has: it had its outcome."""
    runs = recorded.runs[spec.id]
    if recorded.settled or runs[0].status is NodeStatus.SKIPPED or runs[0].attempt == 0:
        return True
    # What follows has rows only once it had; but for those that clean up, whatever became of the rest.
    return any(
        recorded.outcome(flow.nodes[name]) is not None
        for name in flow.successors[spec.id]
        if flow.nodes[name].run_if is not RunIf.ALWAYS
    )


def _handled(flow: Flow, recorded: Recorded) -> set[str]:
    """Nodes with a completed `run_if: failed` node behind them, directly or over nodes that a failure kept from running."""
    blocked: set[str] = set()
    for name in in_order(flow):
        spec = flow.nodes[name]
        if recorded.outcome(spec) is NodeStatus.SKIPPED and any(
            need in blocked or recorded.outcome(flow.nodes[need]) is NodeStatus.FAILED for need in spec.needs
        ):
            blocked.add(name)
    back = [
        need
        for spec in flow.nodes.values()
        if spec.run_if is RunIf.FAILED and recorded.outcome(spec) is NodeStatus.COMPLETED
        for need in spec.needs
    ]
    handled: set[str] = set()
    while back:
        need = back.pop()
        if need not in handled:
            handled.add(need)
            if need in blocked:
                back += flow.nodes[need].needs
    return handled


def _ancestors(flow: Flow, names: Iterable[str]) -> set[str]:
    """The nodes before these, and before those, but not these themselves."""
    found: set[str] = set()
    back = [need for name in names for need in flow.nodes[name].needs]
    while back:
        need = back.pop()
        if need not in found:
            found.add(need)
            back += flow.nodes[need].needs
    return found
