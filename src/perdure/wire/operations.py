"""Operations: one action on many executions, and what became of it."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from perdure.wire.scalars import ExecutionStatus, Id, Time

MOST_IDS = 10_000
"""Executions that one request may name."""

Action = Annotated[str, Meta(title="Action")]
OperationStatus = Annotated[str, Meta(title="OperationStatus")]
ItemOutcome = Annotated[str, Meta(title="ItemOutcome")]


class OperationError(Struct, kw_only=True):
    """Why an operation as a whole could not go on."""

    code: str
    detail: str


class Operation(Struct, kw_only=True):
    """One action on many executions. `filter` is null where these were named.

    While it is `collecting`, `total` counts those found so far. `left` have no outcome yet; `skipped` had none when it was
    cancelled. Refusals of single executions are no failure of the whole.
    """

    id: Id
    workspace: str
    action: Action
    status: OperationStatus
    by: str
    arguments: dict[str, Any]
    filter: dict[str, Any] | None
    total: int
    succeeded: int
    refused: int
    skipped: int
    left: int
    error: OperationError | None
    created_at: Time
    updated_at: Time
    finished_at: Time | None


class OperationList(Struct, kw_only=True):
    """The newest first; `next` is the cursor of the following page."""

    data: list[Operation]
    next: str | None


class OperationItem(Struct, kw_only=True):
    """What became of one execution; `n` counts from 1. Of a refused one, `code` and `detail` are the error that the single call
    would have given. `replay` is the new execution of a retry or replay. `asked`: its owner has the cancellation, and has not
    said yet what became of it."""

    n: int
    execution: Id
    outcome: ItemOutcome
    code: str | None
    detail: str | None
    replay: Id | None
    at: Time | None


class OperationItemList(Struct, kw_only=True):
    data: list[OperationItem]
    next: str | None


class BulkPlan(Struct, kw_only=True):
    """Which executions an operation would concern now, with how many of each status; `capped`: at least so many. What they
    are now has so many of them `refused`, such as cancelling those that have ended, or what is named and not there (and has no
    status); `sample` are the first few of the others."""

    action: Action
    total: int
    refused: int
    capped: bool
    by_status: dict[ExecutionStatus, int]
    sample: list[Id]
