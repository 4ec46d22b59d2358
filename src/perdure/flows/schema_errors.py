"""What a JSON Schema validator finds, as problems that say what would be right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jsonschema_rs
import msgspec

from perdure.base.nearest import choices, nearest
from perdure.flows.positions import escape_pointer, pointer_of

MAX_FINDINGS = 200
"""Findings of one value; who has more mends these first."""


class Finding(msgspec.Struct, frozen=True):
    """`is_key` tells that it is the member's name that is wrong."""

    code: str
    detail: str
    pointer: str
    is_key: bool = False


def refuse_retrieval(uri: str) -> Any:
    """A schema must not make the server fetch anything."""
    raise ValueError(f"a $ref to {uri} is refused: only references within the schema are followed")


def make_validator(schema: Any) -> jsonschema_rs.Draft202012Validator:
    """A validator that never goes to the network, with patterns that take linear time.

    Raises jsonschema_rs.ValidationError when the schema is wrong, ReferencingError or ValueError when a
    reference leads nowhere.
    """
    return jsonschema_rs.Draft202012Validator(
        schema, retriever=refuse_retrieval, validate_formats=True, pattern_options=jsonschema_rs.RegexOptions()
    )


def findings(
    validator: jsonschema_rs.Draft202012Validator, schema: Any, value: Any, *, within: str = ""
) -> list[Finding]:
    """Everything that is wrong with the value; pointers begin with `within`."""
    if validator.is_valid(value):
        return []
    found: list[Finding] = []
    for error in validator.iter_errors(value):
        found += _explain(error, schema, within)
        if len(found) >= MAX_FINDINGS:
            break
    return found


def _explain(error: jsonschema_rs.ValidationError, schema: Any, within: str) -> Iterator[Finding]:
    pointer = within + pointer_of(error.instance_path)
    kind = error.kind
    name = kind.name
    if name in ("additionalProperties", "unevaluatedProperties"):
        known = _known_fields(schema, error.schema_path)
        for field in kind.as_dict()["unexpected"]:
            yield Finding(
                "unknown_field",
                f"unknown field {field!r}{nearest(field, known)}",
                f"{pointer}/{escape_pointer(field)}",
                True,
            )
    elif name == "required":
        missing = _text(kind.value)
        yield Finding("missing_field", f"the field {missing!r} is missing", pointer)
    elif name in ("anyOf", "oneOf"):
        yield from _alternatives(error, schema, pointer, within)
    elif name in _EXPLAINERS:
        code, explain = _EXPLAINERS[name]
        yield Finding(code, explain(error, _at(schema, error.schema_path[:-1])), pointer)
    else:
        yield Finding("invalid_value", error.message, pointer)


def _alternatives(error: jsonschema_rs.ValidationError, schema: Any, pointer: str, within: str) -> Iterator[Finding]:
    """When one form alone has the right type, what is wrong with that one; else the whole."""
    context: list[list[jsonschema_rs.ValidationError]] = error.kind.as_dict().get("context", [])
    fitting = [
        errors for errors in context
        if not any(inner.kind.name == "type" and inner.instance_path == error.instance_path for inner in errors)
    ]  # fmt: skip
    if len(fitting) == 1:
        for inner in fitting[0]:
            yield from _explain(inner, schema, within)
        return
    yield Finding("invalid_value", f"{_shown(error.instance)} fits none of the forms that are allowed here", pointer)


Explainer = Callable[[jsonschema_rs.ValidationError, Any], str]


def _type(error: jsonschema_rs.ValidationError, schema: Any) -> str:
    expected = schema.get("type") if isinstance(schema, dict) else None
    kinds = expected if isinstance(expected, list) else [expected]
    return f"{_shown(error.instance)} is {_kind(error.instance)}; it must be {' or '.join(map(str, kinds))}"


def _enum(error: jsonschema_rs.ValidationError, schema: Any) -> str:
    options = [str(option) for option in schema.get("enum", [])]
    return f"{_shown(error.instance)} is none of {choices(str(error.instance), options)}"


def _range(error: jsonschema_rs.ValidationError, schema: Any) -> str:
    parts = []
    for keyword, word in (
        ("minimum", "from {}"), ("exclusiveMinimum", "above {}"), ("maximum", "to {}"), ("exclusiveMaximum", "below {}")
    ):  # fmt: skip
        if keyword in schema:
            parts.append(word.format(schema[keyword]))
    return f"{_shown(error.instance)} is out of range: {' '.join(parts)}"


def _length(error: jsonschema_rs.ValidationError, schema: Any) -> str:
    return (
        error.message if len(error.message) < 300 else f"its length is wrong: {error.kind.name} is {error.kind.value}"
    )


def _form(error: jsonschema_rs.ValidationError, schema: Any) -> str:
    return f"{_shown(error.instance)} does not match {error.kind.name} {_text(error.kind.value)!r}"


_EXPLAINERS: dict[str, tuple[str, Explainer]] = {
    "type": ("invalid_type", _type),
    "enum": ("invalid_value", _enum),
    "minimum": ("out_of_range", _range),
    "maximum": ("out_of_range", _range),
    "exclusiveMinimum": ("out_of_range", _range),
    "exclusiveMaximum": ("out_of_range", _range),
    "minLength": ("out_of_range", _length),
    "maxLength": ("out_of_range", _length),
    "minItems": ("out_of_range", _length),
    "maxItems": ("out_of_range", _length),
    "minProperties": ("out_of_range", _length),
    "maxProperties": ("out_of_range", _length),
    "pattern": ("invalid_value", _form),
    "format": ("invalid_value", _form),
}


def _at(schema: Any, path: Iterable[str | int]) -> Any:
    """The subschema at a schema path; {} when it cannot be followed there (a reference)."""
    for part in path:
        if isinstance(schema, dict) and "$ref" in schema and part not in schema:
            return {}
        try:
            schema = schema[part]
        except (KeyError, IndexError, TypeError):
            return {}
    return schema if isinstance(schema, dict) else {}


def _known_fields(schema: Any, path: list[str | int]) -> list[str]:
    return list(_at(schema, path[:-1]).get("properties", {}))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 80 else f"{text[:77]}…"


def _kind(value: Any) -> str:
    for kinds, name in (
        (bool, "a boolean"), (int, "an integer"), (float, "a number"), (str, "a string"), (list, "an array"), (dict, "an object")
    ):  # fmt: skip
        if isinstance(value, kinds):
            return name
    return "null"
