"""`${…}` in texts: where an expression begins and ends, what stays literal, what is inserted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.flows.expressions import Language, Names
from perdure.flows.templates import Builder, RenderFailed, TemplateInvalid, fresh, scan
from tests.flows.kinds import scope

LANGUAGE = Language(Names())


def render(value, input=None):
    faults = []
    template = Builder(lambda *fault: faults.append(fault)).template(value, LANGUAGE, "")
    assert faults == []
    return template.render(scope(input))


def pieces(text):
    return [(piece.text, piece.is_expression) for piece in scan(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", [("plain", False)]),
        ("", []),
        ("${a}", [("a", True)]),
        ("x ${a} y ${b}", [("x ", False), ("a", True), (" y ", False), ("b", True)]),
        ("${a}${b}", [("a", True), ("b", True)]),
        ("$${a}", [("${a}", False)]),
        ("a $${b} ${c}", [("a ${b} ", False), ("c", True)]),
        ("$$${a}", [("$${a}", False)]),
        ("$a $ {b} {c} }", [("$a $ {b} {c} }", False)]),
        ("${ {'a': {'b': 1}}.a }", [(" {'a': {'b': 1}}.a ", True)]),
        ("${'}'}!", [("'}'", True), ("!", False)]),
        ("${\"}\" + '{'}", [("\"}\" + '{'", True)]),
        (r"${'\'}'}", [(r"'\'}'", True)]),
        (r"${r'\'}", [(r"r'\'", True)]),
        (r"${bR'\' + 'x'}", [(r"bR'\' + 'x'", True)]),
        (r"${ar'\''}", [(r"ar'\''", True)]),
        ("${'''it's }'''}", [("'''it's }'''", True)]),
        ('${"""a"}b"""}', [('"""a"}b"""', True)]),
        ("${''}", [("''", True)]),
        ("${1 // a comment }\n + 2}", [("1 // a comment }\n + 2", True)]),
        ("${'a//b'}", [("'a//b'", True)]),
        ("${'$'}${'${'}", [("'$'", True), ("'${'", True)]),
    ],
)
def test_a_text_is_split_where_its_expressions_stand(text, expected):
    assert pieces(text) == expected


@pytest.mark.parametrize(
    ("text", "offset"), [("a ${b", 2), ("${'}", 0), ("${{'a': 1}", 0), ("${}", 0), ("${  }", 0), ("${a // }", 0), ('${"""}"}', 0)]
)  # fmt: skip
def test_an_expression_that_does_not_end_is_told_with_its_beginning(text, offset):
    with pytest.raises(TemplateInvalid) as caught:
        scan(text)
    assert caught.value.offset == offset


STRINGS = st.text("ab{}$'\"\\ \n", max_size=8)


@given(st.lists(st.one_of(STRINGS, st.tuples(STRINGS)), max_size=5))
def test_any_text_literal_stays_within_its_expression(parts):
    """Literals of every content, quoted as CEL wants it, between texts of every content."""
    text, expected = "", ""
    for part in parts:
        if isinstance(part, tuple):
            quoted = part[0].replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
            text += "${'" + quoted + "'}"
            expected += part[0]
        else:
            literal = part.replace("$", "")
            text += literal
            expected += literal
    assert render("-" + text) == "-" + expected


@given(STRINGS.filter(lambda text: "${" not in text))
def test_a_text_without_an_expression_stays_as_it_is(text):
    assert render(text) == text


@given(st.text("ab${}", max_size=10))
def test_escaping_every_opening_gives_the_text_itself(text):
    assert render(text.replace("${", "$${")) == text


def test_a_lone_expression_keeps_its_type():
    data = {"n": 1, "f": 1.0, "t": True, "u": None, "l": [1, {"a": 2}], "o": {"k": "v"}}
    for name, value in data.items():
        result = render("${input." + name + "}", data)
        assert result == value
        assert type(result) is type(value)


def test_within_text_values_are_inserted_as_text():
    data = {"s": "x", "n": 1, "f": 1.5, "t": True, "u": None, "l": [1, "a"], "o": {"k": "ü"}}
    text = "${input.s}|${input.n}|${input.f}|${input.t}|${input.u}|${input.l}|${input.o}"
    assert render(text, data) == 'x|1|1.5|true||[1,"a"]|{"k":"ü"}'
    assert render(" ${input.n}", data) == " 1"


def test_templates_stand_anywhere_in_a_value():
    value = {"a": ["${input}", {"b": "<${input}>", "${c}": 1}], "d": 2}
    assert render(value, 5) == {"a": [5, {"b": "<5>", "${c}": 1}], "d": 2}


def test_what_was_rendered_is_not_rendered_again():
    assert render("${input}", "${input}") == "${input}"
    assert render("a ${input}", "${1 + 1}") == "a ${1 + 1}"
    assert render({"a": "${input}"}, {"b": "${secrets.x}"}) == {"a": {"b": "${secrets.x}"}}


def test_a_failure_names_the_expression():
    with pytest.raises(RenderFailed) as caught:
        render({"a": ["x ${input.b} y"]}, {})
    assert (caught.value.code, caught.value.expression, caught.value.pointer) == ("expression_error", "input.b", "/a/0")


def test_a_text_that_grows_beyond_a_value_is_refused():
    with pytest.raises(RenderFailed) as caught:
        render("${input}${input}", "x" * 5_000_000)
    assert caught.value.code == "expression_budget"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
        lambda inner: st.lists(inner, max_size=80) | st.dictionaries(st.text(max_size=2), inner, max_size=5),
        max_leaves=80,
    )
)
def test_a_fresh_copy_is_equal_and_shares_nothing(value):
    copy = fresh(value)
    assert copy == value

    def containers(part):
        if isinstance(part, dict | list):
            yield id(part)
            for inner in part.values() if isinstance(part, dict) else part:
                yield from containers(inner)

    assert not set(containers(copy)) & set(containers(value))
