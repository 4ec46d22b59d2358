"""Every problem of the server becomes the most telling class of the client's tree."""

from typing import Any

import pytest

from perdure import errors as server_errors
from perdure.client import errors
from perdure.client.errors import error_class


def all_of(root: Any) -> set[Any]:
    """The class with all that derive from it."""
    found = {root}
    for sub in root.__subclasses__():
        found |= all_of(sub)
    return found


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "execution_not_found", errors.ExecutionNotFound),
        (404, "artifact_not_found", errors.NotFound),
        (409, "execution_ended", errors.ExecutionEnded),
        (409, "something_new", errors.Conflict),
        (422, "invalid_flow", errors.InvalidFlow),
        (418, "teapot", errors.BadRequest),
        (401, "unauthenticated", errors.Unauthenticated),
        (403, "origin_refused", errors.PermissionDenied),
        (429, "rate_limited", errors.RateLimited),
        (503, "draining", errors.ServerBusy),
        (500, "internal_error", errors.ServerTrouble),
        (599, "?", errors.ServerTrouble),
    ],
)
def test_a_problem_finds_its_class(status: int, code: str, expected: type) -> None:
    assert error_class(status, code) is expected


def test_every_error_of_the_server_has_a_class_of_its_kind() -> None:
    for error in all_of(server_errors.PerdureError):
        found = error_class(error.status, error.code)
        assert issubclass(found, errors.ServerTrouble) == (error.status >= 500), error


def test_every_code_that_the_tree_names_is_one_of_the_server() -> None:
    known = {error.code for error in all_of(server_errors.PerdureError)}
    named = {code for cls in all_of(errors.ProblemError) for code in cls.codes}
    assert named <= known
