"""Operations: one action on many executions, and what becomes of each of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from perdure.model.states import TERMINAL, ExecutionStatus


class Action(StrEnum):
    """What an operation does to every execution of it."""

    CANCEL = "cancel"
    RETRY = "retry"
    REPLAY = "replay"
    TAG = "tag"
    DELETE = "delete"


class OperationStatus(StrEnum):
    """`collecting`: which executions it concerns is being written down; nothing was done to any yet."""

    COLLECTING = "collecting"
    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class ItemOutcome(StrEnum):
    """`asked`: the owner of the execution has its cancellation, and has not said yet what became of it. What an operation
    leaves `waiting` when it is cancelled, or fails, is told as `skipped`."""

    WAITING = "waiting"
    ASKED = "asked"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    SKIPPED = "skipped"


OPEN: Final = frozenset({OperationStatus.COLLECTING, OperationStatus.RUNNING})
"""States in which there is something left to do."""
REPLAYS: Final = frozenset({Action.RETRY, Action.REPLAY})
"""Actions that make new executions."""


def is_refused(action: Action, status: ExecutionStatus) -> bool:
    """Whether what an execution's status is refuses the action, whatever else there is to it."""
    if action is Action.TAG:
        return False
    return (status in TERMINAL) is (action is Action.CANCEL)
