"""The hot path: what owners write about their executions, fenced by the epoch, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.base.codec import encode_text
from perdure.base.ids import id_text
from perdure.errors import RowRefused
from perdure.model.states import TERMINAL, ExecutionStatus, may_reach
from perdure.store.interface import Advanced, Lost
from perdure.store.procedures.cancel import cancel_children
from perdure.store.procedures.context import Context, Standing, took
from perdure.store.procedures.endings import Ended, settle_ended
from perdure.store.procedures.queueing import enqueue
from perdure.store.procedures.rows import artifact_row, node_run_row, wait_row
from perdure.store.procedures.signals import open_to_others
from perdure.store.procedures.start import start
from perdure.store.records import Advance
from perdure.store.statements import Many, Procedure

Outcome = Advanced | Lost
Applied = tuple[Advance, Standing]
"""An advance under a good epoch, and its execution as it stood before."""


def apply_advances(context: Context, advances: Sequence[Advance]) -> Procedure[list[Outcome]]:
    """Answers in the order of the advances. Raises `RowRefused` for a transition that no execution can make."""
    outcomes: list[Outcome] = []
    start_at = 0
    while start_at < len(advances):
        wave = _next_wave(advances, start_at)
        outcomes += yield from _apply_wave(context, wave)
        start_at += len(wave)
    return outcomes


def _next_wave(advances: Sequence[Advance], start_at: int) -> Sequence[Advance]:
    """As many as follow without an execution appearing twice."""
    seen: set[bytes] = set()
    for index in range(start_at, len(advances)):
        if advances[index].execution_id in seen:
            return advances[start_at:index]
        seen.add(advances[index].execution_id)
    return advances[start_at:]


def _apply_wave(context: Context, wave: Sequence[Advance]) -> Procedure[list[Outcome]]:
    for advance in wave:
        if advance.status != advance.previous and not may_reach(advance.previous, advance.status):
            raise RowRefused(
                f"execution {id_text(advance.execution_id)} cannot become {advance.status}: it is {advance.previous}"
            )
    ordered = sorted((advance.execution_id, advance.epoch, advance.previous) for advance in wave)
    rows = yield Many("owned", ordered)
    owned = {row[1]: Standing._make(row) for row in rows}
    applied = [(advance, owned[advance.execution_id]) for advance in wave if advance.execution_id in owned]
    if applied:
        yield from _put_executions(context, applied)
        yield from _put_node_runs(applied)
        yield from _put_ends(context, applied)
        yield from _put_waits(context, applied)
        yield from _put_artifacts(applied)
        yield from _change_children(context, applied)
        yield from _let_go(context, applied)
    return [
        Advanced(owned[advance.execution_id].last_seq + 1) if advance.execution_id in owned else Lost()
        for advance in wave
    ]


def _put_executions(context: Context, applied: Sequence[Applied]) -> Procedure[None]:
    touched: list[tuple[Any, ...]] = []
    moved: list[tuple[Any, ...]] = []
    for advance, standing in applied:
        events = len(advance.events)
        context.tell(standing, advance.events)
        if advance.status == advance.previous and not advance.release:
            touched.append((*standing.key, events, advance.recoveries, advance.crashes, advance.updated_at))
            continue
        if advance.status != advance.previous:
            started_at = advance.started_at or standing.started_at
            context.moved(standing, advance.status, took=took(started_at, advance.finished_at))
        worker = None if advance.release else standing.worker
        reason = advance.reason
        if reason is None and standing.status == ExecutionStatus.CANCELLING:
            reason = standing.reason
        moved.append(
            (
                *standing.key,
                advance.status,
                reason,
                worker,
                events,
                advance.recoveries,
                advance.crashes,
                advance.started_at,
                advance.finished_at,
                advance.updated_at,
            )
        )
    if touched:
        yield Many("executions_touch", touched)
    if moved:
        yield Many("executions_move", moved)


def _put_node_runs(applied: Sequence[Applied]) -> Procedure[None]:
    rows = [node_run_row(advance.execution_id, run) for advance, _ in applied for run in advance.node_runs]
    if rows:
        yield Many("node_runs_put", rows)


def _put_ends(context: Context, applied: Sequence[Applied]) -> Procedure[None]:
    """Outputs and errors, and the blobs that any of the values refer to."""
    rows: list[tuple[Any, ...]] = []
    for advance, _ in applied:
        output, error = advance.output, advance.error
        for value in (output, *(value for run in advance.node_runs for value in (run.input, run.output))):
            context.refer(advance.execution_id, value)
        if output is not None or error is not None:
            text, blob, size = (None, None, None) if output is None else (output.text, output.blob, output.size)
            rows.append((advance.execution_id, text, blob, size, None if error is None else encode_text(error)))
    if rows:
        yield Many("payloads_end", rows)


def _put_waits(context: Context, applied: Sequence[Applied]) -> Procedure[None]:
    closed = [(advance.execution_id, *key) for advance, _ in applied for key in advance.waits_closed]
    if closed:
        yield Many("waits_close", closed)
    opened = [(advance, wait) for advance, _ in applied for wait in advance.waits_opened]
    if opened:
        rows = [wait_row(advance.execution_id, advance.workspace, advance.flow, wait) for advance, wait in opened]
        yield Many("waits_put", rows)
        yield from open_to_others(context, opened)
    consumed = [(n, advance.execution_id) for advance, _ in applied for n in advance.consumed]
    if consumed:
        yield Many("inbox_take", consumed)


def _put_artifacts(applied: Sequence[Applied]) -> Procedure[None]:
    rows = [artifact_row(artifact) for advance, _ in applied for artifact in advance.artifacts]
    if rows:
        yield Many("artifacts_put", rows)


def _change_children(context: Context, applied: Sequence[Applied]) -> Procedure[None]:
    at = max(advance.updated_at for advance, _ in applied)
    children = [child for advance, _ in applied for child in advance.children]
    if children:
        yield from start(context, children, at)
    for advance, standing in applied:
        if advance.cancel_children:
            reason = advance.reason or standing.reason or "parent_ended"
            yield from cancel_children(context, advance.cancel_children, reason, at)


def _let_go(context: Context, applied: Sequence[Applied]) -> Procedure[None]:
    """What follows for executions that have no owner any more."""
    at = max(advance.updated_at for advance, _ in applied)
    ended = [
        Ended(standing, advance.status, advance.reason, advance.output, advance.error)
        for advance, standing in applied
        if advance.status in TERMINAL
    ]
    yield from settle_ended(context, ended, at)
    resting = [
        (advance, standing) for advance, standing in applied if advance.release and advance.status not in TERMINAL
    ]
    if not resting:
        return
    timers = [(one.execution_id, "wake", one.wake_at) for one, _ in resting if one.wake_at is not None]
    if timers:
        yield Many("timers_put", timers)
        context.due(min(due_at for _, _, due_at in timers))
    rows = yield Many("inbox_waiting", [(advance.execution_id,) for advance, _ in resting])
    unread = {row[0] for row in rows}
    going_on = [
        standing._replace(status=advance.status)
        for advance, standing in resting
        if advance.claimable or advance.execution_id in unread or advance.status is not ExecutionStatus.SUSPENDED
    ]
    yield from enqueue(context, going_on, at)
