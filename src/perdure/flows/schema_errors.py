"""What a JSON Schema validator finds, as problems that say what would be right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import jsonschema_rs
import msgspec

from perdure.base.nearest import choices, nearest
from perdure.base.pointers import pointer_below, pointer_of
from perdure.base.texts import cut
from perdure.flows.excerpt import Excerpt

MAX_FINDINGS = 200
"""Findings of one value; who has more mends these first."""
MAX_PARTS = 20_000
"""Members of a document, in all its maps and lists, that are looked at for what is wrong."""

_MAX_POINTERS = 1_000_000
"""Characters of their pointers together: a long key stands in each pointer below it."""


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
    validator: jsonschema_rs.Draft202012Validator, schema: Any, value: Any, *, within: str = "", parts: int = MAX_PARTS
) -> list[Finding]:
    """What is wrong with the value, up to `MAX_FINDINGS`; pointers begin with `within`.

    Of a value with more than `parts` members, what is wrong with those nearest to its root.
    """
    if validator.is_valid(value):
        return []
    excerpt = Excerpt(value, schema, parts=parts)
    found: list[Finding] = []
    room = _MAX_POINTERS
    for error in validator.iter_errors(excerpt.value):
        if excerpt.is_whole or excerpt.is_true(error.kind.name, error.instance_path):
            for finding in islice(_explain(error, schema, within), MAX_FINDINGS):
                found.append(finding)
                room -= len(finding.pointer)
                if room < 0:
                    break
        if len(found) >= MAX_FINDINGS or room < 0:
            break
    if not found:
        detail = f"it does not fit its schema; with more than {parts} members it is too large to say where"
        found.append(Finding("invalid_value", detail, within))
    return found[:MAX_FINDINGS]


def _explain(error: jsonschema_rs.ValidationError, schema: Any, within: str) -> Iterator[Finding]:
    pointer = within + pointer_of(error.instance_path)
    kind = error.kind
    name = kind.name
    if name in ("additionalProperties", "unevaluatedProperties"):
        known = _known_fields(schema, error.schema_path)
        for field in kind.as_dict()["unexpected"]:
            yield Finding(
                "unknown_field",
                f"unknown field {cut(field, 200)!r}{nearest(field, known)}",
                pointer_below(pointer, field),
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
        yield Finding("invalid_value", cut(error.message, 300), pointer)


def _alternatives(error: jsonschema_rs.ValidationError, schema: Any, pointer: str, within: str) -> Iterator[Finding]:
    """When one form alone has the right type, what is wrong with that one; else the whole."""
    mismatch = {"type", "enum", "const"} if isinstance(error.instance, list | dict) else {"type"}
    context: list[list[jsonschema_rs.ValidationError]] = error.kind.as_dict().get("context", [])
    fitting = [
        errors for errors in context
        if not any(inner.kind.name in mismatch and inner.instance_path == error.instance_path for inner in errors)
    ]  # fmt: skip
    if len(fitting) == 1:
        for inner in fitting[0]:
            yield from _explain(inner, schema, within)
        return
    yield Finding("invalid_value", f"{_shown(error.instance)} fits none of the forms that are allowed here", pointer)


Explainer = Callable[[jsonschema_rs.ValidationError, Any], str]


def _type(error: jsonschema_rs.ValidationError, schema: Any) -> str:
    # In the order in which the schema has them, where its keyword can be reached.
    expected = schema.get("type", error.kind.as_dict()["types"])
    kinds = " or ".join(expected if isinstance(expected, list) else [expected])
    found = "it is null" if error.instance is None else f"{_shown(error.instance)} is {_kind(error.instance)}"
    return f"{found}; it must be {kinds}"


def _enum(error: jsonschema_rs.ValidationError, schema: Any) -> str:
    options = list(
        dict.fromkeys("null" if option is None else str(option) for option in error.kind.as_dict()["options"])
    )
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
    form = "format" if error.kind.name == "format" else "the pattern"
    hint = "".join(f"; for example {_shown(example)}" for example in schema.get("examples", [])[:1])
    return f"{_shown(error.instance)} does not match {form} {_text(error.kind.value)}{hint}"


def _not(error: jsonschema_rs.ValidationError, schema: Any) -> str:
    refused = schema.get("not")
    reason = refused.get("description") if isinstance(refused, dict) else None
    return str(reason) if reason else cut(error.message, 300)


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
    "not": ("invalid_value", _not),
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
