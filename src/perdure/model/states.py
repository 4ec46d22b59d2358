"""The states of executions and node runs, and the one table of legal transitions.

The names below are the only spelling there is: tables repeat them as CHECK constraints, the API
and the CLI print them, and dialects alone rename them.
"""

from __future__ import annotations

from enum import StrEnum


class ExecutionStatus(StrEnum):
    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    SUSPENDED = "suspended"
    INTERRUPTED = "interrupted"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    ABANDONED = "abandoned"


class ExecutionKind(StrEnum):
    """A flow's execution, or the part of one that runs elsewhere (`perdure.model.unit`)."""

    FLOW = "flow"
    UNIT = "unit"


class TriggerKind(StrEnum):
    """What started an execution."""

    API = "api"
    CLI = "cli"
    SCHEDULE = "schedule"
    WEBHOOK = "webhook"
    RULE = "rule"
    FLOW = "flow"
    REPLAY = "replay"


class NodeStatus(StrEnum):
    RUNNING = "running"
    SUSPENDED = "suspended"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    ORPHANED = "orphaned"


class PendingReason(StrEnum):
    START_AT = "start_at"
    CONCURRENCY_LIMIT = "concurrency_limit"
    RATE_LIMIT = "rate_limit"


TERMINAL = frozenset(
    {
        ExecutionStatus.COMPLETED,
        ExecutionStatus.FAILED,
        ExecutionStatus.CANCELLED,
        ExecutionStatus.TIMED_OUT,
        ExecutionStatus.ABANDONED,
    }
)

NODE_TERMINAL = frozenset(
    {
        NodeStatus.COMPLETED,
        NodeStatus.FAILED,
        NodeStatus.SKIPPED,
        NodeStatus.CANCELLED,
        NodeStatus.TIMED_OUT,
        NodeStatus.ORPHANED,
    }
)

_E = ExecutionStatus

TRANSITIONS: dict[ExecutionStatus, frozenset[ExecutionStatus]] = {
    _E.PENDING: frozenset({_E.QUEUED, _E.CANCELLING, _E.CANCELLED, _E.TIMED_OUT}),
    _E.QUEUED: frozenset({_E.RUNNING, _E.CANCELLING, _E.CANCELLED, _E.TIMED_OUT, _E.ABANDONED}),
    _E.RUNNING: frozenset(
        {_E.SUSPENDED, _E.INTERRUPTED, _E.CANCELLING, _E.CANCELLED, _E.COMPLETED, _E.FAILED, _E.TIMED_OUT}
    ),
    _E.SUSPENDED: frozenset({_E.RUNNING, _E.CANCELLING, _E.CANCELLED, _E.TIMED_OUT}),
    _E.INTERRUPTED: frozenset({_E.RUNNING, _E.CANCELLING, _E.CANCELLED, _E.ABANDONED}),
    _E.CANCELLING: frozenset({_E.CANCELLED}),
    _E.COMPLETED: frozenset(),
    _E.FAILED: frozenset(),
    _E.CANCELLED: frozenset(),
    _E.TIMED_OUT: frozenset(),
    _E.ABANDONED: frozenset(),
}

_N = NodeStatus
_ENDS = frozenset({_N.COMPLETED, _N.FAILED, _N.CANCELLED, _N.TIMED_OUT, _N.ORPHANED})

NODE_TRANSITIONS: dict[NodeStatus | None, frozenset[NodeStatus]] = {
    None: frozenset({_N.RUNNING, _N.SUSPENDED, _N.SKIPPED, _N.FAILED, _N.COMPLETED, _N.CANCELLED}),
    _N.RUNNING: _ENDS | {_N.RETRYING, _N.SUSPENDED, _N.RUNNING},
    _N.SUSPENDED: _ENDS | {_N.RUNNING, _N.RETRYING},
    _N.RETRYING: _ENDS | {_N.RUNNING, _N.SUSPENDED},
    _N.COMPLETED: frozenset(),
    _N.FAILED: frozenset(),
    _N.SKIPPED: frozenset(),
    _N.CANCELLED: frozenset(),
    _N.TIMED_OUT: frozenset(),
    _N.ORPHANED: frozenset(),
}
"""None is a node run that has no row yet; running → running is an interrupted attempt begun anew."""


def may_become(current: ExecutionStatus, following: ExecutionStatus) -> bool:
    return following in TRANSITIONS[current]


def may_reach(current: ExecutionStatus, following: ExecutionStatus) -> bool:
    """Within one commit, whose events tell of each step: a contained crash may interrupt and abandon at once."""
    interrupted = may_become(current, _E.INTERRUPTED) and may_become(_E.INTERRUPTED, following)
    return may_become(current, following) or (following is _E.ABANDONED and interrupted)
