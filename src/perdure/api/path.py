"""Path parameters: how each is read, and what the OpenAPI document says of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from perdure.base.ids import id_bytes, is_id
from perdure.errors import InvalidIdentifier, Problem
from perdure.model.definition import NODE_ID, is_segment

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
MAX_ORDINAL = 2**31 - 1


class Parameter(NamedTuple):
    """`parse` gives None for text that is none of its kind; `rule` says what would be right."""

    parse: Callable[[str], Any]
    rule: str
    schema: dict[str, Any]
    description: str


def _id(text: str) -> bytes | None:
    return id_bytes(text) if is_id(text) else None


def _id_or_number(text: str) -> bytes | int | None:
    if _NUMBER.fullmatch(text):
        return int(text) if int(text) > 0 else None
    return _id(text)


def _segment(text: str) -> str | None:
    return text if is_segment(text) else None


def _node(text: str) -> str | None:
    return text if NODE_ID.fullmatch(text) else None


def _integer_from(least: int) -> Callable[[str], int | None]:
    def parse(text: str) -> int | None:
        value = int(text) if _NUMBER.fullmatch(text) else None
        return value if value is not None and least <= value <= MAX_ORDINAL else None

    return parse


_UUID_SCHEMA = {"type": "string", "format": "uuid"}
_SEGMENT_SCHEMA = {"type": "string", "pattern": "^[a-z0-9][a-z0-9_.-]{0,62}$"}
_SEGMENT_RULE = "a-z 0-9 _ . -, beginning with a letter or digit, at most 63 characters"

PARAMETERS: dict[str, Parameter] = {
    "execution": Parameter(
        _id_or_number,
        "an execution's id (UUID) or its number",
        {"anyOf": [_UUID_SCHEMA, {"type": "integer", "minimum": 1, "maximum": 10**18 - 1}]},
        "The execution's id, or its number",
    ),
    "artifact": Parameter(_id, "a UUID", _UUID_SCHEMA, "The artifact's id"),
    "operation": Parameter(_id, "a UUID", _UUID_SCHEMA, "The operation's id"),
    "token": Parameter(_id, "a UUID", _UUID_SCHEMA, "The token's id"),
    "namespace": Parameter(_segment, _SEGMENT_RULE, _SEGMENT_SCHEMA, "The flow's namespace"),
    "flow": Parameter(_segment, _SEGMENT_RULE, _SEGMENT_SCHEMA, "The flow's name within its namespace"),
    "node": Parameter(
        _node, "a letter or _, then letters, digits and _", {"type": "string", "pattern": f"^{NODE_ID.pattern}$"},
        "The node's id in its flow",
    ),
    "ordinal": Parameter(
        _integer_from(0), f"a number from 0 to {MAX_ORDINAL}",
        {"type": "integer", "minimum": 0, "maximum": MAX_ORDINAL}, "Which of the node's runs, counted from 0",
    ),
    "version": Parameter(
        _integer_from(1), f"a number from 1 to {MAX_ORDINAL}",
        {"type": "integer", "minimum": 1, "maximum": MAX_ORDINAL}, "The version's number",
    ),
}  # fmt: skip


def parse_path(names: tuple[str, ...], values: list[str]) -> dict[str, Any]:
    """Parameters by name. Raises InvalidIdentifier that lists all that are wrong."""
    parsed: dict[str, Any] = {}
    problems = []
    for name, text in zip(names, values, strict=True):
        parameter = PARAMETERS[name]
        value = parameter.parse(text)
        if value is None:
            problems.append(
                Problem("invalid_identifier", f"{text[:100]!r} is no {name}; write {parameter.rule}", parameter=name)
            )
        parsed[name] = value
    if problems:
        raise InvalidIdentifier(problems[0].detail, problems=tuple(problems))
    return parsed
