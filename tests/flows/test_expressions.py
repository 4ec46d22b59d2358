"""What expressions may name, and how a mistake is told."""

from __future__ import annotations

import threading

import pytest

from perdure.flows.expressions import MAX_EXPRESSION, ExpressionInvalid, Language, Names
from tests.flows.kinds import scope

NAMES = Names(frozenset({"fetch", "digest"}), item=True, secrets=True)


def faults(text, names=NAMES):
    with pytest.raises(ExpressionInvalid) as caught:
        Language(names).compile(text)
    return caught.value.faults


def value(text, view, names=NAMES):
    return Language(names).compile(text).evaluate(view)


@pytest.mark.parametrize(
    ("text", "code", "offset", "detail"),
    [
        ("nodes.fetchd.output", "unknown_node", 0, "no node 'fetchd' to refer to; did you mean 'fetch'?"),
        ("1 + nodes.digst.output.x", "unknown_node", 4, "did you mean 'digest'?"),
        ("nodes.fetch.outptu", "unknown_name", 0, "no 'outptu'; did you mean 'output'?"),
        ("nodes.fetch", "unknown_name", 0, "write nodes.fetch.output"),
        ("nodes['fetch']", "unknown_name", 0, "write nodes.<id>.output"),
        ("inptu.x", "unknown_name", 0, "did you mean 'input'?"),
        ("execution.nmber", "unknown_name", 0, "did you mean 'number'?"),
        ("env.HOME", "unknown_name", 0, "unknown name 'env.HOME'"),
        ("1 +\n foo", "unknown_name", 5, "unknown name 'foo'"),
        ("1 +", "invalid_expression", 3, "Syntax error"),
        ("'a' + 1", "invalid_expression", 4, "no matching overload"),
        ("'a' * 10", "invalid_expression", 4, "no matching overload"),
        ("9**9**9", "invalid_expression", 2, "Syntax error"),
        ("input.x.substr(1)", "invalid_expression", 14, "unknown function 'substr'; did you mean 'substring'?"),
        ("zip(input.x)", "invalid_expression", 3, "unknown function 'zip'; known are abs, all, bind, bool, "),
        ("(" * 50 + "1" + ")" * 50, "expression_budget", 0, "nested too deeply"),
        ("1" * (MAX_EXPRESSION + 1), "limit_exceeded", 0, "at most"),
        ("nodes.in.output", "invalid_expression", 6, "write it in backticks: `in`"),
        ("1 + input.a.?true", "invalid_expression", 13, "write it in backticks: `true`"),
        ("[1u].map(x, x)", "invalid_expression", 0, "not supported"),
        ("\ud800", "invalid_expression", 0, ""),
    ],
)
def test_a_mistake_is_told_with_its_place_and_the_nearest_name(text, code, offset, detail):
    first = faults(text)[0]
    assert (first.code, first.offset) == (code, offset)
    assert detail in first.detail


def test_all_mistakes_of_an_expression_are_told():
    found = faults("nodes.a.output + nodes.b.output + foo")
    assert [fault.offset for fault in found] == [0, 17, 34]


def test_names_are_known_only_where_they_have_a_value():
    assert "foreach" in faults("item.x", Names())[0].detail
    assert "foreach" in faults("index", Names())[0].detail
    assert "recorded" in faults("secrets.x", Names())[0].detail
    assert faults("execution.id", Names(execution=False))[0].code == "unknown_name"


def test_variables_have_their_values():
    view = scope({"a": 1}, outputs={"fetch": [1], "digest": None}, item="i", index=3, secrets={"token": "t"})
    assert value("input", view) == {"a": 1}
    assert value("nodes.fetch.output", view) == [1]
    assert value("nodes.digest.status", view) == "completed"
    assert value("nodes.digest.error == null", view) is True
    assert value("has(nodes.fetch.output.x) || item == 'i'", view) is True
    assert value("index + 1", view) == 4
    assert value("secrets.token", view) == "t"
    assert value("execution.number", view) == 7
    assert value("execution.tags.team", view) == "x"


def test_what_an_expression_reads_is_known_whatever_its_form():
    language = Language(NAMES)
    for text in (
        "nodes.fetch.output.x[0]",
        "has(nodes.fetch.output.x)",
        "input.xs.map(x, nodes.fetch.output[x])",
        "input.?a.orValue(nodes.fetch.status)",
        "{?'a': nodes.fetch.output.?b}",
        "[?nodes.fetch.output.?b]",
        "google.protobuf.Int64Value{value: nodes.fetch.output}",
        "true ? 1 : nodes.fetch.output",
    ):
        assert language.compile(text).nodes == {"fetch"}, text
    assert language.compile("input.xs.map(nodes, nodes)").nodes == frozenset()


@pytest.mark.parametrize("word", ["in", "true", "false", "null", "if", "as", "namespace"])
def test_a_node_may_be_called_by_a_word_of_the_language(word):
    assert value(f"nodes.`{word}`.output + 1", scope({}, outputs={word: 1}), Names(frozenset({word}))) == 2


def test_what_an_expression_reads_of_the_input_is_known():
    language = Language(NAMES)
    for text, paths in {
        "input.a.b + input['c'].d": {("a", "b"), ("c", "d")},
        "has(input.a.b) && !has(input.c)": {("a",)},
        "input.xs.map(x, x.y + input.z)": {("xs",), ("z",)},
        "input.xs.map(input, input.y)": {("xs",)},
        "size(input) > 0 && input[nodes.fetch.output] == 1": set(),
        "input.?a.orValue(1)": set(),
    }.items():
        assert language.compile(text).inputs == paths, text


def test_other_types_are_written_as_json():
    view = scope({"n": 1})
    written = {
        "timestamp('2026-01-02T03:04:05.5+01:00')": "2026-01-02T02:04:05.500000Z",
        "timestamp('2026-01-02T03:04:05Z')": "2026-01-02T03:04:05Z",
        "timestamp('0099-01-02T03:04:05Z')": "0099-01-02T03:04:05Z",
        "duration('90m')": "5400s",
        "duration('-1.5s')": "-1.5s",
        "b'\\x01a'": "AWE=",
        "uint(input.n)": 1,
        "type(input.n)": "int",
        "{'at': [timestamp(0)]}": {"at": ["1970-01-01T00:00:00Z"]},
    }
    for text, expected in written.items():
        assert str(value(text, view)).lower() == str(expected).lower()


def test_one_expression_serves_many_threads():
    expression = Language(NAMES).compile("input.xs.map(x, x.s.upperAscii() + string(x.n)).join(',')")
    wrong: list[str] = []

    def run(number):
        view = scope({"xs": [{"s": "a", "n": number}] * 5})
        wrong.extend(
            result for _ in range(100) if (result := expression.evaluate(view)) != ",".join([f"A{number}"] * 5)
        )

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
