"""Writes that do not come from an execution's owner: each is one all-or-nothing change.

The recorder runs them in the transaction of a batch, each in a savepoint of its own, so that the
failure of one (a `PerdureError`) reaches its caller alone.
"""

from __future__ import annotations

from typing import Any

import msgspec

from perdure.model.answer import Responder
from perdure.store.operation_records import OperationRecord, Refusal, Step
from perdure.store.records import ArtifactRecord, NewExecution, WorkerRecord


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """Root of all commands; the comment behind each says what its execution answers with."""

    at: int


class StartExecutions(Command, frozen=True, kw_only=True):
    """→ list[Started | CallerError | RowRefused], one for each, in order.

    Idempotency, limits (with all four policies), rates and `start_at` are decided here, inside
    the transaction. The hot path: many of these in one batch are written with shared statements.
    With `atomic`, the first error undoes all of them and is raised.
    """

    executions: list[NewExecution]
    atomic: bool = False


class ClaimExecutions(Command, frozen=True, kw_only=True):
    """→ list[Claimed] | None: at most `limit` queue rows, best rank first and shared out between workspaces;
    epoch + 1, status running (cancelling stays cancelling). None when there is work, and the worker is gone or stopped.
    `root` narrows it to one execution and those below it; `queues` (None: all) and `tags` are the worker's, and
    decide from which lines it takes (`perdure.model.queue_line`)."""

    worker: str
    queues: tuple[str, ...] | None
    tags: tuple[str, ...] = ()
    limit: int
    root: bytes | None = None


class CancelExecutions(Command, frozen=True, kw_only=True):
    """→ list[ExecutionStatus | CallerError]: the status afterwards (cancelled when nobody owned it and
    nothing has to be cleaned up; else cancelling or, while an owner has yet to read its inbox,
    the present status). Cascades to children. Terminal: `ExecutionEnded`."""

    workspace: str
    ids: list[bytes]
    reason: str | None = None
    force: bool = False


class DeleteExecutions(Command, frozen=True, kw_only=True):
    """→ list[None | CallerError], one for each: those that have ended are gone, with all that they started and every row.
    `ExecutionNotFound`, `ExecutionNotEnded` where it, one below it or its parent still goes on."""

    workspace: str
    ids: list[bytes]


class OutsideCommand(Command, frozen=True, kw_only=True):
    """What somebody brings to one execution. Those of a batch are carried out one by one, so few share a batch; the
    rows of their executions are locked before, all of them in order."""

    execution_id: bytes


class Respond(OutsideCommand, frozen=True, kw_only=True):
    """→ Answered. A person's response to the wait of that attempt. Of a second one, an expiry and an end at the same
    moment exactly one comes first: `WaitAnswered`, `WaitNotOpen`, `ExecutionStopping`, `ExecutionEnded`.
    `ExecutionNotFound`, `NotAnApprover`, `SelfApproval`, `AlreadyResponded`."""

    workspace: str
    node: str
    ordinal: int
    label: str
    attempt: int
    responder: Responder
    approved: bool | None
    answer: Any = None
    comment: str | None = None


class ExpireWait(OutsideCommand, frozen=True, kw_only=True):
    """→ bool: whether the wait of that attempt ends by this; not where somebody has answered, or it is over."""

    node: str
    ordinal: int
    label: str
    attempt: int


class SendSignal(OutsideCommand, frozen=True, kw_only=True):
    """→ SignalSent. The oldest open wait for that name takes it, else it is kept for the next one to come.
    `ExecutionNotFound`, `ExecutionEnded`, `ExecutionStopping`, `LimitExceeded` with too many kept."""

    workspace: str
    name: str
    payload: Any
    sender: str


class PauseExecution(OutsideCommand, frozen=True, kw_only=True):
    """→ None. Nothing new is begun until `ResumeExecution`; pausing a paused one changes nothing.
    `ExecutionNotFound`, `ExecutionEnded`, `ExecutionStopping`."""

    workspace: str
    by: str
    reason: str | None = None


class ResumeExecution(OutsideCommand, frozen=True, kw_only=True):
    """→ None. `ExecutionNotFound`, `ExecutionEnded`, `ExecutionStopping`, `NotPaused`."""

    workspace: str
    by: str


class TagExecution(OutsideCommand, frozen=True, kw_only=True):
    """→ dict[str, str]: its tags afterwards; ended ones take them too. What changes nothing is no event.
    `ExecutionNotFound`, `InvalidRequest` with more tags than there may be."""

    workspace: str
    put: dict[str, str]
    remove: tuple[str, ...]
    by: str


class SendMessages(Command, frozen=True, kw_only=True):
    """→ None. Rows for inboxes: (execution id, kind, data). Wakes an owner or makes the execution claimable."""

    messages: list[tuple[bytes, str, dict[str, Any]]]


class FireTimers(Command, frozen=True, kw_only=True):
    """→ int | None: at most `limit` timers that are due at `at` are fired; the answer is when to fire again: when the next
    one is due (in the past: there are more than `limit`), or a moment after `at` where others hold one that is due.

    A start timer makes a pending execution queued (or takes its slot); a wake timer makes a
    suspended one claimable; a deadline ends a pending, queued or (without cleanup) suspended one as timed out,
    and sends a `deadline` message to any other.
    """

    limit: int = 500


class InterruptWorkers(Command, frozen=True, kw_only=True):
    """→ list[bytes]: executions of dead workers, now interrupted and claimable, or abandoned.

    Dead: in `workers`, or every worker but `all_but` (an embedded store at start). An execution with a
    node run running counts a crash; with more than its flow's `max_recoveries` crashes it is abandoned.
    `at` becomes the interruption's time."""

    workers: tuple[str, ...] = ()
    all_but: str | None = None


class RescueExecutions(Command, frozen=True, kw_only=True):
    """→ list[str]: workers found dead, whose executions are treated as `InterruptWorkers` says.

    Dead is who sent no heartbeat for `lease` microseconds, by the clock of the store, or for the longest lease of those who
    registered; and who owns executions without being registered and alive. Of the silent ones at most `limit`. Executions that
    somebody has locked are left to a later call. Before, sessions are ended that stand still in the middle of a statement."""

    lease: int
    limit: int = 20


class RegisterWorker(Command, frozen=True, kw_only=True):
    """→ int: the worker's number. `lease`: for so many microseconds after its last heartbeat it keeps what it owns."""

    worker: WorkerRecord
    lease: int = 0


class StopWorker(Command, frozen=True, kw_only=True):
    """→ None"""

    worker: str


class NewFlow(msgspec.Struct, frozen=True, kw_only=True):
    """A definition to be put; `document` is the normalised JSON that `content_hash` is of."""

    id: str
    description: str | None
    content_hash: str
    document: str
    source_text: str
    media_type: str


class PutFlows(Command, frozen=True, kw_only=True):
    """→ list[FlowPut], one for each, in order: all of them or none. Old content put again reuses its version and makes
    it the latest. A flow managed by another source: `FlowManaged`. Their ids are distinct."""

    workspace: str
    flows: list[NewFlow]
    source: str | None = None


class DeleteFlow(Command, frozen=True, kw_only=True):
    """→ None. `FlowNotFound`, `FlowManaged` (unless `source` is its own), `FlowInUse` with unfinished executions.
    Its versions stay for the executions that ran them; putting the flow again goes on with its numbers."""

    workspace: str
    id: str
    source: str | None = None


class PutArtifacts(Command, frozen=True, kw_only=True):
    """→ None"""

    artifacts: list[ArtifactRecord]


class CreateToken(Command, frozen=True, kw_only=True):
    """→ None"""

    id: bytes
    name: str
    sha256: bytes
    role: str
    workspace: str | None
    expires_at: int | None


class RevokeToken(Command, frozen=True, kw_only=True):
    """→ None. `TokenNotFound`."""

    id: bytes


class FoldCounters(Command, frozen=True, kw_only=True):
    """→ int: how many deltas went into the counters."""

    limit: int = 10_000


class ForgetKeys(Command, frozen=True, kw_only=True):
    """→ int: idempotency keys older than `before` that were dropped, at most `limit`."""

    before: int
    limit: int = 1_000


class ForgetWorkers(Command, frozen=True, kw_only=True):
    """→ int: workers that stopped before `before` and own nothing that were dropped, at most `limit`."""

    before: int
    limit: int = 1_000


class ForgetRates(Command, frozen=True, kw_only=True):
    """→ tuple[str, str] | None: where to go on, None at the end of the table. Of the next `limit` rates behind `after`
    (workspace, key) those go that have let every start pass since `before`: without a row a rate is the same."""

    before: int
    after: tuple[str, str] = ("", "")
    limit: int = 1_000


class EraseExecutions(Command, frozen=True, kw_only=True):
    """→ int: how many of these were deleted with every row that is theirs. What has not ended stays, and so does what
    started an execution that is not deleted with it: of a large family, the lowest are named first.

    → None, and nothing is deleted, where it is done for an operation that does not go on at that holder.
    """

    ids: list[bytes]
    operation: tuple[bytes, str] | None = None
    """Its id, and its holder."""


class EraseHistory(Command, frozen=True, kw_only=True):
    """→ bool: whether more is left. Of an execution that has ended and is to be deleted, the last `limit` rows of its
    events, or once there are none, of its node runs: what has many goes in portions. → None as `EraseExecutions`."""

    execution_id: bytes
    limit: int
    operation: tuple[bytes, str] | None = None


class ProbeSpace(Command, frozen=True, kw_only=True):
    """→ None. Writes a row, for which the disk must have space."""


class TrimFeed(Command, frozen=True, kw_only=True):
    """→ int: rows of the feed older than `before` that were dropped, at most `limit`."""

    before: int
    limit: int = 1_000


class CreateOperation(Command, frozen=True, kw_only=True):
    """→ Created. `ids` are its executions where they are known already, each once. `IdempotencyConflict`."""

    operation: OperationRecord
    ids: list[bytes] = []


class ClaimOperation(Command, frozen=True, kw_only=True):
    """→ OperationRecord | None: of those that nobody works on, the one that was left alone the longest. It belongs to
    `holder` until `free_at`; each of the commands below says anew until when."""

    holder: str
    free_at: int


class CollectOperation(Command, frozen=True, kw_only=True):
    """→ OperationRecord | None: with `ids` among its executions; without `collected_to` these are the last ones, and it runs.
    None where it is not the holder's any more, or not collecting."""

    id: bytes
    holder: str
    free_at: int
    ids: list[bytes]
    collected_to: bytes | None


class StepOperation(Command, frozen=True, kw_only=True):
    """→ OperationRecord | None: these of its executions are done, and noted, unless they were before. None where it is not
    the holder's any more, or not running."""

    id: bytes
    holder: str
    free_at: int
    steps: list[Step]

    @property
    def executions(self) -> list[NewExecution]:
        """Those that it starts."""
        return [step.start for step in self.steps if step.start is not None]


class ReleaseOperation(Command, frozen=True, kw_only=True):
    """→ None. It is anybody's again; with `error` it has failed."""

    id: bytes
    holder: str
    error: Refusal | None = None


class CancelOperation(Command, frozen=True, kw_only=True):
    """→ OperationRecord. Nothing more is done. `OperationNotFound`, `OperationEnded`."""

    workspace: str
    id: bytes


class ForgetOperations(Command, frozen=True, kw_only=True):
    """→ int: at most `limit` rows of operations that ended before `before` were dropped; 0 where there were none."""

    before: int
    limit: int = 1_000
