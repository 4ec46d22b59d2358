"""YAML documents: YAML 1.2 core values, and every dangerous construct refused by name with its place."""

from __future__ import annotations

import math
import time
import tracemalloc

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from perdure.errors import LimitExceeded, MalformedDocument
from perdure.flows.documents import DOCUMENT_LIMIT, parse_document


def read(text: str | bytes):
    return parse_document(text, media_type="application/yaml")


def bomb() -> str:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    return "\n".join(lines)


REFUSED: dict[str, tuple[str | bytes, str, int, int]] = {
    "alias bomb": (bomb(), "alias_bomb", 6, 12),
    "recursive alias": ("&a [1, *a]", "recursive_alias", 1, 8),
    "recursive alias in a mapping": ("a: &a\n  b: *a", "recursive_alias", 2, 6),
    "alias without anchor": ("a: *b", "unknown_alias", 1, 4),
    "duplicate key": ("id: a\nnodes: {}\nid: b", "duplicate_key", 3, 1),
    "date key": ("2026-01-02: x", "non_string_key", 1, 1),
    "number key": ("a:\n  1: x", "non_string_key", 2, 3),
    "null key": ("~: x", "non_string_key", 1, 1),
    "boolean key": ("true: x", "non_string_key", 1, 1),
    "list as a key": ("? [a]\n: b", "non_string_key", 1, 3),
    "alias as a key": ("a: &k x\n*k : y", "non_string_key", 2, 1),
    "merge key": ("a: {<<: {b: 1}}", "merge_key", 1, 5),
    "python tag": ("a: !!python/object/apply:os.system [ls]", "tag_refused", 1, 4),
    "local tag": ("a: !secret x", "tag_refused", 1, 4),
    "binary tag": ("a: !!binary aGk=", "tag_refused", 1, 4),
    "tag that does not fit": ("a: !!int one", "tag_refused", 1, 4),
    "5,000 levels": ("[" * 5_000 + "]" * 5_000, "too_deep", 1, 65),
    "5,000 levels of blocks": ("".join("  " * depth + "a:\n" for depth in range(500)), "too_deep", 65, 129),
    "tab indent": ("a:\n\tb: 1", "tab_indent", 2, 1),
    "tab indent after spaces": ("a:\n  b: 1\n\tc: 2", "tab_indent", 3, 1),
    "two documents": ("a: 1\n---\nb: 2", "many_documents", 2, 1),
    "not a number": ("a: .nan", "number_out_of_range", 1, 4),
    "infinity": ("a: -.inf", "number_out_of_range", 1, 4),
    "a float beyond range": ("a: 1e999", "number_out_of_range", 1, 4),
    "an integer of 5,000 digits": ("a: " + "1" * 5_000, "number_out_of_range", 1, 4),
    "an integer of 5,000 digits in hexadecimal": ("a: 0x" + "f" * 4_200, "number_out_of_range", 1, 4),
    "lone surrogate": ('a: "\\ud800"', "lone_surrogate", 1, 5),
    "surrogates, which YAML does not pair": ('a:\n  - "x\\ud83d\\ude00"', "lone_surrogate", 2, 7),
    "an escape beyond Unicode": ('a: "\\Uffffffff"', "syntax", 1, 7),
    "control character": ("a: \x01", "control_character", 1, 4),
    "not UTF-8": (b"a: 1\nb: \xff", "not_utf8", 2, 4),
    "a surrogate in text": ("a: \ud800", "not_utf8", 1, 4),
    "broken": ("a: [1, 2", "syntax", 2, 1),
    "colon in a value": ("a: b: c", "syntax", 1, 5),
    "empty": ("", "empty", 1, 1),
    "comments only": ("# nothing\n", "empty", 1, 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_by_name_with_its_place(name):
    text, code, line, column = REFUSED[name]
    begin = time.process_time()
    with pytest.raises(MalformedDocument) as caught:
        read(text)
    assert time.process_time() - begin < 2
    (problem,) = caught.value.problems
    assert (problem.code, problem.line, problem.column) == (code, line, column)
    assert f"line {line}, column {column}" in caught.value.message


def test_a_hundred_thousand_brackets_are_refused_at_once():
    begin = time.process_time()
    with pytest.raises(MalformedDocument):
        read("[" * 100_000)
    assert time.process_time() - begin < 1


def test_a_document_over_the_limit_is_refused():
    with pytest.raises(LimitExceeded) as caught:
        read("a: " + "x" * DOCUMENT_LIMIT)
    assert caught.value.problems[0].code == "limit_exceeded"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("12:30:45", "12:30:45"),
        ("010", 10), ("0o10", 8), ("0x1F", 31), ("+12", 12), ("-0", 0), ("1_000", "1_000"), ("0b1", "0b1"),
        ("2026-01-02", "2026-01-02"), ("1e3", 1000.0), ("1.", 1.0), (".5", 0.5), ("-1.5E-2", -0.015), ("1.2.3", "1.2.3"),
        ("~", None), ("null", None), ("Null", None), ("", None), ("nul", "nul"), ("True", True), ("FALSE", False),
        ("tRue", "tRue"), ('"1"', "1"), ("'no'", "no"), ("!!str 010", "010"), ("!!float 1", 1.0), ("! 5", "5"),
        ('"\\u0000"', "\0"), ("|\n  a\n  b\n", "a\nb\n"), (">\n  a\n  b\n", "a b\n"), ("=", "="), ("-", [None]),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(written, value):
    separator = "\n  " if written == "-" else " "
    parsed = read(f"a:{separator}{written}").value["a"]
    assert parsed == value
    assert type(parsed) is type(value)


def test_byte_order_mark_and_crlf_are_accepted():
    assert read(b"\xef\xbb\xbfa: 1\r\nb:\r\n  - x\r\n").value == {"a": 1, "b": ["x"]}


def test_aliases_are_copies():
    value = read("a: &x {b: [1]}\nc: *x\nd: [*x, *x]").value
    assert value == {"a": {"b": [1]}, "c": {"b": [1]}, "d": [{"b": [1]}, {"b": [1]}]}
    value["c"]["b"].append(2)
    assert value["a"] == {"b": [1]}


def test_every_part_has_its_place():
    document = read("id: a\nnodes:\n  'x/y':\n    - ~\n    - {b: 'c'}\n")
    places = document.located()
    assert document.place("/nodes/x~1y/1/b") == (5, 11)
    assert places.find_key("/nodes/x~1y") == (3, 3)
    assert document.place("/nodes/x~1y/1/nothing/there") == (5, 7)
    assert document.place("/nothing") == (1, 1)


def test_a_long_key_is_not_held_again_for_every_part_below_it():
    text = "? " + "k" * 100_000 + "\n: [" + ", ".join(["1"] * 2_000) + "]\n"
    tracemalloc.start()
    try:
        assert read(text).place("/" + "k" * 100_000 + "/1999") == (2, 4 + 3 * 1_999)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_written_is_read_again(value):
    """Whatever PyYAML writes with quoted texts comes back as it was."""
    text = yaml.safe_dump(value, default_style='"', allow_unicode=False, width=10**6)
    assert read(text).value == value


@given(st.text("0123456789+-.eExXoOabfnNiIaA_:~", max_size=12))
def test_a_plain_scalar_is_text_or_a_finite_value(text):
    try:
        value = read(f"- {text}\n").value
    except MalformedDocument:
        return
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], float):
        assert math.isfinite(value[0])
