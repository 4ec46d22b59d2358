"""The schema of a flow's input: its shorthand, its own check, and the check of each input."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import jsonschema_rs

from perdure.base.codec import Json
from perdure.base.nearest import nearest_or_all
from perdure.base.pointers import pointer_of
from perdure.errors import InvalidInput, Problem, first_of
from perdure.flows.schema_errors import Finding, findings, make_validator

_OBJECT_KEYWORDS = frozenset({"properties", "patternProperties", "additionalProperties", "propertyNames"})
_KEYWORDS = frozenset(
    {
        "type", "required", "enum", "const", "title", "description", "default", "examples", "deprecated",
        "allOf", "anyOf", "oneOf", "minProperties", "maxProperties", "unevaluatedProperties",
    }
)  # fmt: skip


@cache
def _meta_validator() -> jsonschema_rs.Draft202012Validator:
    """Finds every fault of a schema; building the schema's own validator tells the first one alone."""
    return make_validator({"$ref": "https://json-schema.org/draft/2020-12/schema"})


def is_shorthand(value: dict[str, Any]) -> bool:
    """Whether it maps properties to schemas, and is no JSON Schema itself.

    A JSON Schema shows itself by a key that begins with `$`, by `properties` and its kin, or by a
    keyword with a value that no property's schema has.
    """
    return not any(
        key.startswith("$") or key in _OBJECT_KEYWORDS or (key in _KEYWORDS and not isinstance(item, dict | bool))
        for key, item in value.items()
    )


def expand_shorthand(value: dict[str, Any] | bool) -> dict[str, Any]:
    """The JSON Schema for what stands under `input`."""
    if isinstance(value, bool):
        return {} if value else {"not": {}}
    if not value or not is_shorthand(value):
        return value
    required = [name for name, schema in value.items() if not (isinstance(schema, dict) and "default" in schema)]
    return {"type": "object", "properties": value, "required": required, "additionalProperties": False}


def undeclared(schema: dict[str, Any], path: Sequence[str]) -> str | None:
    """What to say of a member that no input of this schema has; None where one may have it.

    Only an object that is closed (`additionalProperties: false`) tells all of its members.
    """
    part: Any = schema
    for depth, name in enumerate(path):
        if not isinstance(part, dict):
            return None
        properties = part.get("properties", {})
        if name not in properties:
            if part.get("additionalProperties") is not False or "patternProperties" in part:
                return None
            where = ".".join(["input", *path[:depth]])
            return f"{where} has no property {name[:80]!r}{nearest_or_all(name, properties)}"
        part = properties[name]
    return None


def check_schema(schema: dict[str, Any]) -> list[Finding]:
    """What is wrong with an input schema; pointers begin at the schema."""
    found: list[Finding] = []
    try:
        validator = make_validator(schema)
    except jsonschema_rs.ValidationError as error:
        told = {finding.pointer: finding.detail for finding in reversed(findings(_meta_validator(), {}, schema))}
        told = dict(reversed(told.items())) or {pointer_of(error.instance_path): error.message}
        return [Finding("invalid_schema", _meaning(detail), pointer) for pointer, detail in told.items()]
    except (jsonschema_rs.ReferencingError, ValueError) as error:
        return [Finding("invalid_schema", str(error), "")]
    kinds = schema.get("type", "object")
    if "object" not in (kinds if isinstance(kinds, list) else [kinds]):
        found.append(Finding("invalid_schema", f"the input of a flow is an object, not {kinds}", "/type"))
    defaults = _defaults(schema)
    for finding in findings(validator, schema, defaults):
        first = finding.pointer.split("/")[1:2]
        if first:
            found.append(
                Finding(
                    "invalid_default", f"the default does not fit: {finding.detail}", f"/properties/{first[0]}/default"
                )
            )
    return found


def _meaning(message: str) -> str:
    if "refused:" in message:
        return message.partition("ValueError: ")[2] or message
    if message.endswith(('is not a "regex"', "does not match format regex")):
        return f"{message}: patterns are of RE2's kind, which takes linear time: no look-around, no back-references"
    return message


def _defaults(schema: dict[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    return {name: part["default"] for name, part in properties.items() if isinstance(part, dict) and "default" in part}


EXPLAINED_PARTS = 5_000
"""Members of an input that are looked at for what is wrong; whether something is, is known of all."""


class InputCheck:
    """Validates inputs against one schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._defaults = _defaults(schema)
        self._validator = make_validator(schema) if schema else None

    def check(self, value: Json) -> Json:
        """The input with the defaults of missing top-level properties.

        Raises:
            InvalidInput: with a problem for each fault; pointers begin at the input.
        """
        if not isinstance(value, dict):
            detail = "the input must be an object"
            raise InvalidInput(detail, problems=(Problem("invalid_type", detail, ""),))
        if any(name not in value for name in self._defaults):
            value = {**self._defaults, **value}
        if self._validator is not None:
            found = findings(self._validator, self._schema, value, parts=EXPLAINED_PARTS)
            if found:
                problems = tuple(Problem(finding.code, finding.detail, finding.pointer) for finding in found)
                head = first_of(problems, root="the input")
                raise InvalidInput(f"the input does not fit its schema: {head}", problems=problems)
        return value
