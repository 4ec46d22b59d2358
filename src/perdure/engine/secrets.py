"""Secrets as expressions see them, and their masking wherever something is recorded.

They come from the environment: `PERDURE_SECRET_<NAME>`, or `PERDURE_SECRET_<NAME>_FILE` with a file's path;
the name is written in lower case in expressions: `${secrets.target}`.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

import msgspec

from perdure.base.codec import Json, decode, encode, encode_text
from perdure.base.texts import recordable
from perdure.errors import InvalidSettings
from perdure.model.event import Event
from perdure.model.failure import Failure

_PREFIX = "PERDURE_SECRET_"
_FILE = "_FILE"
MASK = "***"
_SHORTEST = 4
"""A shorter secret is not masked: it would blank out ordinary text."""
_SHORTEST_IN_VALUES = 8
"""Of those in outputs: later nodes go on with them, so that a chance match does more harm than in a log."""
_SHORTEST_LINE = 8
"""Of a secret's lines, masked each by itself because logs come line by line."""
_OURS = frozenset(
    {
        "artifact",
        "child",
        "code",
        "due_at",
        "level",
        "media_type",
        "retry_at",
        "stream",
        "wait",
        "waits",
        "wake_at",
        "worker",
    }
)
"""Keys of an event's data whose values no flow has written."""


def read_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """By their names in expressions.

    Raises InvalidSettings, which names the variable, for a file that cannot be read, a secret that is set in both ways,
    and one that is no UTF-8.
    """
    secrets = {}
    for variable, value in environment.items():
        if not variable.startswith(_PREFIX):
            continue
        name = variable.removeprefix(_PREFIX)
        if name.endswith(_FILE):
            name, value = name.removesuffix(_FILE), _content(variable, value)
            if _PREFIX + name in environment:
                raise InvalidSettings(f"{_PREFIX}{name} and {variable} are both set; set one of them")
        if not value.isascii() and recordable(value) != value:
            # Of a variable's bytes that are no UTF-8, Python makes halves of surrogate pairs.
            raise InvalidSettings(f"the value of {variable} is no UTF-8; put other bytes as base64")
        secrets[name.lower()] = value
    return secrets


def _content(variable: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise InvalidSettings(f"the file {path} of {variable} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InvalidSettings(f"the file {path} of {variable} is no UTF-8; put other bytes as base64") from None


class Masker:
    """Replaces every secret's value by `MASK` in what is about to be recorded, however it is spelt there."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._names: dict[str, str] = {}
        for name, value in secrets.items():
            for spelling in _spellings(value):
                self._names.setdefault(spelling, name)
        self._spellings = sorted(self._names, key=len, reverse=True)
        self._escaped = [_escaped(spelling) for spelling in self._spellings]
        sure = {name for name, value in secrets.items() if len(value) >= _SHORTEST_IN_VALUES}
        self._sure = [one for one in self._spellings if self._names[one] in sure]

    def failure(self, failure: Failure) -> Failure:
        """The failure as it is recorded, and as expressions see it."""
        if not self._spellings or not self._may_hold(encode_text(failure)):
            return failure
        return msgspec.structs.replace(
            failure,
            message=_masked(failure.message, self._spellings),
            stack=_walked(failure.stack, self._spellings),
            details=_walked(failure.details, self._spellings),
        )

    def events(self, events: list[Event]) -> list[Event]:
        if not self._spellings or not self._may_hold(encode_text(events)):
            return events
        return [self._event(event) for event in events]

    def input(self, shown: Json) -> bytes:
        """A node's rendered input as JSON, for its row."""
        data = encode(shown)
        if self._spellings and self._may_hold(data.decode()):
            return encode(_walked(decode(data), self._spellings))
        return data

    def value(self, value: Json) -> Json:
        """What a node or a flow returned: secrets of at least eight characters are masked, numbers stay."""
        return _walked(value, self._sure)

    def names_in(self, data: bytes) -> list[str]:
        """Names of the secrets of at least eight characters that stand in a JSON text."""
        if not self._sure:
            return []
        text = data.decode()
        return sorted({self._names[one] for one in self._sure if _escaped(one) in text})

    def _may_hold(self, text: str) -> bool:
        return any(one in text for one in self._escaped)

    def _event(self, event: Event) -> Event:
        if event.data is None:
            return event
        data = {key: value if key in _OURS else _walked(value, self._spellings) for key, value in event.data.items()}
        return Event(event.type, event.at, event.node, event.ordinal, event.attempt, data)


def _spellings(value: str) -> set[str]:
    """The value itself, each long line of it, and what escaping for JSON and URLs, and base64, make of them."""
    if len(value) < _SHORTEST:
        return set()
    lines = {line.strip() for line in value.splitlines()}
    plain = {value} | {line for line in lines if len(line) >= _SHORTEST_LINE}
    spelt = set(plain)
    for one in plain:
        spelt |= {_escaped(one), json.dumps(one)[1:-1], quote(one, safe=""), quote_plus(one)}
    spelt.add(b64encode(value.encode()).decode().rstrip("="))
    return spelt


def _escaped(text: str) -> str:
    return encode_text(text)[1:-1]


def _masked(text: str, spellings: list[str]) -> str:
    for spelling in spellings:
        if spelling in text:
            text = text.replace(spelling, MASK)
    return text


def _walked(value: Json, spellings: list[str]) -> Json:
    """Only strings are masked: a number that looks like a secret must not make the text no JSON any more."""
    if isinstance(value, str):
        return _masked(value, spellings)
    if isinstance(value, list):
        return [_walked(one, spellings) for one in value]
    if isinstance(value, dict):
        return {_masked(key, spellings): _walked(one, spellings) for key, one in value.items()}
    return value
