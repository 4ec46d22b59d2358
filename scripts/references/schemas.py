"""JSON Schemas in a few words."""

from __future__ import annotations

import json
from typing import Any

Schema = dict[str, Any]

MOST_SHOWN = 12
"""Values of an enum that stand in a table; a longer one is named."""

_SCALARS = {"string", "number", "boolean", "null"}
_BOUNDS = (
    ("minimum", "≥ {}"), ("exclusiveMinimum", "> {}"), ("maximum", "≤ {}"), ("exclusiveMaximum", "< {}"),
    ("minLength", "≥ {} characters"), ("maxLength", "≤ {} characters"),
    ("minItems", "≥ {} items"), ("maxItems", "≤ {} items"),
    ("minProperties", "≥ {} members"), ("maxProperties", "≤ {} members"),
)  # fmt: skip


def shown(value: Any) -> str:
    """A value as JSON in code."""
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def kind_of(schema: Any) -> str:
    """What a value may be: `string`, `integer ≥ 1`, `"queue" or "reject"`, a type's name, …"""
    if schema is True or not isinstance(schema, dict):
        return "any value"
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(kind_of(one) for one in schema[word]))
    if len(schema.get("enum", ())) > MOST_SHOWN and "title" in schema:
        return f"`{schema['title']}`"
    if "enum" in schema:
        return " or ".join(shown(value) for value in schema["enum"])
    if "const" in schema:
        return shown(schema["const"])
    kinds = schema.get("type")
    if isinstance(kinds, list) and set(kinds) == _SCALARS:
        return "scalar"
    names = " or ".join(kinds if isinstance(kinds, list) else [kinds]) if kinds else "any value"
    if schema.get("format"):
        names += f" ({schema['format']})"
    inner = schema.get("items") if kinds == "array" else None
    if kinds == "object" and "properties" not in schema:
        inner = schema.get("additionalProperties")
    of = f"of {kind_of(inner)}" if isinstance(inner, dict) else ""
    return " ".join(filter(None, [names, *bounds_of(schema), of]))


def bounds_of(schema: Schema) -> list[str]:
    """`(≥ 1, ≤ 9)`, or nothing."""
    found = [text.format(f"{schema[word]:,}") for word, text in _BOUNDS if word in schema]
    return [f"({', '.join(found)})"] if found else []


def about(schema: Any) -> str:
    """Its description with its default."""
    if not isinstance(schema, dict):
        return ""
    text = escaped(str(schema.get("description", "")))
    if "default" in schema and schema["default"] not in (None, [], {}, ""):
        text = f"{text} Default: {shown(schema['default'])}.".strip()
    return text


def escaped(text: str) -> str:
    """Plain text for Markdown: what looks like HTML outside of code is none."""
    parts = text.split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)
