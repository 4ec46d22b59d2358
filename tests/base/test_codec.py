"""The limits that hold for every JSON text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.base import codec
from perdure.base.codec import DEPTH_LIMIT, is_too_deep

BRACKETS = st.text(st.sampled_from('[]{}"\\a'))
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | BRACKETS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(BRACKETS, inner, max_size=4),
    max_leaves=20,
)


def depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)


@given(JSON, st.integers(0, 6))
def test_depth_counts_lists_and_objects_and_no_brackets_in_strings(value: Any, limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "DEPTH_LIMIT", limit)
        assert is_too_deep(json.dumps(value).encode()) == (depth(value) > limit)


@pytest.mark.parametrize(
    ("text", "too_deep"),
    [
        ("[" * DEPTH_LIMIT + "]" * DEPTH_LIMIT, False),
        ("[" * (DEPTH_LIMIT + 1) + "]" * (DEPTH_LIMIT + 1), True),
        ('{"a":' * (DEPTH_LIMIT + 1) + "1" + "}" * (DEPTH_LIMIT + 1), True),
        ("[" + ",".join(["[]"] * 1_000) + "]", False),
        ('["' + "[" * 1_000 + '"]', False),
        ('["\\"' + "[" * 1_000 + '"]', False),
        ('[["' + "]" * 1_000 + '", ' + "[" * DEPTH_LIMIT + "]" * DEPTH_LIMIT + "]]", True),
    ],
)
def test_the_deepest_that_is_taken(text: str, too_deep: bool) -> None:
    assert is_too_deep(text.encode()) == too_deep
