"""JSON pointers lead back to the part that they were made for."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from perdure.base.pointers import pointer_below, pointer_of

keys = st.text(st.sampled_from("~01/a"), max_size=4)


def looked_up(document: Any, pointer: str) -> Any:
    """As RFC 6901, section 4, has it."""
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        document = document[int(key)] if isinstance(document, list) else document[key]
    return document


@given(st.lists(keys | st.integers(0, 2), max_size=5))
def test_a_pointer_leads_to_its_part(path: list[str | int]) -> None:
    document: Any = "here"
    pointer = ""
    for step in reversed(path):
        document = {step: document} if isinstance(step, str) else ["no"] * step + [document]
    for step in path:
        pointer = pointer_below(pointer, step)
    assert pointer == pointer_of(path)
    assert looked_up(document, pointer) == "here"
