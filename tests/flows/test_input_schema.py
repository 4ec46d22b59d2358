"""The input's schema: shorthand, its own check, inputs, defaults, and what it must never do."""

from __future__ import annotations

import socket
import time

import pytest

from perdure.errors import InvalidInput
from perdure.flows.input_schema import InputCheck, check_schema, expand_shorthand


def problems_of(check, value):
    with pytest.raises(InvalidInput) as caught:
        check.check(value)
    return caught.value.problems


def problems(schema, value):
    return [(problem.pointer, problem.code) for problem in problems_of(InputCheck(schema), value)]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"}, {"properties": {"a": {}}}, {"$ref": "#/$defs/x", "$defs": {"x": {}}}, {"required": ["a"]},
        {"additionalProperties": {"type": "string"}}, {"allOf": [{}]}, {"minProperties": 1}, {"title": "x"},
    ],
)  # fmt: skip
def test_a_json_schema_is_taken_as_it_is(schema):
    assert expand_shorthand(schema) is schema


def test_the_shorthand_lists_properties():
    written = {"type": {"type": "string"}, "items": {"default": 3}, "title": True, "required": {"type": "boolean"}}
    assert expand_shorthand(written) == {
        "type": "object",
        "properties": written,
        "required": ["type", "title", "required"],
        "additionalProperties": False,
    }


def test_no_schema_accepts_any_object():
    assert InputCheck({}).check({"a": [1]}) == {"a": [1]}
    for value in (None, [1], "x", 1):
        assert problems({}, value) == [("", "invalid_type")]


def test_defaults_of_missing_properties_are_filled():
    check = InputCheck(expand_shorthand({"a": {"default": [1]}, "b": {"type": "integer"}}))
    given = {"b": 2}
    assert check.check(given) == {"a": [1], "b": 2}
    assert given == {"b": 2}
    assert check.check({"a": None, "b": 2})["a"] is None


def test_all_problems_are_told_with_their_pointers():
    schema = expand_shorthand(
        {
            "urls": {"type": "array", "items": {"type": "string", "format": "uri"}, "minItems": 1},
            "mode": {"enum": ["fast", "slow"]},
            "n": {"type": "integer", "minimum": 1, "maximum": 5},
        }
    )
    found = problems(schema, {"urls": ["http://a.b/c", "::", 3], "mode": "fats", "n": 9, "x/y": 1})
    assert sorted(found) == [
        ("/mode", "invalid_value"), ("/n", "out_of_range"), ("/urls/1", "invalid_value"), ("/urls/2", "invalid_type"),
        ("/x~1y", "unknown_field"),
    ]  # fmt: skip
    assert problems(schema, {}) == [("", "missing_field")] * 3


def test_a_range_and_the_nearest_name_are_told():
    schema = expand_shorthand(
        {
            "count": {"type": "integer", "minimum": 1, "maximum": 5, "default": 1},
            "mode": {"enum": ["fast"], "default": "fast"},
        }
    )
    with pytest.raises(InvalidInput) as caught:
        InputCheck(schema).check({"count": 0, "conut": 1, "mode": "fats"})
    details = " ".join(problem.detail for problem in caught.value.problems)
    assert "0 is out of range: from 1 to 5" in details
    assert "did you mean 'count'?" in details
    assert "did you mean 'fast'?" in details


def test_of_alternatives_the_fitting_one_is_explained():
    schema = {"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "object", "required": ["x"]}]}}}
    assert problems(schema, {"a": {}}) == [("/a", "missing_field")]
    assert problems(schema, {"a": 1}) == [("/a", "invalid_value")]


@pytest.mark.parametrize(
    ("schema", "pointer", "reason"),
    [
        ({"type": "array"}, "/type", "an object"),
        ({"type": "strin"}, "/type", "strin"),
        ({"properties": {"a": {"pattern": "(a"}}}, "/properties/a/pattern", "linear time"),
        ({"properties": {"a": {"pattern": "(?=a)b"}}}, "/properties/a/pattern", "linear time"),
        ({"properties": {"a": {"pattern": r"(a)\1"}}}, "/properties/a/pattern", "linear time"),
        ({"properties": {"a": {"minimum": "x"}}}, "/properties/a/minimum", "x"),
        ({"properties": {"a": {"type": "integer", "default": "x"}}}, "/properties/a/default", "default"),
        ({"$ref": "#/$defs/none"}, "", "none"),
        ({"$ref": "http://169.254.169.254/latest"}, "", "refused"),
        ({"$ref": "file:///etc/passwd"}, "", "refused"),
    ],
)
def test_a_wrong_schema_is_told(schema, pointer, reason):
    (finding,) = check_schema(schema)
    assert finding.pointer == pointer
    assert reason in finding.detail


def test_all_faults_of_a_schema_are_told_at_once():
    parts = {
        "a": {"type": "strin"},
        "b": {"minimum": "x"},
        "c": 5,
        "d": {"type": ["string", "nul"]},
        "e": {"pattern": "("},
    }
    found = {finding.pointer: finding.detail for finding in check_schema({"properties": parts})}
    assert [*found] == [
        "/properties/a/type", "/properties/b/minimum", "/properties/c", "/properties/d/type/1", "/properties/e/pattern",
    ]  # fmt: skip
    assert "did you mean 'string'?" in found["/properties/a/type"]
    assert found["/properties/c"] == "5 is an integer; it must be boolean or object"
    assert "linear time" in found["/properties/e/pattern"]


def test_a_remote_reference_opens_no_connection():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        for keyword in ("$ref", "$dynamicRef", "$schema"):
            check_schema({keyword: f"http://127.0.0.1:{port}/schema"})
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_pattern_takes_linear_time():
    check = InputCheck({"properties": {"a": {"pattern": "^(a+)+$"}}})
    begin = time.process_time()
    with pytest.raises(InvalidInput):
        check.check({"a": "a" * 100_000 + "!"})
    assert time.process_time() - begin < 1


def test_what_is_wrong_below_a_long_key_is_told_within_bounds():
    check = InputCheck({"additionalProperties": {"additionalProperties": {"type": "string"}}})
    found = problems_of(check, {"k" * 300_000: {f"m{number}": 1 for number in range(1_000)}})
    assert 0 < sum(len(problem.pointer) for problem in found) < 2_000_000


def test_references_within_the_schema_are_followed():
    schema = {"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}}}
    assert check_schema(schema) == []
    assert problems(schema, {"a": "x"}) == [("/a", "invalid_type")]
    tree = {
        "$id": "urn:tree",
        "type": "object",
        "properties": {"child": {"$ref": "urn:tree"}},
        "additionalProperties": False,
    }
    assert problems(tree, {"child": {"child": {"x": 1}}}) == [("/child/child/x", "unknown_field")]
