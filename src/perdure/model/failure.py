"""A recorded failure: what went wrong in an execution, as data."""

from __future__ import annotations

from typing import Any

import msgspec

from perdure.base.codec import encode
from perdure.base.texts import recordable

RECOVERIES_EXHAUSTED = "recoveries_exhausted"
"""Code and reason of an abandoned execution: its owners died more often in a row than its flow allows."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a node run or an execution did not complete.

    `code` is stable (`node_failed`, `timeout`, `cancelled`, `child_failed`, `expression_error`,
    `expression_budget`, `invalid_output`, `limit_exceeded`, `process_died`, `http_status`,
    `exit_code`, `recoveries_exhausted`, …); `stack` is the traceback of user code;
    `details` is a JSON object.
    """

    code: str
    message: str
    node: str | None = None
    ordinal: int | None = None
    attempt: int | None = None
    stack: str | None = None
    details: dict[str, Any] | None = None
    retryable: bool = True
    error_types: tuple[str, ...] = ()
    """Names a retry's `on` can match: the exception's class names (most derived first), or the code."""

    def at(self, *, node: str, ordinal: int, attempt: int) -> Failure:
        return msgspec.structs.replace(self, node=node, ordinal=ordinal, attempt=attempt)

    def recordable(self) -> Failure:
        """With texts that every store can hold, and without details that are no JSON: a node type may give anything."""
        try:
            encode(self.public())
        except (TypeError, ValueError, RecursionError, OverflowError, msgspec.MsgspecError):
            stack = None if self.stack is None else recordable(self.stack)
            return msgspec.structs.replace(
                self, code=recordable(self.code), message=recordable(self.message), stack=stack, details=None
            )
        return self

    def public(self) -> dict[str, Any]:
        """The shape of `error` in the API and the store."""
        return {
            "code": self.code,
            "message": self.message,
            "node": self.node,
            "ordinal": self.ordinal,
            "attempt": self.attempt,
            "stack": self.stack,
            "details": self.details,
        }
