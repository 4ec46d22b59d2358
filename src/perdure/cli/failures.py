"""Errors as a person at a terminal wants them: what is wrong, and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from perdure.cli.exits import ERROR, FAILED, OK, REFUSED, STOPPED
from perdure.client.errors import (
    ClientError,
    ExecutionEndedBadly,
    PermissionDenied,
    ProblemError,
    ServerUnreachable,
    Unauthenticated,
    WaitTimedOut,
)
from perdure.errors import PerdureError, Problem, StoreLocked
from perdure.model.states import ExecutionStatus

_EXIT_OF = {
    ExecutionStatus.COMPLETED: OK,
    ExecutionStatus.CANCELLED: STOPPED,
    ExecutionStatus.TIMED_OUT: STOPPED,
    ExecutionStatus.FAILED: FAILED,
    ExecutionStatus.ABANDONED: FAILED,
}

_FIELD = re.compile(r"(?:/input|/answer)?/([A-Za-z_][A-Za-z0-9_.-]*)")
_WORD = re.compile(r"[A-Za-z0-9.+-]+")


class Told(NamedTuple):
    text: str
    exit_code: int


def exit_of(status: str) -> int:
    """The exit code for an execution that ended with this status."""
    return _EXIT_OF.get(ExecutionStatus(status), ERROR)


def explain(error: Exception, *, command: str | None = None) -> Told:
    """What to print for an error that ends a command, and the exit code; `command`: the first word behind `perdure`."""
    if isinstance(error, ServerUnreachable):
        return Told(f"error: {error}\nStart a server with `perdure serve`, or name another one with --url.", ERROR)
    if isinstance(error, Unauthenticated):
        return Told(f"error: {error}\nGive a token with --token, PERDURE_TOKEN or PERDURE_TOKEN_FILE.", REFUSED)
    if isinstance(error, PermissionDenied):
        return Told(f"error: {error}", REFUSED)
    if isinstance(error, ProblemError):
        return Told(_with_problems(str(error), error.errors), ERROR)
    if isinstance(error, WaitTimedOut):
        hint = f"Wait on with `perdure execution wait {error.execution_id}`."
        return Told(f"error: {error}\n{hint}", STOPPED)
    if isinstance(error, ExecutionEndedBadly):
        return Told(f"error: {error}", exit_of(error.status))
    if isinstance(error, StoreLocked):
        return Told(f"error: {error.message}\n{_beside(error, command)}", ERROR)
    if isinstance(error, PerdureError):
        return Told(_with_problems(error.message, error.problems), ERROR)
    if isinstance(error, ClientError | OSError):
        return Told(f"error: {error}", ERROR)
    kind = type(error).__name__
    return Told(f"error: {kind}: {error}\nThis should not happen; PERDURE_DEBUG=1 shows where it came from.", ERROR)


def _with_problems(message: str, problems: Sequence[Problem]) -> str:
    """A single problem that the message already tells is not told twice."""
    shown = [] if len(problems) == 1 and message.endswith(problems[0].detail) else problems
    return "\n".join([f"error: {message}", *map(_one_problem, shown), *_quoting(problems)])


def _quoting(problems: Sequence[Problem]) -> list[str]:
    """How a text is written that `-i` takes for a number, true, false or null."""
    for problem in problems:
        field = _FIELD.fullmatch(problem.pointer or "")
        value, _, rule = problem.detail.partition(" is ")
        if field is not None and rule.endswith("it must be string") and _WORD.fullmatch(value):
            return [f"To give it as a text, write -i '{field[1]}=\"{value}\"'."]
    return []


def _beside(error: StoreLocked, command: str | None) -> str:
    """The ways to work although another process has the store."""
    apart = "or work on another store: the same command with --home OTHER"
    if not error.details.get("url"):
        return f"Wait until that process has ended;\n{apart}"
    if command == "run":
        return f"Start it there: perdure flow apply FILE, then perdure execution start FLOW;\n{apart}"
    if command == "serve":
        return (
            "It serves this store already: use it, or stop it first;\nor serve another store: --home OTHER --port OTHER"
        )
    return f"Stop it first;\n{apart}"


def _one_problem(problem: Problem) -> str:
    if problem.line is not None:
        place = f"line {problem.line}, column {problem.column}: "
    else:
        place = f"{problem.pointer}: " if problem.pointer else f"{problem.parameter}: " if problem.parameter else ""
    return f"  {place}{problem.code}: {problem.detail}"
