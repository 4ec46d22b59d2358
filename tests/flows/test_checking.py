"""A document is judged without being stored: what is wrong with it, and what its node types warn of."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.errors import Problem
from perdure.flows.checking import check_document
from tests.flows.kinds import KINDS, Kind


class Wary(Kind):
    """Warns of every text with `odd` in it."""

    def warn(self, config: Any) -> list[Problem]:
        text = str(config["call"] if isinstance(config, dict) else config)
        pointer = "/call" if isinstance(config, dict) else ""
        return [Problem("odd", f"{text} is odd", pointer)] if "odd" in text else []


TYPES = {**KINDS, "wary": Wary("wary", {})}
TEXT = """\
id: a/b
nodes:
  z: {wary: odd-first}
  fine: {wary: even}
  a: {wary: {call: odd-second}, compensate: {wary: odd-third}}
"""


def check(text: str, media_type: str = "application/yaml") -> Any:
    return check_document(text, media_type=media_type, node_types=TYPES)


def test_warnings_have_their_places_and_refuse_nothing() -> None:
    checked = check(TEXT)
    assert checked.program.flow.id == "a/b"
    assert checked.problems == ()
    assert [(one.detail, one.pointer, one.line, one.column) for one in checked.warnings] == [
        ("odd-first is odd", "/nodes/z/wary", 3, 13),
        ("odd-second is odd", "/nodes/a/wary/call", 5, 20),
        ("odd-third is odd", "/nodes/a/compensate/wary", 5, 52),
    ]


def test_a_document_without_anything_to_warn_of_has_no_warnings() -> None:
    assert check(TEXT.replace("odd", "even")).warnings == ()


class Stumbling(Kind):
    def warn(self, config: Any) -> list[Problem]:
        raise KeyError(config)


def test_a_type_that_fails_at_its_warnings_is_told_and_refuses_nothing() -> None:
    types = {**KINDS, "stumbling": Stumbling("stumbling", {})}
    checked = check_document(TEXT.replace("wary", "stumbling"), media_type="application/yaml", node_types=types)
    assert checked.program is not None
    assert checked.warnings[0].detail == "what stumbling would warn of is not known: KeyError: 'odd-first'"


@pytest.mark.parametrize("schema", [{"type": "strin"}, {"$ref": "https://example.org/x"}, {"pattern": "("}])
def test_a_type_whose_schema_is_none_is_named(schema: dict[str, Any]) -> None:
    types = {**KINDS, "wary": Kind("wary", schema)}
    checked = check_document(TEXT, media_type="application/yaml", node_types=types)
    assert {problem.code for problem in checked.problems} == {"node_type"}
    assert (checked.problems[0].line, checked.problems[0].pointer) == (3, "/nodes/z/wary")
    assert checked.problems[0].detail.startswith("the type wary cannot be used, its config_schema is wrong: ")


READS = """\
id: a/b
input: {names: {type: array}, where: {type: object, properties: {city: {}}, additionalProperties: false}, open: {type: object}}
nodes:
  a: {wary: "${input.nmaes} and ${input.where.town} and ${input.open.any}", when: "size(input.names) > 0 || input.x"}
output: >-
  a folded text
  with ${size(input.nmaes)}
"""


def test_a_member_that_no_input_has_is_warned_of_with_the_nearest() -> None:
    checked = check(READS)
    assert checked.problems == ()
    assert [(one.code, one.detail, one.pointer, one.line, one.column) for one in checked.warnings] == [
        ("unknown_name", "input has no property 'nmaes'; did you mean 'names'?", "/nodes/a/wary", 4, 16),
        ("unknown_name", "input.where has no property 'town'; known are city", "/nodes/a/wary", 4, 35),
        ("unknown_name", "input has no property 'x'; known are names, open, where", "/nodes/a/when", 4, 109),
        ("unknown_name", "input has no property 'nmaes'; did you mean 'names'?", "/output", 7, 15),
    ]


def test_an_open_input_may_have_any_member() -> None:
    for schema in ("{properties: {names: {}}}", "{properties: {}, additionalProperties: {type: string}}", "true"):
        assert check(f"id: a/b\ninput: {schema}\nnodes: {{a: {{wary: '${{input.nmaes}}'}}}}\n").warnings == ()
    closed = "{properties: {}, patternProperties: {'^n': {}}, additionalProperties: false}"
    assert check(f"id: a/b\ninput: {closed}\nnodes: {{a: {{wary: '${{input.nmaes}}'}}}}\n").warnings == ()


def test_what_is_refused_is_not_warned_of() -> None:
    checked = check(TEXT + "tiemout: 3\n")
    assert checked.program is None
    assert [problem.code for problem in checked.problems] == ["unknown_field"]
    assert checked.warnings == ()


def test_a_document_beyond_the_limit_is_a_problem_like_others() -> None:
    [problem] = check("nodes: " + "x" * 1024 * 1024).problems
    assert problem.code == "limit_exceeded"
