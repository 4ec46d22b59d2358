"""What a validator is asked to explain is bounded, and what it then says is true of the whole."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.errors import InvalidInput
from perdure.flows.excerpt import Excerpt
from perdure.flows.input_schema import InputCheck
from perdure.flows.schema_errors import MAX_FINDINGS, findings, make_validator

values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=2), inner, max_size=5),
    max_leaves=40,
)


def members(value: Any) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(1 + members(one) for one in inside)


@given(values, st.integers(min_value=0, max_value=60))
def test_an_excerpt_is_bounded_and_part_of_the_value(value: Any, parts: int) -> None:
    excerpt = Excerpt(value, {}, parts=parts)
    assert members(excerpt.value) <= parts
    assert excerpt.is_whole == (members(value) <= parts)
    assert is_part(excerpt.value, value)


def is_part(part: Any, whole: Any) -> bool:
    if isinstance(part, dict):
        return all(is_part(member, whole[name]) for name, member in part.items())
    if isinstance(part, list):
        return all(is_part(member, whole[index]) for index, member in enumerate(part))
    return bool(part == whole)


OBJECTS = {"type": "object", "required": ["z"], "additionalProperties": False,
           "properties": {"z": {"type": "integer"}, "a": {"type": "array", "items": {"type": "object"}}}}  # fmt: skip


@given(st.dictionaries(st.sampled_from("abz"), values, max_size=3), st.integers(min_value=0, max_value=30))
def test_what_is_found_in_an_excerpt_is_found_in_the_whole(value: Any, parts: int) -> None:
    validator = make_validator(OBJECTS)
    known = {(one.code, one.pointer) for one in findings(validator, OBJECTS, value)}
    found = findings(validator, OBJECTS, value, parts=parts)
    assert bool(found) == bool(known)
    vague = [one for one in found if "too large to say" in one.detail]
    assert vague == found or {(one.code, one.pointer) for one in found} <= known


def test_a_map_that_was_cut_is_not_said_to_lack_what_stands_behind() -> None:
    value = {**{f"k{n}": n for n in range(50)}, "z": "no integer"}
    schema = {"type": "object", "required": ["z"], "properties": {"z": {"type": "integer"}}}
    [found] = findings(make_validator(schema), schema, value, parts=10)
    assert (found.code, found.pointer) == ("invalid_value", "")


MANY = 200_000
SLOW_S = 10.0
"""Without a bound the quickest of these takes a minute on a quiet machine."""


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": {"type": "string"}}, [1] * MANY),
        ({"items": {"oneOf": [{"type": "object", "required": [*"abcd"]}, {"type": "object", "required": [*"efgh"]}]}}, [{}] * MANY),
        ({"propertyNames": {"pattern": "^x"}}, {f"k{n}": n for n in range(MANY)}),
        ({"additionalProperties": False}, {f"k{n}": n for n in range(MANY)}),
    ],
    ids=["items", "forms", "names", "unknown fields"],
)  # fmt: skip
def test_an_input_with_many_faults_is_answered_in_a_moment(schema: Any, value: Any) -> None:
    check = InputCheck({"type": "object", "properties": {"a": schema}})
    began = time.process_time()
    with pytest.raises(InvalidInput) as refused:
        check.check({"a": value})
    assert time.process_time() - began < SLOW_S
    assert 0 < len(refused.value.problems) <= MAX_FINDINGS
