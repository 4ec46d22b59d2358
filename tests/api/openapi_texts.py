"""What the types of all requests say about texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from perdure.api.findings import schema_of
from perdure.api.route import Document, Route


def texts_with_nul(routes: Iterable[Route]) -> list[str]:
    """Texts of request bodies that may hold NUL: neither a choice nor a format nor a pattern forbids it."""
    return sorted(
        {
            where
            for where, schema in _texts(routes, queries=False)
            # A title names a choice, which is checked by hand.
            if not schema.keys() & {"enum", "const", "format", "title"}
            and ("pattern" not in schema or re.search(schema["pattern"], "a\0b") or re.search(schema["pattern"], "\0"))
        }
    )


def loose_ends(routes: Iterable[Route]) -> list[str]:
    """Patterns, of queries too, that let a line break stand behind what they allow."""
    return sorted(
        {
            f"{where}: {schema['pattern']}"
            for where, schema in _texts(routes, queries=True)
            if schema.get("pattern", "").endswith("$") and not re.search(schema["pattern"], "\n")
        }
    )


def _texts(routes: Iterable[Route], *, queries: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    for route in routes:
        types = [route.body] if route.body is not None and route.body is not Document else []
        for kind in [*types, *([route.query] if queries else [])]:
            schema = schema_of(kind)
            yield from _within(schema, f"{route.method} {route.path}", schema.get("$defs", {}))


def _within(schema: Any, where: str, definitions: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if schema.get("type") == "string":
            yield where, schema
        if "$ref" in schema:
            yield from _within(definitions[schema["$ref"].rpartition("/")[2]], where, definitions)
        for key in ("anyOf", "items", "additionalProperties", "propertyNames", "prefixItems"):
            yield from _within(schema.get(key), where, definitions)
        for name, part in schema.get("properties", {}).items():
            yield from _within(part, f"{where} {name}", definitions)
    elif isinstance(schema, list):
        for part in schema:
            yield from _within(part, where, definitions)
