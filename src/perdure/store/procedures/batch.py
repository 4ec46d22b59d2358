"""A whole batch as one transaction: advances first, then the commands in their order.

The quick way shares statements between all entries. When the database refuses a row, the
transaction starts anew in the careful way, which finds the entry by bisection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from perdure.errors import CallerError, PerdureError, RowRefused, StoreError
from perdure.store import commands
from perdure.store.commands import Command, OutsideCommand, StartExecutions, StepOperation
from perdure.store.interface import Advanced, Batch, BatchOutcome, Lost
from perdure.store.procedures import answers, catalogue, flows, housekeeping, operations, pauses, signals
from perdure.store.procedures.advance import apply_advances
from perdure.store.procedures.cancel import cancel_executions
from perdure.store.procedures.claim import claim_executions
from perdure.store.procedures.context import Context, feed_entries
from perdure.store.procedures.delete import delete_executions, erase_executions, erase_history
from perdure.store.procedures.interrupt import interrupt_workers, rescue_executions
from perdure.store.procedures.messages import send_messages
from perdure.store.procedures.queueing import standings
from perdure.store.procedures.start import start_executions
from perdure.store.procedures.tag import tag_execution
from perdure.store.procedures.timers import fire_timers
from perdure.store.statements import Many, Procedure, Savepoint

PROCEDURES: dict[type[Command], Callable[[Context, Any], Procedure[Any]]] = {
    commands.ClaimExecutions: claim_executions,
    commands.CancelExecutions: cancel_executions,
    commands.DeleteExecutions: delete_executions,
    commands.TagExecution: tag_execution,
    commands.Respond: answers.respond,
    commands.ExpireWait: answers.expire_wait,
    commands.SendSignal: signals.send_signal,
    commands.PauseExecution: pauses.pause_execution,
    commands.ResumeExecution: pauses.resume_execution,
    commands.SendMessages: send_messages,
    commands.FireTimers: fire_timers,
    commands.InterruptWorkers: interrupt_workers,
    commands.RescueExecutions: rescue_executions,
    commands.RegisterWorker: catalogue.register_worker,
    commands.StopWorker: catalogue.stop_worker,
    commands.PutFlows: flows.put_flows,
    commands.DeleteFlow: flows.delete_flow,
    commands.PutArtifacts: catalogue.put_artifacts,
    commands.CreateToken: catalogue.create_token,
    commands.RevokeToken: catalogue.revoke_token,
    commands.FoldCounters: housekeeping.fold_counters,
    commands.ForgetKeys: housekeeping.forget_keys,
    commands.ForgetWorkers: housekeeping.forget_workers,
    commands.ForgetRates: housekeeping.forget_rates,
    commands.TrimFeed: housekeeping.trim_feed,
    commands.EraseExecutions: erase_executions,
    commands.EraseHistory: erase_history,
    commands.ProbeSpace: housekeeping.probe_space,
    commands.CreateOperation: operations.create_operation,
    commands.ClaimOperation: operations.claim_operation,
    commands.CollectOperation: operations.collect_operation,
    commands.StepOperation: operations.step_operation,
    commands.ReleaseOperation: operations.release_operation,
    commands.CancelOperation: operations.cancel_operation,
    commands.ForgetOperations: operations.forget_operations,
}
"""Every procedure raises its `CallerError`s before it writes anything."""

Entry = Advanced | Lost | Exception


def apply_batch(batch: Batch, feed: tuple[int, int], *, careful: bool = False) -> Procedure[BatchOutcome]:
    """Args:
    feed: (writer, n) that this commit's row of the feed takes, if it brings events.
    careful: with savepoints, after the quick way failed on an entry.
    """
    context = Context()
    advances: list[Entry] = []
    yield from _lock_in_order(batch)
    if batch.advances:
        if careful:
            advances = yield from _bisect(context, batch.advances, apply_advances)
        else:
            advances = list((yield from apply_advances(context, batch.advances)))
    results: list[Any] = []
    for together, group in groupby(batch.commands, key=_joins_others):
        found = list(group)
        if careful or not together:
            for command in found:
                result = yield from _one(context, command, careful=careful)
                results.append(result)
        else:
            results += yield from start_executions(context, found)  # type: ignore[arg-type]
    yield from context.settle()
    if context.chunks:
        yield Many("feed_put", [(*feed, context.at, feed_entries(context.chunks))])
    return BatchOutcome(
        advances=advances,
        results=results,
        chunks=context.chunks,
        deliveries=list(dict.fromkeys(context.deliveries)),
        claimable=list(context.claimable),
        due_at=context.due_at,
        feed=feed if context.chunks else None,
    )


def _lock_in_order(batch: Batch) -> Procedure[None]:
    """Two processes that change the same executions come to their rows in the same order, so neither waits in a circle."""
    outside = [command.execution_id for command in batch.commands if isinstance(command, OutsideCommand)]
    for command in batch.commands:
        if isinstance(command, StepOperation):
            outside += [step.execution_id for step in command.steps if step.start is None]
    if outside and len(outside) + len(batch.advances) > 1:
        yield from standings([*outside, *(advance.execution_id for advance in batch.advances)])


def is_hindrance(error: Exception) -> bool:
    """Whether it is the store that cannot, and not an entry that is bad."""
    return isinstance(error, StoreError) and not isinstance(error, RowRefused)


def _refusal(error: Exception) -> RowRefused:
    """Also for what cannot even be made a row: a value that is not JSON, text that is not Unicode."""
    if isinstance(error, RowRefused):
        return error
    refused = RowRefused(f"it cannot be stored: {error}")
    refused.__cause__ = error
    return refused


def _joins_others(command: Command) -> bool:
    return isinstance(command, StartExecutions) and not command.atomic


def _one(context: Context, command: Command, *, careful: bool) -> Procedure[Any]:
    if careful and isinstance(command, StartExecutions) and not command.atomic:
        return (yield from _bisect_start(context, command))
    if not careful:
        try:
            return (yield from _perform(context, command))
        except CallerError as error:
            return error
    part = Context()
    yield Savepoint.SAVE
    try:
        result = yield from _perform(part, command)
        yield from part.settle()
    except Exception as error:
        if is_hindrance(error):
            raise
        yield Savepoint.UNDO
        yield Savepoint.KEEP
        return error if isinstance(error, CallerError) else _refusal(error)
    yield Savepoint.KEEP
    context.absorb(part)
    return result


def _perform(context: Context, command: Command) -> Procedure[Any]:
    if isinstance(command, StartExecutions):
        return (yield from start_executions(context, [command]))[0]
    procedure = PROCEDURES.get(type(command))
    if procedure is None:
        raise PerdureError(f"no procedure carries out {type(command).__name__}")
    return (yield from procedure(context, command))


def _bisect_start(context: Context, command: StartExecutions) -> Procedure[list[Any]]:
    def start_some(part: Context, news: Sequence[Any]) -> Procedure[list[Any]]:
        return (yield from start_executions(part, [StartExecutions(at=command.at, executions=list(news))]))[0]

    return (yield from _bisect(context, command.executions, start_some))


def _bisect(
    context: Context,
    entries: Sequence[Any],
    apply: Callable[[Context, Sequence[Any]], Procedure[Sequence[Any]]],
) -> Procedure[list[Any]]:
    """Apply as many entries together as can be; `RowRefused` stands in the place of each that cannot."""
    if not entries:
        return []
    part = Context()
    yield Savepoint.SAVE
    try:
        answers = list((yield from apply(part, entries)))
        yield from part.settle()
    except Exception as error:
        if is_hindrance(error):
            raise
        yield Savepoint.UNDO
        yield Savepoint.KEEP
        if len(entries) == 1:
            return [_refusal(error)]
        middle = len(entries) // 2
        first = yield from _bisect(context, entries[:middle], apply)
        return first + (yield from _bisect(context, entries[middle:], apply))
    yield Savepoint.KEEP
    context.absorb(part)
    return answers
