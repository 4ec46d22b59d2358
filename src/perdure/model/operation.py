"""Operations: one action on many executions, and what becomes of each of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


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
