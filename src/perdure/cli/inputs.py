"""What people type for inputs, tags and times, as data."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec

from perdure.base.clock import SECOND, Clock, to_rfc3339
from perdure.base.durations import parse_duration

_PAIR = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)=(.*)", re.DOTALL)


def parse_inputs(given: Sequence[str]) -> Any:
    """The execution's input from `-i` options, later ones over earlier ones.

    `key=value` (JSON where it parses, else text), `key=@file` (the file's content, read likewise), or a
    file with a JSON object (`-` is standard input). Raises click.BadParameter.
    """
    if len(given) == 1 and _PAIR.fullmatch(given[0]) is None:
        return _document(given[0], option="-i", wanted="key=value")
    return _merged(given, option="-i", wanted="key=value")


def parse_edits(given: Sequence[str]) -> dict[str, Any]:
    """Outputs by node from `--edit` options, in the forms of `parse_inputs`. Raises click.BadParameter."""
    return _merged(given, option="--edit", wanted="NODE=VALUE")


def _merged(given: Sequence[str], *, option: str, wanted: str) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for text in given:
        pair = _PAIR.fullmatch(text)
        if pair is not None:
            merged[pair[1]] = _given(pair[2], option=option)
            continue
        whole = _document(text, option=option, wanted=wanted)
        if not isinstance(whole, dict):
            raise click.BadParameter(f"{text} holds no JSON object", param_hint=option)
        merged |= whole
    return merged


def parse_tags(given: Sequence[str]) -> dict[str, str]:
    """`key=value` pairs. Raises click.BadParameter."""
    pairs = [text.partition("=") for text in given]
    for key, equals, _ in pairs:
        if not key or not equals:
            raise click.BadParameter(f"{key!r} is no tag; write key=value", param_hint="--tag")
    return {key: value for key, _, value in pairs}


def parse_tag_filters(given: Sequence[str]) -> dict[str, str | None]:
    """`key=value` pairs, and keys alone that may have whatever value. Raises click.BadParameter."""
    return {text: None for text in given if text and "=" not in text} | parse_tags(
        [text for text in given if not text or "=" in text]
    )


def parse_moment(text: str, clock: Clock, *, ago: bool = False, option: str) -> datetime:
    """An RFC 3339 time, or a duration from now on (`10m`; with `ago`, before now). Raises click.BadParameter."""
    now = datetime.fromtimestamp(clock.now() / SECOND, UTC)
    try:
        span = timedelta(microseconds=parse_duration(text))
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            hint = f"{text!r} is neither a time like {to_rfc3339(clock.now())} nor a duration like 10m"
            raise click.BadParameter(hint, param_hint=option) from None
        return moment if moment.tzinfo is not None else moment.astimezone()
    return now - span if ago else now + span


def parse_seconds(text: str | None, *, option: str) -> float | None:
    """A duration (`30s`, `10m`, a number of seconds) in seconds. Raises click.BadParameter."""
    if text is None:
        return None
    try:
        return parse_duration(float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else text) / SECOND
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def _given(text: str, *, option: str) -> Any:
    """A value, or what the file behind `@` holds."""
    if not text.startswith("@"):
        return _value(text)
    return _value(_read(text[1:], option=option, missing="is no file that is there"))


def _read(name: str, *, option: str, missing: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise click.BadParameter(f"{name!r} {missing}", param_hint=option) from None
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{name} cannot be read: {error}", param_hint=option) from None


def _document(name: str, *, option: str, wanted: str) -> Any:
    """What a file holds as JSON."""
    text = _read(name, option=option, missing=f"is neither {wanted} nor a file that is there")
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise click.BadParameter(f"{name} is not JSON: {error}", param_hint=option) from None


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
