"""Forms: the schema of what a person answers, and the check of each answer."""

from __future__ import annotations

from typing import Any

import jsonschema_rs

from perdure.base.codec import Json
from perdure.errors import InvalidAnswer, Problem, first_of
from perdure.flows.input_schema import EXPLAINED_PARTS, expand_shorthand
from perdure.flows.schema_errors import Finding, findings, make_validator


def expand_form(form: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema for what stands under `form`, which may be the shorthand that a flow's `input` has too."""
    return expand_shorthand(form)


def check_form(form: dict[str, Any]) -> list[Finding]:
    """What is wrong with a form; pointers begin at the form."""
    schema = expand_form(form)
    try:
        make_validator(schema)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        return [Finding("invalid_schema", str(error).splitlines()[0], "")]
    return []


def check_answer(form: dict[str, Any] | None, answer: Json) -> Json:
    """The answer with the defaults of missing top-level properties; `form` is a JSON Schema.

    Raises:
        InvalidAnswer: with a problem for each fault; pointers begin at the answer.
    """
    if not form:
        return answer
    properties = form.get("properties")
    if isinstance(answer, dict) and isinstance(properties, dict):
        defaults = {
            name: part["default"]
            for name, part in properties.items()
            if isinstance(part, dict) and "default" in part and name not in answer
        }
        answer = {**answer, **defaults}
    found = findings(make_validator(form), form, answer, parts=EXPLAINED_PARTS)
    if found:
        problems = tuple(Problem(finding.code, finding.detail, finding.pointer) for finding in found)
        head = first_of(problems, root="the answer")
        raise InvalidAnswer(f"the answer does not fit the form: {head}", problems=problems)
    return answer
