"""Every problem of a value at once, from the JSON Schema of the type that refused it.

msgspec stops at the first fault; after a refusal the same type's schema is run over the value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, get_args

import jsonschema_rs
import msgspec

from perdure.base.nearest import choices, nearest_or_all
from perdure.base.pointers import pointer_of
from perdure.base.texts import NO_NUL, UUID
from perdure.errors import Problem
from perdure.flows.excerpt import Excerpt

LISTED = 100
"""Problems listed in one answer."""
EXPLAINED_PARTS = 10_000
"""Members of a request's body that are looked at for what is wrong: each of a batch's starts is among them."""
TAG = "type"
"""The field by which structs of a union are told apart."""
_LENGTH = re.compile(r"^Expected `array` of length (<=|>=) (\d+)$")
_PLACE = re.compile(r" - at `(key in )?\$(.*?)`$")
_SIZES = {
    "minLength": ("too few characters", "at least"),
    "maxLength": ("too many characters", "at most"),
    "minItems": ("too few items", "at least"),
    "maxItems": ("too many items", "at most"),
    "minProperties": ("too few members", "at least"),
    "maxProperties": ("too many members", "at most"),
}
_RULES = {NO_NUL: "holds a NUL character", UUID: "is no UUID"}
"""What patterns say, in words."""
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


def findings(type: Any, value: Any, refusal: msgspec.ValidationError) -> tuple[Problem, ...]:
    """What is wrong with a value that msgspec refused, with JSON pointers; at least the refusal itself.

    Of a value with more than `EXPLAINED_PARTS` members, what is wrong with those nearest to its root. Of structs that are
    told apart by a tag, what is wrong with the value as the one that it names.
    """
    tagged = _tagged(type)
    if tagged and isinstance(value, dict):
        struct = tagged.get(str(value.get(TAG)))
        return (_untagged(value, tagged),) if struct is None else findings(struct, value, refusal)
    problems: list[Problem] = []
    excerpt = Excerpt(value, schema_of(type), parts=EXPLAINED_PARTS)
    for error in _validator(type).iter_errors(excerpt.value):
        if excerpt.is_whole or excerpt.is_true(error.kind.name, error.instance_path):
            problems += _problems(type, error)
        if len(problems) >= LISTED:
            break
    return tuple(problems[:LISTED]) or (_refusal(refusal),)


@cache
def _tagged(type: Any) -> dict[str, Any]:
    """The structs of a union by their tags; none for other types."""
    return {struct.__struct_config__.tag: struct for struct in get_args(type) if _tag_field(struct) == TAG}


def _tag_field(type: Any) -> str | None:
    return type.__struct_config__.tag_field if hasattr(type, "__struct_config__") else None


def _untagged(value: dict[str, Any], tagged: dict[str, Any]) -> Problem:
    if TAG not in value:
        return Problem("missing_field", f"{_quoted(TAG)} is missing", pointer_of([TAG]))
    shown = msgspec.json.encode(value[TAG])[:100].decode(errors="replace")
    return Problem("invalid_value", f"{shown} is none of {choices(str(value[TAG]), [*tagged])}", pointer_of([TAG]))


@cache
def schema_of(type: Any) -> dict[str, Any]:
    return msgspec.json.schema(type)


@cache
def _validator(type: Any) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(schema_of(type), validate_formats=True)


def _problems(type: Any, error: jsonschema_rs.ValidationError) -> list[Problem]:
    kind: Any = error.kind
    path = list(error.instance_path)
    if kind.name == "additionalProperties":
        known = _object_schema(type, error.schema_path).get("properties", {})
        return [
            Problem(
                "unknown_field",
                f"there is no {_quoted(name)} here{nearest_or_all(name, known)}",
                pointer_of([*path, name]),
            )
            for name in kind.unexpected[:LISTED]
        ]
    if kind.name == "required":
        name = kind.property
        return [Problem("missing_field", f"{_quoted(name)} is missing", pointer_of([*path, name]))]
    if kind.name == "anyOf":
        return [_unfit(path, [errors[0] for errors in kind.context if errors], error)]
    return [Problem(_code(kind.name), _text(error), pointer_of(path))]


def _unfit(
    path: list[str | int], refusals: list[jsonschema_rs.ValidationError], whole: jsonschema_rs.ValidationError
) -> Problem:
    """Of a value's alternatives, the refusal by the one of the right type; else the types and values there are."""
    for error in refusals:
        if error.kind.name not in {"type", "enum"} or list(error.instance_path) != path:
            return Problem(_code(error.kind.name), _text(error), pointer_of(error.instance_path))
    kinds: list[Any] = [error.kind for error in refusals]
    types = list(dict.fromkeys(name for kind in kinds if kind.name == "type" for name in kind.types))
    shown = msgspec.json.encode(whole.instance)[:100].decode(errors="replace")
    values = [error for error in refusals if error.kind.name == "enum"]
    if not values:
        return Problem("invalid_type", f"{shown} is none of: {', '.join(types)}", pointer_of(path))
    told = _text(values[0])
    others = [name for name in types if name != "null"]
    if others:
        told = f"{shown} is not of type {' or '.join(others)}, and {told.removeprefix(shown + ' is ')}"
    return Problem("invalid_value", told, pointer_of(path))


def _object_schema(type: Any, schema_path: Sequence[str | int]) -> dict[str, Any]:
    """The object schema that a refusal's keyword stands in."""
    schema: Any = schema_of(type)
    for step in schema_path[:-1]:
        schema = schema[step]
    return dict(schema)


def _code(kind: str) -> str:
    return {
        "type": "invalid_type",
        "anyOf": "invalid_type",
        "minimum": "out_of_range",
        "maximum": "out_of_range",
        "exclusiveMinimum": "out_of_range",
        "exclusiveMaximum": "out_of_range",
        "minLength": "out_of_range",
        "maxLength": "out_of_range",
        "minItems": "out_of_range",
        "maxItems": "out_of_range",
        "minProperties": "out_of_range",
        "maxProperties": "out_of_range",
    }.get(kind, "invalid_value")


def _text(error: jsonschema_rs.ValidationError) -> str:
    kind: Any = error.kind
    if kind.name == "enum":
        shown = msgspec.json.encode(error.instance)[:100].decode(errors="replace")
        return f"{shown} is none of {choices(str(error.instance), [str(option) for option in kind.options])}"
    if kind.name in _SIZES:
        fault, bound = _SIZES[kind.name]
        return f"it has {fault}; there must be {bound} {kind.limit}"
    if kind.name == "format" and kind.format == "date-time":
        return f"{_quoted(str(error.instance))} is no time with an offset, such as 2026-11-22T13:45:00Z"
    if kind.name == "pattern" and kind.pattern in _RULES:
        shown = msgspec.json.encode(error.instance)[:100].decode(errors="replace")
        return f"{shown} {_RULES[kind.pattern]}"
    # What stands behind the end of our patterns is for msgspec, not for people.
    text = error.message.replace(r"(?!\n)", "")
    return text if len(text) <= 500 else f"{text[:500]}…"


def _quoted(name: str) -> str:
    return f'"{name[:100]}"'


def _refusal(refusal: msgspec.ValidationError) -> Problem:
    """msgspec's own words, its path turned into a JSON pointer."""
    text = str(refusal)
    place = _PLACE.search(text)
    if place is None:
        return Problem("invalid_value", text, "")
    steps = [name or index for name, index in _STEP.findall(place[2])]
    told = text[: place.start()]
    length = _LENGTH.match(told)
    if length is not None:
        fault, bound = _SIZES["maxItems" if length[1] == "<=" else "minItems"]
        return Problem("out_of_range", f"it has {fault}; there must be {bound} {length[2]}", pointer_of(steps))
    return Problem("invalid_value", told, pointer_of(steps))
