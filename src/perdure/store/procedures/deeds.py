"""What the steps of an operation do to executions, and what came of it for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from perdure.base.ids import id_text
from perdure.errors import CallerError, ExecutionEnded, ExecutionNotFound
from perdure.model.operation import REPLAYS, Action, ItemOutcome
from perdure.model.states import TERMINAL, ExecutionStatus
from perdure.store.commands import CancelExecutions, DeleteExecutions, StartExecutions
from perdure.store.operation_records import OperationItem, OperationRecord, Refusal, Step, Wishes
from perdure.store.procedures.cancel import CancelWish, cancel_executions, cancel_family
from perdure.store.procedures.context import Context
from perdure.store.procedures.delete import delete_executions
from perdure.store.procedures.queueing import standings
from perdure.store.procedures.start import start_executions
from perdure.store.procedures.tag import TagWish, tag_executions
from perdure.store.records import Started
from perdure.store.statements import Procedure

Answer = ItemOutcome | Refusal | Started | CallerError
"""What became of one execution; `Started` is its replay."""
Answers = dict[bytes, Answer]

_IS_CANCELLED = frozenset({ExecutionStatus.CANCELLING, ExecutionStatus.CANCELLED})
"""What is cancelling ends as cancelled, whatever happens."""
_plan = msgspec.json.Decoder(Wishes).decode


def carry_out(
    context: Context, operation: OperationRecord, steps: Sequence[Step], before: Mapping[int, ItemOutcome], at: int
) -> Procedure[list[OperationItem]]:
    """The items whose outcome is another one now. `before` has the present one, by number."""
    answers: Answers = {step.execution_id: step.refusal for step in steps if step.refusal is not None}
    asked = [step.execution_id for step in steps if step.refusal is None and before[step.n] is ItemOutcome.ASKED]
    rest = [step for step in steps if step.refusal is None and before[step.n] is ItemOutcome.WAITING]
    wishes = _plan(operation.plan)
    if operation.action in REPLAYS:
        answers |= yield from _start(context, rest, at)
    elif rest:
        answers |= yield from _DEEDS[operation.action](
            context, operation, wishes, [one.execution_id for one in rest], at
        )
    if asked:
        answers |= yield from _look_again(context, wishes, asked, at)
    items = (_item(step, answers[step.execution_id]) for step in steps if step.execution_id in answers)
    return [item for item in items if item.outcome is not before[item.n]]


def _start(context: Context, steps: Sequence[Step], at: int) -> Procedure[Answers]:
    begun = [step for step in steps if step.start is not None]
    if not begun:
        return {}
    news = [step.start for step in begun if step.start is not None]
    [started] = yield from start_executions(context, [StartExecutions(at=at, executions=news)])
    return {step.execution_id: one for step, one in zip(begun, started, strict=True)}


def _cancel(
    context: Context, operation: OperationRecord, wishes: Wishes, ids: list[bytes], at: int
) -> Procedure[Answers]:
    command = CancelExecutions(at=at, workspace=operation.workspace, ids=ids, reason=wishes.reason, force=wishes.force)
    answers = yield from cancel_executions(context, command)
    return {id: _cancelled(answer) for id, answer in zip(ids, answers, strict=True)}


def _cancelled(answer: ExecutionStatus | CallerError) -> Answer:
    if isinstance(answer, CallerError):
        return answer
    return ItemOutcome.SUCCEEDED if answer in _IS_CANCELLED else ItemOutcome.ASKED


def _look_again(context: Context, wishes: Wishes, ids: Sequence[bytes], at: int) -> Procedure[Answers]:
    """What became of cancellations that owners were told of. One that has lost its owner is cancelled here and now."""
    found = yield from standings(ids)
    answers: Answers = {}
    orphaned = []
    for id in ids:
        one = found.get(id)
        if one is None:
            answers[id] = ExecutionNotFound.of(id_text(id))
        elif one.status in _IS_CANCELLED:
            answers[id] = ItemOutcome.SUCCEEDED
        elif one.status in TERMINAL:
            answers[id] = ExecutionEnded.of(id_text(id), one.status)
        elif one.worker is None:
            orphaned.append(one)
    after = yield from cancel_family(context, orphaned, CancelWish(wishes.reason, wishes.force), at)
    answers |= {one.id: _cancelled(after[one.id]) for one in orphaned}
    return answers


def _tag(context: Context, operation: OperationRecord, wishes: Wishes, ids: list[bytes], at: int) -> Procedure[Answers]:
    wish = TagWish(wishes.put, wishes.remove, operation.asked_by)
    answers = yield from tag_executions(context, operation.workspace, ids, wish, at)
    return {id: one if isinstance(one, CallerError) else ItemOutcome.SUCCEEDED for id, one in answers.items()}


def _delete(
    context: Context, operation: OperationRecord, wishes: Wishes, ids: list[bytes], at: int
) -> Procedure[Answers]:
    answers = yield from delete_executions(
        context, DeleteExecutions(at=at, workspace=operation.workspace, ids=ids)
    )  # fmt: skip
    found: Answers = {}
    for id, answer in zip(ids, answers, strict=True):
        # A filter chooses children beside their parents, and these take them along.
        took_along = wishes.is_chosen and isinstance(answer, ExecutionNotFound)
        found[id] = ItemOutcome.SUCCEEDED if answer is None or took_along else answer
    return found


_DEEDS: Mapping[
    Action, Callable[[Context, OperationRecord, Wishes, list[bytes], int], Procedure[Answers]]
] = {Action.CANCEL: _cancel, Action.TAG: _tag, Action.DELETE: _delete}  # fmt: skip


def _item(step: Step, answer: Answer) -> OperationItem:
    item = OperationItem(n=step.n, execution_id=step.execution_id, outcome=ItemOutcome.SUCCEEDED)
    if isinstance(answer, ItemOutcome):
        return msgspec.structs.replace(item, outcome=answer)
    if isinstance(answer, Started):
        return msgspec.structs.replace(item, result=answer.id)
    code, detail = (answer.code, answer.message) if isinstance(answer, CallerError) else answer
    return msgspec.structs.replace(item, outcome=ItemOutcome.REFUSED, code=code, detail=detail)
