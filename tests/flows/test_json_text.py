"""JSON: strict, by name, and as fast as it can be."""

from __future__ import annotations

import json
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.errors import MalformedDocument, PayloadTooLarge
from perdure.flows.documents import parse_document
from perdure.flows.json_text import locate_json, parse_json

REFUSED = {
    "100,000 [": (b"[" * 100_000, "too_deep"),
    "300 levels": (b"[" * 300 + b"]" * 300, "too_deep"),
    "5,000-digit integer": (b'{"a": ' + b"1" * 5_000 + b"}", "number_out_of_range"),
    "NaN": (b"[NaN]", "number_out_of_range"),
    "Infinity": (b"[-Infinity]", "number_out_of_range"),
    "1e999": (b"[1e999]", "number_out_of_range"),
    "duplicate key": (b'{"a": 1, "b": {"c": 1, "c": 2}}', "duplicate_key"),
    "duplicate key by escapes": (b'{"a": "\\u003a", "\\u0061": 2}', "duplicate_key"),
    "duplicate key with an equal value": (b'{"a": {}, "a": {}}', "duplicate_key"),
    "lone high surrogate": (b'["\\ud800"]', "lone_surrogate"),
    "lone low surrogate": (b'["\\udc00\\ud83d\\ude00"]', "lone_surrogate"),
    "two high surrogates": (b'["\\ud83d\\ud83d"]', "lone_surrogate"),
    "empty": (b"", "empty"),
    "blank": (b" \n", "empty"),
    "single quotes": (b"{'a': 1}", "syntax"),
    "trailing comma": (b"[1,]", "syntax"),
    "trailing text": (b"{} x", "syntax"),
    "unfinished": (b'{"a": "b', "syntax"),
    "raw control character": (b'["a\x01"]', "syntax"),
    "leading zero": (b"[01]", "syntax"),
    "not UTF-8": (b'["\xff"]', "not_utf8"),
    "a surrogate in UTF-8": (b'["\xed\xa0\x80"]', "not_utf8"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_by_name(name):
    data, code = REFUSED[name]
    begin = time.process_time()
    with pytest.raises(MalformedDocument) as caught:
        parse_json(data)
    assert time.process_time() - begin < 1
    (problem,) = caught.value.problems
    assert problem.code == code


def test_a_problem_has_line_and_column():
    with pytest.raises(MalformedDocument) as caught:
        parse_json(b'{\n  "a": {"x": 1,\n        "x": 2}\n}')
    problem = caught.value.problems[0]
    assert (problem.line, problem.column) == (3, 9)
    assert "'x'" in problem.detail


def test_a_body_over_the_limit_is_refused():
    with pytest.raises(PayloadTooLarge):
        parse_json(b"[1, 2, 3]", max_bytes=8)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b'["\\ud83d\\ude00"]', ["😀"]),
        (b'["\\\\ud800"]', ["\\ud800"]),
        (b'{"a:b": ":", "c": "\\u003a"}', {"a:b": ":", "c": ":"}),
        (b'"\\u0000"', "\0"),
        (b"1" * 4_000, int("1" * 4_000)),
        (b"[" * 200 + b"]" * 200, json.loads("[" * 200 + "]" * 200)),
    ],
)
def test_what_is_right_is_read(data, value):
    assert parse_json(data) == value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8") | st.sampled_from(':"\\{}[]')),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(codec="utf-8") | st.sampled_from(':"\\{}')), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(JSON, st.booleans(), st.sampled_from([None, 1]))
def test_any_value_is_read_as_it_was_written(value, ascii_only, indent):
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()) == value


@given(st.lists(st.tuples(st.sampled_from(["a", "b", ":", 'x":"y']), JSON), max_size=5))
def test_duplicates_are_found_whatever_the_values_are(members):
    text = "{" + ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in members) + "}"
    if len({key for key, _ in members}) == len(members):
        assert parse_json(text.encode()) == dict(members)
    else:
        with pytest.raises(MalformedDocument, match="stands twice"):
            parse_json(text.encode())


@given(JSON)
def test_every_part_is_located(value):
    text = json.dumps(value, indent=2, ensure_ascii=False)
    places = locate_json(text)
    lines = text.split("\n")

    def check(part, pointer):
        line, column = places.find(pointer)
        first = json.dumps(part, ensure_ascii=False)[0]
        assert lines[line - 1][column - 1] == first
        if isinstance(part, dict):
            for key, inner in part.items():
                check(inner, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}")
        elif isinstance(part, list):
            for number, inner in enumerate(part):
                check(inner, f"{pointer}/{number}")

    check(value, "")


def test_a_json_document_is_located_when_it_is_asked_for():
    document = parse_document('{"id": "x",\n "nodes": {"a": {}}}', media_type="application/json; charset=utf-8")
    assert document.place("/nodes/a") == (2, 17)


LONG_KEY = "k" * 100_000
MANY = 2_000


@pytest.mark.parametrize("is_twice", [True, False])
def test_a_long_key_is_not_held_again_for_every_part_below_it(is_twice):
    members = [f'"m{number}": {number}' for number in range(MANY)] + ['"m0": 0'] * is_twice
    text = f'{{"{LONG_KEY}": {{{", ".join(members)}}}}}'
    tracemalloc.start()
    try:
        if is_twice:
            with pytest.raises(MalformedDocument, match="'m0' stands twice") as caught:
                parse_json(text.encode())
            assert caught.value.problems[0].pointer == f"/{LONG_KEY}/m0"
        else:
            assert locate_json(text).find(f"/{LONG_KEY}/m9") == (1, text.index('"m9": 9') + len('"m9": ') + 1)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
