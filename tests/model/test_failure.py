"""Failures that any store can hold, whatever a node type made them of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.base.codec import encode
from perdure.model.failure import Failure

texts = st.text(st.characters(exclude_categories=()))


@given(code=texts, message=texts, stack=st.none() | texts)
def test_every_text_can_be_recorded(code: str, message: str, stack: str | None) -> None:
    failure = Failure(code=code, message=message, stack=stack).recordable()
    encode(failure.public())
    assert len(failure.message) == len(message)


def endless() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    "details",
    [{"a": object()}, {1j: 1}, {"a": "\ud800"}, {"a": endless()}],
    ids=["object", "key", "surrogate", "endless"],
)
def test_details_that_are_no_json_are_left_out(details: dict[Any, Any]) -> None:
    failure = Failure(code="odd", message="it said \ud800", details=details, retryable=False)
    assert failure.recordable() == Failure(code="odd", message="it said \ufffd", retryable=False)


def test_what_can_be_recorded_stays_as_it_is() -> None:
    failure = Failure(code="odd", message="a\0b ä", details={"a": [1, None]})
    assert failure.recordable() is failure
