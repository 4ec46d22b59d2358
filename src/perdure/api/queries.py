"""Reading query strings into a route's query struct."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from perdure.api.findings import findings, schema_of
from perdure.base.nearest import nearest_or_all
from perdure.errors import InvalidRequest, Problem, invalid_request

FIELDS_LIMIT = 100
"""Parameters in one query string."""
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,30})")
_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")

T = TypeVar("T", bound=msgspec.Struct)


def parse_query(type: type[T], text: str) -> T:
    """The struct that a query string gives; lists are repeated parameters or values set apart by commas.

    Raises InvalidRequest with every problem: unknown parameters (with the nearest known name),
    parameters given twice, values of the wrong kind or out of range.
    """
    if not text:
        empty: T = _empty(type)
        return empty
    fields = _fields(type)
    values, problems = _collect(text, fields)
    known = {name: value for name, value in values.items() if name in fields}
    try:
        parsed = msgspec.convert(known, type)
    except msgspec.ValidationError as refusal:
        problems += [_about_parameter(problem) for problem in findings(type, known, refusal)]
    else:
        if not problems:
            return parsed
    raise invalid_request(problems, part="query")


def _collect(text: str, fields: dict[str, _Field]) -> tuple[dict[str, Any], list[Problem]]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_LIMIT)
    except UnicodeDecodeError:
        raise InvalidRequest("the query string is not UTF-8 after percent-decoding") from None
    except ValueError:
        raise InvalidRequest(f"the query string has more than {FIELDS_LIMIT} parameters") from None
    values: dict[str, Any] = {}
    problems = []
    for name, value in pairs:
        field = fields.get(name)
        if "\0" in value:
            problems.append(Problem("invalid_value", f'"{name[:100]}" holds a NUL character', parameter=name[:100]))
            continue
        if field is None:
            shown = name[:100]
            problem = Problem(
                "unknown_parameter", f'there is no parameter "{shown}"{nearest_or_all(name, fields)}', parameter=shown
            )
            problems.append(problem)
        elif field.is_list:
            items = value.split(",") if field.splits else [value]
            values.setdefault(name, []).extend(field.read(item) for item in items)
        elif name in values:
            problems.append(Problem("duplicate_parameter", f'"{name}" may be given once', parameter=name))
        else:
            values[name] = field.read(value)
    return values, problems


class _Field(msgspec.Struct, frozen=True):
    read: Callable[[str], Any]
    is_list: bool
    splits: bool


@cache
def _empty(type: type[msgspec.Struct]) -> Any:
    return msgspec.convert({}, type)


@cache
def _fields(type: type[msgspec.Struct]) -> dict[str, _Field]:
    schema = schema_of(type)
    definitions = schema["$defs"]
    properties = definitions[schema["$ref"].rpartition("/")[2]]["properties"]
    return {name: _field(property, definitions) for name, property in properties.items()}


def _field(schema: dict[str, Any], definitions: dict[str, Any]) -> _Field:
    alternatives = [_resolved(one, definitions) for one in schema.get("anyOf", [schema])]
    for one in alternatives:
        if one.get("type") == "array":
            # A list that takes commas in its items says so by `x-separate`.
            return _Field(_reader([_resolved(one["items"], definitions)]), True, not one.get("x-separate", False))
    return _Field(_reader(alternatives), False, False)


def _resolved(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return schema if reference is None else definitions[reference.rpartition("/")[2]]


def _reader(alternatives: list[dict[str, Any]]) -> Callable[[str], Any]:
    types = {one.get("type") for one in alternatives}
    if "boolean" in types:
        return _read_boolean
    if "integer" in types:
        return _read_integer
    if "number" in types:
        return _read_number
    return str


def _read_boolean(text: str) -> bool | str:
    return {"true": True, "false": False, "1": True, "0": False}.get(text, text)


def _read_integer(text: str) -> int | str:
    return int(text) if _INTEGER.fullmatch(text) else text


def _read_number(text: str) -> float | str:
    return float(text) if _NUMBER.fullmatch(text) else text


def _about_parameter(problem: Problem) -> Problem:
    name = (problem.pointer or "").split("/")[1:2]
    return msgspec.structs.replace(problem, pointer=None, parameter=name[0] if name else None)
