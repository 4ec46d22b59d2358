"""For how long what has ended is kept: by namespace and by how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from perdure.base.clock import DAY
from perdure.base.durations import format_duration, parse_duration
from perdure.model.definition import is_segment
from perdure.model.states import TERMINAL, ExecutionStatus

DEFAULT = 30 * DAY
FOREVER = "forever"
_DEFAULT_KEY = "default"
_STATUSES = frozenset(status.value for status in TERMINAL)


class Retention(msgspec.Struct, frozen=True):
    """`rules` are by (namespace, status), either of them None for all others; None is for ever. Microseconds."""

    rules: Mapping[tuple[str | None, str | None], int | None] = msgspec.field(
        default_factory=lambda: {(None, None): DEFAULT}
    )

    def kept(self, namespace: str, status: str) -> int | None:
        """For how long after its end; a rule for the namespace goes before one for the status alone."""
        for key in ((namespace, status), (namespace, None), (None, status)):
            if key in self.rules:
                return self.rules[key]
        return self.rules.get((None, None), DEFAULT)

    @property
    def spans(self) -> list[int]:
        """The different times for which anything is kept, the shortest first."""
        return sorted({span for span in {(None, None): DEFAULT, **self.rules}.values() if span is not None})

    def __str__(self) -> str:
        """As `parse_retention` takes it."""
        default = self.rules.get((None, None), DEFAULT)
        named = [f"{_name(*key)}={_span(span)}" for key, span in self.rules.items() if key != (None, None)]
        return ",".join([_span(default), *named])


def parse_retention(value: Any) -> Retention:
    """From `30d`, `forever`, `30d,failed=90d,billing=7d,billing/failed=365d` in a text, or the same as a table:
    `{default = "30d", failed = "90d", billing = {default = "7d", failed = "365d"}}`.

    Raises ValueError that says what does not fit.
    """
    rules: dict[tuple[str | None, str | None], int | None] = {}
    if isinstance(value, Mapping):
        for name, given in value.items():
            if isinstance(given, Mapping):
                for status, span in given.items():
                    rules[_namespace(name), _status(status)] = _parsed(span)
            else:
                rules[_key(name)] = _parsed(given)
        return Retention({(None, None): DEFAULT} | rules)
    for part in str(value).split(",") if isinstance(value, str) else [value]:
        name, separator, span = part.partition("=") if isinstance(part, str) else ("", "", part)
        if separator:
            namespace, slash, status = name.strip().partition("/")
            key = (_namespace(namespace), _status(status)) if slash else _key(namespace)
        else:
            key, span = (None, None), part
        if key in rules:
            raise ValueError(f"{value!r} says twice for how long {_name(*key) or 'all others'} are kept")
        rules[key] = _parsed(span.strip() if isinstance(span, str) else span)
    return Retention({(None, None): DEFAULT} | rules)


def _key(name: str) -> tuple[str | None, str | None]:
    if name == _DEFAULT_KEY:
        return (None, None)
    return (None, name) if name in _STATUSES else (_namespace(name), None)


def _namespace(name: str) -> str:
    if not is_segment(name):
        raise ValueError(f"{name!r} is neither a namespace nor a state in which executions end")
    return name


def _status(name: str) -> str | None:
    if name == _DEFAULT_KEY:
        return None
    if name not in _STATUSES:
        raise ValueError(f"{name!r} is no state in which executions end: {', '.join(sorted(_STATUSES))}")
    return ExecutionStatus(name).value


def _parsed(span: Any) -> int | None:
    return None if span == FOREVER else parse_duration(span)


def _span(span: int | None) -> str:
    return FOREVER if span is None else format_duration(span)


def _name(namespace: str | None, status: str | None) -> str:
    return "/".join(part for part in (namespace, status) if part is not None)
