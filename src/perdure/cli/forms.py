"""A form in a terminal: its questions one by one, from the JSON Schema of the answer."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from typing import Any

import click
import msgspec

from perdure.cli.output import note, one_line

_UNANSWERED = object()


def is_interactive() -> bool:
    """Whether somebody sits there who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def fill_in(form: dict[str, Any] | None, *, answers: dict[str, Any] | None = None, again: Collection[str] = ()) -> Any:
    """Ask for the answer on stderr.

    Args:
        answers: what is known by now; it is not asked for, but for those named in `again`.
    """
    properties = (form or {}).get("properties")
    if not isinstance(properties, dict) or not properties:
        return _ask("answer", form or {}, required=True)
    required = set((form or {}).get("required", ()))
    filled = dict(answers or {})
    for name, schema in properties.items():
        if name in filled and name not in again:
            continue
        filled.pop(name, None)
        value = _ask(name, schema if isinstance(schema, dict) else {}, required=name in required)
        if value is not _UNANSWERED:
            filled[name] = value
    return filled


def complained(form: dict[str, Any] | None, answer: Any, problems: Iterable[Any]) -> set[str]:
    """Tell what is wrong with an answer; the fields to ask for again, none where that cannot mend it.

    Args:
        problems: each with `pointer` and `detail`, as the server or the engine tells them.
    """
    fields = set()
    for problem in problems:
        parts = (problem.pointer or "").split("/")
        field = parts[2] if len(parts) > 2 else ""
        note(f"  {field or 'answer'}: {problem.detail}")
        fields.add(field)
    known = (form or {}).get("properties") or {}
    return fields if isinstance(answer, dict) and fields & {*known} else set()


def _ask(name: str, schema: dict[str, Any], *, required: bool) -> Any:
    """One question; asked again until the text is of the kind that is asked for. The rest the server checks."""
    text = str(schema.get("title") or name)
    if schema.get("description"):
        note(f"  {schema['description']}")
    default = schema.get("default", _UNANSWERED)
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return _choose(text, choices, default, required=required)
    if schema.get("type") == "boolean":
        given = default if isinstance(default, bool) else None
        return click.confirm(text, default=given, err=True)
    while True:
        typed = _typed(text, default, required=required)
        if typed is None:
            return _UNANSWERED if default is _UNANSWERED else default
        try:
            return _value(typed, schema)
        except ValueError as error:
            note(f"  {error}")


def _choose(text: str, choices: list[Any], default: Any, *, required: bool) -> Any:
    for number, choice in enumerate(choices, 1):
        note(f"  {number}. {_shown(choice)}")
    while True:
        typed = _typed(text, default, required=required)
        if typed is None:
            return _UNANSWERED if default is _UNANSWERED else default
        if typed.isdigit() and 1 <= int(typed) <= len(choices):
            return choices[int(typed) - 1]
        for choice in choices:
            if typed == _shown(choice):
                return choice
        note(f"  one of {', '.join(map(_shown, choices))}, or its number")


def _typed(text: str, default: Any, *, required: bool) -> str | None:
    """What was typed; None for an empty line where there is a default, or nothing need be said."""
    shown = "" if default is _UNANSWERED else f" [{_shown(default)}]"
    while True:
        typed = str(click.prompt(text + shown, default="", show_default=False, err=True)).strip()
        if typed:
            return typed
        if default is not _UNANSWERED or not required:
            return None


def _value(typed: str, schema: dict[str, Any]) -> Any:
    """The text as a value of the schema's type. Raises ValueError, saying what would be right."""
    kinds = schema.get("type", "string" if "pattern" in schema or "format" in schema else None)
    if kinds == "string" or (isinstance(kinds, list) and "string" in kinds):
        return typed
    try:
        value = msgspec.json.decode(typed)
    except msgspec.DecodeError:
        if kinds is None:
            return typed
        raise ValueError(f"{typed!r} is no {kinds}" + _hint(kinds)) from None
    wanted = {"integer": int, "number": (int, float), "array": list, "object": dict}.get(str(kinds))
    if wanted is not None and (not isinstance(value, wanted) or isinstance(value, bool)):  # type: ignore[arg-type]
        raise ValueError(f"{typed!r} is no {kinds}" + _hint(kinds))
    return value


def _hint(kinds: Any) -> str:
    return {"array": '; write JSON like ["a", "b"]', "object": '; write JSON like {"a": 1}'}.get(str(kinds), "")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else one_line(value)
