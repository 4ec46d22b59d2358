"""Every error of perdure, one code each.

Three families: a caller's mistake (`CallerError`, mapped to HTTP by its `status`), trouble of the
house (`StoreUnavailable` and its like, also with a `status`), and control flow (`BaseException`, so
that user code cannot swallow it). What a node run records as its failure is data, not an error of
this tree: see `perdure.model.failure`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import msgspec


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong with a request or a document, and where.

    `pointer` is a JSON pointer (RFC 6901); `line` and `column` count from 1; `parameter` names a
    query parameter, a path parameter or a header.
    """

    code: str
    detail: str
    pointer: str | None = None
    line: int | None = None
    column: int | None = None
    parameter: str | None = None


def first_of(problems: Sequence[Problem], *, root: str = "") -> str:
    """The first problem with its place (`root` names that of an empty pointer), and how many more there are."""
    first = problems[0]
    place = first.parameter or first.pointer or root
    if first.line is not None:
        place = f"line {first.line}, column {first.column}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{place}: {first.detail}{more}" if place else f"{first.detail}{more}"


class PerdureError(Exception):
    """Root of the tree. `message` says what was wrong, where, and what would be right."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Error"
    retry_after_s: ClassVar[int | None] = None
    """Seconds after which the caller may try again, where that makes sense."""

    def __init__(self, message: str, *, problems: tuple[Problem, ...] = (), **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.problems = problems
        self.details = details


class CallerError(PerdureError):
    """The caller can mend it."""

    code = "bad_request"
    status = 400
    title = "Bad request"


class InvalidRequest(CallerError):
    code = "invalid_request"
    status = 422
    title = "Invalid request"


def invalid_request(problems: Sequence[Problem], *, part: str = "request") -> InvalidRequest:
    """The error that lists them all, and begins with the first."""
    return InvalidRequest(f"the {part} is not valid: {first_of(problems)}", problems=tuple(problems))


class MalformedDocument(CallerError):
    """Not JSON or YAML at all, or a construct that is refused (alias bomb, duplicate key, …)."""

    code = "malformed_document"
    title = "Malformed document"


class MalformedRequest(CallerError):
    """What came over the connection is not proper HTTP/1.1; the connection is closed."""

    code = "malformed_request"
    title = "Malformed request"


class HeadTooLarge(CallerError):
    """A request's line and fields are more than the server reads; the connection is closed."""

    code = "head_too_large"
    status = 431
    title = "Request head too large"


class InvalidIdentifier(CallerError):
    code = "invalid_identifier"
    status = 422
    title = "Invalid identifier"


class InvalidSettings(CallerError):
    """A flag, a variable or the configuration file says something that cannot be."""

    code = "invalid_settings"
    status = 422
    title = "Invalid settings"


class AddressUnavailable(CallerError):
    """The server cannot listen there."""

    code = "address_unavailable"
    status = 409
    title = "Address unavailable"


class InsecureAddress(CallerError):
    """The server would be open to other machines."""

    code = "insecure_address"
    status = 409
    title = "Address needs a token"


class InvalidFlow(CallerError):
    code = "invalid_flow"
    status = 422
    title = "Invalid flow"


class InvalidInput(CallerError):
    code = "invalid_input"
    status = 422
    title = "Invalid input"


class InvalidAnswer(CallerError):
    """It does not fit what the wait asks for."""

    code = "invalid_answer"
    status = 422
    title = "Invalid answer"


class InvalidCursor(CallerError):
    code = "invalid_cursor"
    title = "Invalid cursor"


class LimitExceeded(CallerError):
    code = "limit_exceeded"
    status = 422
    title = "Limit exceeded"


class PayloadTooLarge(CallerError):
    code = "payload_too_large"
    status = 413
    title = "Payload too large"


class UnsupportedMediaType(CallerError):
    code = "unsupported_media_type"
    status = 415
    title = "Unsupported media type"


class Unauthenticated(CallerError):
    code = "unauthenticated"
    status = 401
    title = "Unauthenticated"


class PermissionDenied(CallerError):
    code = "permission_denied"
    status = 403
    title = "Permission denied"


class NotAnApprover(CallerError):
    """The wait names who may answer it, and the caller is none of them."""

    code = "not_an_approver"
    status = 403
    title = "Not an approver"


class SelfApproval(CallerError):
    """Whoever started the execution may not approve it."""

    code = "self_approval"
    status = 403
    title = "Self-approval refused"


class OriginRefused(CallerError):
    code = "origin_refused"
    status = 403
    title = "Origin refused"


class HostRefused(CallerError):
    """An open server answers to the names of the loopback interface only."""

    code = "host_refused"
    status = 421
    title = "Host refused"


class MethodNotAllowed(CallerError):
    code = "method_not_allowed"
    status = 405
    title = "Method not allowed"


class NotAcceptable(CallerError):
    code = "not_acceptable"
    status = 406
    title = "Not acceptable"


class RequestTimeout(CallerError):
    """The request did not arrive as a whole within the time that it is given."""

    code = "request_timeout"
    status = 408
    title = "Request timeout"


class PreconditionFailed(CallerError):
    """`If-Match` or `If-None-Match` does not hold for what is there now."""

    code = "precondition_failed"
    status = 412
    title = "Precondition failed"


class RangeNotSatisfiable(CallerError):
    code = "range_not_satisfiable"
    status = 416
    title = "Range not satisfiable"


class NotFound(CallerError):
    code = "not_found"
    status = 404
    title = "Not found"


class ExecutionNotFound(NotFound):
    code = "execution_not_found"
    title = "Execution not found"

    @classmethod
    def of(cls, key: str | int) -> Self:
        """`key`: its id, or its number."""
        if isinstance(key, int):
            return cls(f"there is no execution number {key}", number=key)
        return cls(f"there is no execution {key}", id=key)


class NodeRunNotFound(NotFound):
    code = "node_run_not_found"
    title = "Node run not found"


class FlowNotFound(NotFound):
    code = "flow_not_found"
    title = "Flow not found"


class FlowVersionNotFound(NotFound):
    code = "flow_version_not_found"
    title = "Flow version not found"


class ArtifactNotFound(NotFound):
    code = "artifact_not_found"
    title = "Artifact not found"


class OperationNotFound(NotFound):
    code = "operation_not_found"
    title = "Operation not found"


class TokenNotFound(NotFound):
    code = "token_not_found"
    title = "Token not found"


class WorkspaceNotFound(NotFound):
    code = "workspace_not_found"
    title = "Workspace not found"


class Conflict(CallerError):
    code = "conflict"
    status = 409
    title = "Conflict"


class IdempotencyConflict(Conflict):
    code = "idempotency_conflict"
    title = "Idempotency key used with another request"


class ConcurrencyLimitReached(Conflict):
    code = "concurrency_limit_reached"
    title = "Concurrency limit reached"


class ExecutionEnded(Conflict):
    """The execution is in a terminal state; the call would change it."""

    code = "execution_ended"
    title = "Execution ended"

    @classmethod
    def of(cls, id: str, status: str) -> Self:
        return cls(f"execution {id} has ended: it is {status}", id=id, status=str(status))


class ExecutionStopping(Conflict):
    """The execution is being cancelled, or its deadline has passed; nothing else is taken any more."""

    code = "execution_stopping"
    title = "Execution is being stopped"

    @classmethod
    def of(cls, id: str) -> Self:
        return cls(f"execution {id} is being stopped; it takes nothing more", id=id)


class NotPaused(Conflict):
    code = "not_paused"
    title = "Execution is not paused"


class WaitNotOpen(Conflict):
    """The execution has no such wait that could be answered now."""

    code = "wait_not_open"
    title = "No open wait"


class WaitAnswered(Conflict):
    """Somebody was first; `details` tell who, when and what."""

    code = "wait_answered"
    title = "Wait was answered"

    @classmethod
    def of(cls, node: str, *, outcome: str, by: str | None, at: str, comment: str | None, answer: Any) -> Self:
        """`by` is None where nobody answered in time; `at` is RFC 3339."""
        message = f"node {node} was answered at {at} by {by or 'nobody in time'}: {outcome}"
        return cls(message, node=node, outcome=outcome, by=by, at=at, comment=comment, answer=answer)


class AlreadyResponded(Conflict):
    """The caller has responded; others are still waited for."""

    code = "already_responded"
    title = "Already responded"


class ExecutionNotEnded(Conflict):
    """What is asked for needs an execution that has ended."""

    code = "execution_not_ended"
    title = "Execution has not ended"


class NothingToRetry(Conflict):
    """The execution completed, and nothing in it failed."""

    code = "nothing_to_retry"
    title = "Nothing to retry"


class OperationEnded(Conflict):
    """It is over already."""

    code = "operation_ended"
    title = "The operation is over"


class FlowManaged(Conflict):
    code = "flow_managed"
    title = "Flow is managed by a folder"


class FlowInUse(Conflict):
    code = "flow_in_use"
    title = "Flow has unfinished executions"


class StoreError(PerdureError):
    """The store cannot do it now; nothing of the call was stored."""

    code = "store_error"
    status = 503
    title = "Store error"


class StoreUnavailable(StoreError):
    code = "store_unavailable"
    title = "Store unavailable"
    retry_after_s = 1


class CommitUnknown(StoreUnavailable):
    """The connection was lost while the database committed: whether it did is known once it answers again."""

    code = "commit_unknown"
    title = "Outcome not known yet"


class StoreFull(StoreError):
    code = "store_full"
    status = 507
    title = "No space left for the store"
    retry_after_s = 10


class StoreBusy(StoreUnavailable):
    """Another process holds the database's lock for longer than we wait, or what was asked of it took too long."""

    code = "store_busy"
    title = "Store is busy"


class StoreLocked(StoreError):
    """Another perdure process owns this store (its pid and URL are in `details`)."""

    code = "store_locked"
    status = 409
    title = "Store is owned by another process"


class StoreDamaged(StoreError):
    code = "store_damaged"
    status = 500
    title = "Store is damaged"


class StoreIncompatible(StoreError):
    """The store was written by a newer perdure, or this SQLite is not safe to use."""

    code = "store_incompatible"
    status = 500
    title = "Store is incompatible"


class StoreInUse(StoreError):
    """Workers run on the store; what is wanted needs it to be at rest."""

    code = "store_in_use"
    status = 409
    title = "Store is in use"


class StoreNotEmpty(StoreError):
    code = "store_not_empty"
    status = 409
    title = "Store is not empty"


class StoreMoved(StoreError):
    """The store was copied to another place and retired here."""

    code = "store_moved"
    status = 409
    title = "Store was moved"


class ContentsMissing(StoreError):
    """Rows refer to contents of artifacts or values that are not where they should be."""

    code = "contents_missing"
    status = 500
    title = "Contents are missing"


class CopyDiffers(StoreError):
    """A copied store is not what it was copied from."""

    code = "copy_differs"
    status = 500
    title = "Copy differs"


class BackupBroken(StoreError):
    """What was named is no backup, or not what it was when it was made."""

    code = "backup_broken"
    status = 500
    title = "Backup is not whole"


class RowRefused(StoreError):
    """The database refused one row (a constraint, a value it cannot hold)."""

    code = "row_refused"
    status = 500
    title = "Row refused by the database"


class Draining(PerdureError):
    code = "draining"
    status = 503
    title = "Server is shutting down"
    retry_after_s = 5


class TooManyConnections(PerdureError):
    """The server holds as many connections as it may; this one is closed."""

    code = "too_many_connections"
    status = 503
    title = "Too many connections"
    retry_after_s = 5


class TooManyStreams(PerdureError):
    """As many event streams are open as the server allows."""

    code = "too_many_streams"
    status = 503
    title = "Too many event streams"
    retry_after_s = 10


class ExtraMissing(PerdureError):
    """What was asked for needs a package that only an extra of ours brings."""

    code = "extra_missing"
    status = 501
    title = "Not installed here"


class UpgradeRequired(CallerError):
    """The address is a WebSocket's, and the request does not ask for one (RFC 6455, version 13)."""

    code = "upgrade_required"
    status = 426
    title = "Upgrade required"


class SubscriptionExists(CallerError):
    """The connection has a subscription with this id."""

    code = "subscription_exists"
    status = 409
    title = "Subscription exists"


class SubscriptionNotFound(CallerError):
    """The connection has no subscription with this id, or it has ended."""

    code = "subscription_not_found"
    status = 404
    title = "Subscription not found"


class TooManySubscriptions(CallerError):
    """One connection has as many subscriptions as it may."""

    code = "too_many_subscriptions"
    status = 429
    title = "Too many subscriptions"


class ControlFlow(BaseException):
    """Root of what user code must not be able to swallow."""
