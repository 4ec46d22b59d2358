"""What stands in the store about operations."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from perdure.model.operation import Action, ItemOutcome, OperationStatus
from perdure.store.records import NewExecution


class OperationRecord(msgspec.Struct, kw_only=True):
    """`request` is what was asked for, as it is told: `{arguments, filter}`; `plan` is how it is carried out. JSON as text.

    `total` is how many executions it concerns, once it is collected; `collected_to` is how far that is, and `until` where
    it ends. It belongs to `holder` until `free_at`.
    """

    id: bytes
    workspace: str
    action: Action
    status: OperationStatus
    request: str
    plan: str
    asked_by: str
    idempotency_key: str | None = None
    request_hash: bytes | None = None
    until: bytes
    collected_to: bytes | None = None
    total: int = 0
    succeeded: int = 0
    refused: int = 0
    error: dict[str, Any] | None = None
    holder: str | None = None
    free_at: int = 0
    created_at: int
    updated_at: int
    finished_at: int | None = None

    @property
    def left(self) -> int:
        """How many of those that are known have no outcome yet."""
        return self.total - self.succeeded - self.refused


class OperationFilter(msgspec.Struct, frozen=True, kw_only=True):
    """All conditions hold together; several statuses or actions are alternatives. Microseconds, `created_before` exclusive."""

    statuses: tuple[OperationStatus, ...] = ()
    actions: tuple[Action, ...] = ()
    created_after: int | None = None
    created_before: int | None = None


class OperationItem(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of an operation; `n` counts from 1. `code` and `detail` say why it was refused, `result` is a replay."""

    n: int
    execution_id: bytes
    outcome: ItemOutcome
    code: str | None = None
    detail: str | None = None
    result: bytes | None = None
    at: int | None = None


class Created(NamedTuple):
    """`is_new`: not the answer to an earlier request with the same key."""

    operation: OperationRecord
    is_new: bool


class Refusal(NamedTuple):
    """Why nothing is done to one execution: an error's code and message."""

    code: str
    detail: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done with one item: its new execution is started, or it is refused; else as the action says."""

    n: int
    execution_id: bytes
    start: NewExecution | None = None
    refusal: Refusal | None = None


class Wishes(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What an action takes, of the plan of an operation. `is_chosen`: by a filter, not by name."""

    is_chosen: bool = False
    reason: str | None = None
    force: bool = False
    put: dict[str, str] = {}
    remove: list[str] = []
