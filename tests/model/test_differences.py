"""How two JSON values differ."""

from __future__ import annotations

import copy
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.model.differences import SHOWN, Change, differences

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (1, 2, [("", "changed", 1, 2)]),
        (1, True, [("", "changed", 1, True)]),
        ({"a": 1, "b": 2}, {"b": 3, "c": 4}, [("/a", "removed", 1, None), ("/b", "changed", 2, 3), ("/c", "added", None, 4)]),
        ([1, 2], [1], [("/1", "removed", 2, None)]),
        ({"a/b": {"~": [1]}}, {"a/b": {"~": [2]}}, [("/a~1b/~0/0", "changed", 1, 2)]),
        ({"a": None}, {}, [("/a", "removed", None, None)]),
        ([], {}, [("", "changed", [], {})]),
    ],
)  # fmt: skip
def test_places_are_told_with_both_values(before: Any, after: Any, told: list[Any]) -> None:
    found, more = differences(before, after)
    assert [(one.pointer, str(one.change), one.before, one.after) for one in found] == told
    assert not more


def test_long_values_are_cut_and_say_so() -> None:
    ((_, _, before, after, is_cut),), _ = differences("x" * 5_000, 1)
    assert (before, after, is_cut) == ('"' + "x" * (SHOWN - 1), 1, True)


def test_there_is_an_end_to_it() -> None:
    found, more = differences(list(range(1_000)), [], most=3)
    assert (len(found), more) == (3, True)


@given(json_values, json_values)
def test_values_differ_somewhere_unless_they_are_equal(before: Any, after: Any) -> None:
    assert differences(before, copy.deepcopy(before)) == ([], False)
    found, _ = differences(before, after)
    back, _ = differences(after, before)
    assert {one.pointer for one in found} == {one.pointer for one in back}
    assert {one.pointer for one in found if one.change is Change.ADDED} == {
        one.pointer for one in back if one.change is Change.REMOVED
    }


def test_a_long_key_is_not_held_again_for_every_part_below_it() -> None:
    key = "k" * 100_000
    tracemalloc.start()
    try:
        found, has_more = differences({key: [0] * 5_000}, {key: [1] * 5_000})
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert has_more
    assert [one.pointer for one in found] == [f"/{key}/{number}" for number in range(len(found))]
    assert 0 < sum(len(one.pointer) for one in found) <= 1_000_000
