"""What a replay takes over: rows of its original, copied where they stand, so that no value passes through here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from perdure.base.ids import id_text
from perdure.errors import ExecutionNotFound
from perdure.model.event import Event, EventType
from perdure.model.states import NodeStatus
from perdure.store.procedures.context import Context
from perdure.store.procedures.queueing import standings
from perdure.store.procedures.rows import artifact_row, node_run_row
from perdure.store.records import NewExecution, Reuse, ReusedRun
from perdure.store.statements import Many, Procedure

_TOLD = {
    NodeStatus.COMPLETED: EventType.NODE_COMPLETED,
    NodeStatus.SKIPPED: EventType.NODE_SKIPPED,
    NodeStatus.FAILED: EventType.NODE_FAILED,
    NodeStatus.TIMED_OUT: EventType.NODE_TIMED_OUT,
    NodeStatus.ORPHANED: EventType.NODE_ORPHANED,
}


def missing_sources(news: Sequence[NewExecution]) -> Procedure[dict[int, ExecutionNotFound]]:
    """By index in `news`: replays whose original is deleted, or being deleted. The others' stay until the transaction ends."""
    wanted = {new.reuse.source for new in news if new.reuse is not None}
    if not wanted:
        return {}
    found = yield from standings(wanted)
    # A deletion takes all events before the first node run: while one is left, none was missing in what was planned.
    whole = {id for (id,) in (yield Many("executions_with_events", sorted((id,) for id in found)))} if found else set()
    return {
        index: ExecutionNotFound.of(id_text(new.reuse.source))
        for index, new in enumerate(news)
        if new.reuse is not None and new.reuse.source not in whole
    }


def put_reused(context: Context, replays: Sequence[NewExecution]) -> Procedure[None]:
    """The node runs and artifacts that new executions begin with."""
    copied: list[tuple[Any, ...]] = []
    edited: list[tuple[Any, ...]] = []
    artifacts: list[tuple[Any, ...]] = []
    for new in replays:
        reuse = new.reuse
        assert reuse is not None
        copied += [(new.id, reuse.source, *span) for span in _spans(reuse.runs)]
        edited += [node_run_row(new.id, run) for run in reuse.edited]
        artifacts += [artifact_row(artifact) for artifact in reuse.artifacts]
        for run in reuse.edited:
            context.refer(new.id, run.output)
    if copied:
        yield Many("node_runs_reuse", copied)
    if edited:
        yield Many("node_runs_put", edited)
    if copied:
        # Of the copies, whose values did not pass through here.
        yield Many("blobs_reuse", [(new.id, new.reuse.source) for new in replays if new.reuse is not None])
    if artifacts:
        yield Many("artifacts_put", artifacts)


def _spans(runs: Sequence[ReusedRun]) -> list[tuple[str, str, int, int, int, str]]:
    """The runs as (node, label, first ordinal, last, how much is added to each, new label): the items of a foreach are
    copied at one go."""
    spans: list[tuple[str, str, int, int, int, str]] = []
    for run in sorted(runs, key=lambda run: (run.node, run.label, run.ordinal)):
        shift = run.to_ordinal - run.ordinal
        if spans:
            node, label, first, last, added, to_label = spans[-1]
            same = (node, label, last + 1, added, to_label)
            if same == (run.node, run.label, run.ordinal, shift, run.to_label):
                spans[-1] = (node, label, first, run.ordinal, added, to_label)
                continue
        spans.append((run.node, run.label, run.ordinal, run.ordinal, shift, run.to_label))
    return spans


def reused_count(new: NewExecution) -> int:
    """How many events `reused_events` gives."""
    return 0 if new.reuse is None else len(new.reuse.runs) + len(new.reuse.edited)


def reused_events(reuse: Reuse, at: int) -> Iterable[Event]:
    """One for each node run, as its end would be told, with where it is from."""
    for run in reuse.runs:
        data: dict[str, Any] = {"reused_from": id_text(run.came_from)}
        if run.to_label:
            data["label"] = run.to_label
        yield Event(_TOLD[run.status], at, run.node, run.to_ordinal, run.attempt, data)
    for edited in reuse.edited:
        data = {"reused_from": id_text(reuse.source), "edited": True}
        yield Event(EventType.NODE_COMPLETED, at, edited.node, edited.ordinal, edited.attempt, data)
