"""Workers that died: what they owned goes back into the queue, or is given up after too many crashes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.base.clock import SECOND
from perdure.base.ids import id_text
from perdure.model.event import Event, EventType
from perdure.model.failure import RECOVERIES_EXHAUSTED
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.commands import InterruptWorkers, RescueExecutions
from perdure.store.procedures.cancel import cancel_descendants
from perdure.store.procedures.context import Context, Standing
from perdure.store.procedures.endings import Ended, end_unowned
from perdure.store.procedures.queueing import enqueue
from perdure.store.statements import All, Many, Procedure

STILL = 10 * SECOND
"""A session that was silent for so long in the middle of a statement is that of a process which stands still."""


def rescue_executions(context: Context, command: RescueExecutions) -> Procedure[list[str]]:
    """A worker's row is locked before its executions are looked for, so that it cannot claim any more meanwhile."""
    yield All("sessions_end", {"silent": STILL})
    stale = yield All("workers_stale", {"at": command.at, "lease": command.lease, "limit": command.limit})
    lost = yield All("owners_lost")
    dead = list(dict.fromkeys(row[0] for row in (*stale, *lost)))
    if not dead:
        return []
    interrupted = yield from interrupt_workers(context, InterruptWorkers(at=command.at, workers=tuple(dead)))
    # Whoever owns only what others have locked is no news: nothing more can be done at once.
    return dead if interrupted else [worker for (worker,) in stale]


def interrupt_workers(context: Context, command: InterruptWorkers) -> Procedure[list[bytes]]:
    """Counted as a crash are executions with an attempt in flight: the others just lost their owner."""
    at = command.at
    # They are stopped first: a claim that is on its way in their name is waited for, and then seen.
    if command.all_but is not None:
        yield All("workers_stop_others", {"worker": command.all_but, "at": at})
        rows = yield All("standings_of_others", {"worker": command.all_but})
    else:
        dead = [(worker,) for worker in dict.fromkeys(command.workers)]
        if dead:
            yield Many("workers_stop", [(worker, at) for (worker,) in dead])
        rows = (yield Many("standings_of_workers", dead)) if dead else []
    found = sorted((Standing._make(row) for row in rows), key=lambda one: one.id)
    if not found:
        return []
    in_flight = {row[0] for row in (yield Many("executions_in_flight", [(one.id,) for one in found]))}
    counted = [one._replace(crashes=one.crashes + 1) if one.id in in_flight else one for one in found]
    exhausted = [one for one in counted if one.crashes > one.max_recoveries]
    yield from _interrupt(context, [one for one in counted if one.crashes <= one.max_recoveries], in_flight, at)
    yield from _abandon(context, exhausted, at)
    return [one.id for one in found]


def _interrupt(context: Context, found: Sequence[Standing], in_flight: set[bytes], at: int) -> Procedure[None]:
    if not found:
        return
    changes: list[tuple[Any, ...]] = []
    after: list[Standing] = []
    for one in found:
        cancelling = one.status == ExecutionStatus.CANCELLING
        status = ExecutionStatus.CANCELLING if cancelling else ExecutionStatus.INTERRUPTED
        data = {"worker": one.worker, "crash": one.id in in_flight, "crashes": one.crashes}
        context.tell(one, [Event(EventType.EXECUTION_INTERRUPTED, at, data=data)])
        if not cancelling:
            context.moved(one, status)
        after.append(one._replace(status=status))
        changes.append((*one.key, status, one.reason, None, 1, one.recoveries, one.crashes, None, None, at))
    yield Many("executions_move", changes)
    yield from enqueue(context, after, at)


def _abandon(context: Context, exhausted: Sequence[Standing], at: int) -> Procedure[None]:
    """A cancelling one ends as cancelled: that is what was asked for, and it will not clean up any more."""
    if not exhausted:
        return
    endings = []
    for one in exhausted:
        error = {
            "code": RECOVERIES_EXHAUSTED,
            "message": f"execution {id_text(one.id)} took its process down {one.crashes} times in a row, "
            f"more than max_recoveries ({one.max_recoveries}) allows",
            "node": None,
            "ordinal": None,
            "attempt": None,
            "stack": None,
            "details": {"crashes": one.crashes, "recoveries": one.recoveries, "worker": one.worker},
        }
        cancelling = one.status == ExecutionStatus.CANCELLING
        status = ExecutionStatus.CANCELLED if cancelling else ExecutionStatus.ABANDONED
        endings.append(Ended(one, status, one.reason if cancelling else RECOVERIES_EXHAUSTED, error=error))
    node_error = {
        "code": str(ExecutionStatus.ABANDONED),
        "message": "the process that ran it died, and the execution was abandoned",
        "node": None, "ordinal": None, "attempt": None, "stack": None, "details": None,
    }  # fmt: skip
    # running → abandoned is no transition of its own: the interruption is told first.
    interrupted = [
        Event(EventType.EXECUTION_INTERRUPTED, at, data={"worker": one.worker, "crash": True, "crashes": one.crashes})
        for one in exhausted
    ]
    after = []
    for ending, event in zip(endings, interrupted, strict=True):
        one = ending.standing
        context.tell(one, [event])
        after.append(ending._replace(standing=one._replace(last_seq=one.last_seq + 1, worker=None)))
    yield Many("executions_told", [(*one.key, 1) for one in exhausted])
    yield from end_unowned(context, after, at, node_status=NodeStatus.FAILED, node_error=node_error)
    yield from cancel_descendants(context, exhausted, RECOVERIES_EXHAUSTED, at)
