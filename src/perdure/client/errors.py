"""What a call of the client can raise: a tree of its own, keyed by the problem's code, then by its status.

A program that uses the client sees the server's errors as RFC 9457 problems; the codes are those of
the server, the classes are these.
"""

from __future__ import annotations

from typing import Any, ClassVar

from perdure.errors import Problem


class ClientError(Exception):
    """Root of everything the client raises."""


class ProfileError(ClientError):
    """The configuration file, an environment variable or a token file cannot be used."""


class ServerUnreachable(ClientError):
    """No connection, or it broke, and trying again did not help. `url` is the server's base URL."""

    def __init__(self, message: str, *, url: str) -> None:
        super().__init__(message)
        self.url = url


class UnexpectedResponse(ClientError):
    """Something answered, but not a perdure server: no problem document, or another shape than promised."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class WaitTimedOut(ClientError):
    """The execution (or operation, by `kind`) had not ended within the timeout of a wait; it goes on. `status` is the last one
    seen."""

    def __init__(self, execution_id: str, *, status: str, timeout_s: float, kind: str = "execution") -> None:
        super().__init__(f"{kind} {execution_id} is still {status} after {timeout_s:g} s; it goes on")
        self.execution_id = execution_id
        self.status = status


class ExecutionEndedBadly(ClientError):
    """The execution whose output was asked for failed, was cancelled, timed out or was abandoned."""

    def __init__(self, execution_id: str, *, status: str, error: dict[str, Any] | None) -> None:
        reason = f": {error['code']}: {error['message']}" if error else ""
        super().__init__(f"execution {execution_id} ended as {status}{reason}")
        self.execution_id = execution_id
        self.status = status
        self.error = error


class ProblemError(ClientError):
    """The server refused or could not do it; the attributes are those of its problem document."""

    codes: ClassVar[tuple[str, ...]] = ()
    statuses: ClassVar[tuple[int, ...]] = ()

    def __init__(
        self,
        *,
        status: int,
        code: str,
        title: str,
        detail: str | None,
        errors: tuple[Problem, ...] = (),
        retry_after_s: float | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail or title)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.errors = errors
        """Each single thing that is wrong, with its JSON pointer or line and column."""
        self.retry_after_s = retry_after_s
        self.extra = extra or {}
        """Members of the problem document beyond RFC 9457's."""


class BadRequest(ProblemError):
    statuses = (400, 405, 406, 413, 415, 422)


class InvalidFlow(BadRequest):
    codes = ("invalid_flow", "malformed_document")


class InvalidInput(BadRequest):
    codes = ("invalid_input",)


class InvalidAnswer(BadRequest):
    codes = ("invalid_answer",)


class Unauthenticated(ProblemError):
    statuses = (401,)


class PermissionDenied(ProblemError):
    statuses = (403,)


class NotFound(ProblemError):
    statuses = (404, 410)


class ExecutionNotFound(NotFound):
    codes = ("execution_not_found",)


class OperationNotFound(NotFound):
    codes = ("operation_not_found",)


class FlowNotFound(NotFound):
    codes = ("flow_not_found", "flow_version_not_found")


class Conflict(ProblemError):
    statuses = (409, 412)


class ExecutionEnded(Conflict):
    codes = ("execution_ended",)


class ExecutionStopping(Conflict):
    codes = ("execution_stopping",)


class WaitNotOpen(Conflict):
    codes = ("wait_not_open",)


class WaitAnswered(Conflict):
    """Somebody was first: `extra["details"]` tells `by`, `at`, `outcome`, `comment`, `answer`."""

    codes = ("wait_answered", "already_responded")


class ExecutionNotEnded(Conflict):
    codes = ("execution_not_ended",)


class OperationEnded(Conflict):
    codes = ("operation_ended",)


class NothingToRetry(Conflict):
    codes = ("nothing_to_retry",)


class IdempotencyConflict(Conflict):
    codes = ("idempotency_conflict",)


class ConcurrencyLimitReached(Conflict):
    codes = ("concurrency_limit_reached",)


class RateLimited(ProblemError):
    statuses = (429,)


class ServerTrouble(ProblemError):
    """5xx: the server, its store or something in between cannot do it now."""


class ServerBusy(ServerTrouble):
    """Refused for now, nothing was stored; `retry_after_s` says when to try again."""

    statuses = (503, 507)


def _subclasses(root: type[ProblemError]) -> list[type[ProblemError]]:
    return [found for direct in root.__subclasses__() for found in (direct, *_subclasses(direct))]


_BY_CODE = {code: cls for cls in _subclasses(ProblemError) for code in vars(cls).get("codes", ())}
_BY_STATUS = {status: cls for cls in _subclasses(ProblemError) for status in vars(cls).get("statuses", ())}


def error_class(status: int, code: str) -> type[ProblemError]:
    """The most telling class for a problem: by its code, else by its status, else by the status's kind."""
    kind = ServerTrouble if status >= 500 else BadRequest
    return _BY_CODE.get(code) or _BY_STATUS.get(status) or kind
