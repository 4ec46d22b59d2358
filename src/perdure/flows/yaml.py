"""YAML 1.2 by libyaml's event parser and our own scalars, with the place of every value.

Built from events and with a stack of its own: neither deep nesting nor aliases can exhaust
anything, and the reader stops at the first construct that it refuses.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

import yaml

from perdure.base.codec import DIGITS_LIMIT, Json
from perdure.errors import MalformedDocument, Problem
from perdure.flows.positions import Place, Places, Spot

MAX_DEPTH = 64
"""Levels of lists and mappings in one document."""
MAX_VALUES = 200_000
"""Values of one document, each alias counted with all that it stands for."""

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([Tt ].*)?")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_TAG = "tag:yaml.org,2002:"


class _Open:
    """A list or mapping that is being read."""

    __slots__ = ("anchor", "count", "key", "spot", "value")

    def __init__(self, value: Any, spot: Spot, anchor: str | None, count: int) -> None:
        self.value = value
        self.spot = spot
        self.anchor = anchor
        self.key: str | None = None
        self.count = count


class _Anchor:
    __slots__ = ("count", "is_open", "value")

    def __init__(self, value: Any, count: int, *, is_open: bool) -> None:
        self.value = value
        self.count = count
        self.is_open = is_open


def parse_yaml(text: str) -> tuple[Json, Places]:
    """The document's value and the place of each of its parts.

    Raises:
        MalformedDocument: with one problem: its code, line and column.
    """
    composer = _Composer()
    try:
        for event in yaml.parse(text.removeprefix("\ufeff"), Loader=yaml.CLoader):
            composer.take(event)
    except yaml.MarkedYAMLError as error:
        _explain(error, text)
    except yaml.reader.ReaderError as error:
        position = error.position if isinstance(error.position, int) else 0
        head = text[:position]
        place = Place(head.count("\n") + 1, position - head.rfind("\n"))
        detail = f"the character U+{_code_point(error.character):04X} may not stand in YAML"
        _refuse("control_character", detail, place)
    if not composer.documents:
        _refuse("empty", "the document is empty", Place(1, 1))
    return composer.root, composer.places


class _Composer:
    """Takes the parser's events one by one; `root` holds the value at the end."""

    def __init__(self) -> None:
        self.root: Json = None
        self.places = Places()
        self.documents = 0
        self._open: list[_Open] = []
        self._anchors: dict[str, _Anchor] = {}
        self._count = 0

    def take(self, event: Any) -> None:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._scalar(event)
        elif kind is yaml.MappingStartEvent:
            self._begin(event, {}, "map")
        elif kind is yaml.SequenceStartEvent:
            self._begin(event, [], "seq")
        elif kind in (yaml.MappingEndEvent, yaml.SequenceEndEvent):
            closed = self._open.pop()
            if closed.anchor is not None:
                self._anchors[closed.anchor] = _Anchor(closed.value, self._count - closed.count, is_open=False)
        elif kind is yaml.AliasEvent:
            self._alias(event)
        elif kind is yaml.DocumentStartEvent:
            self.documents += 1
            if self.documents > 1:
                _refuse("many_documents", "a second document begins; write one document a file", _place(event))

    def _begin(self, event: Any, value: Any, kind: str) -> None:
        if event.tag is not None and event.tag not in ("!", _TAG + kind):
            _refuse_tag(event)
        spot = self._spot(event)
        if len(self._open) >= MAX_DEPTH:
            _refuse("too_deep", f"nested deeper than {MAX_DEPTH} levels", _place(event))
        self._put(value, spot, event, 1)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchor(value, 0, is_open=True)
        self._open.append(_Open(value, spot, event.anchor, self._count - 1))

    def _scalar(self, event: Any) -> None:
        top = self._open[-1] if self._open else None
        if top is not None and top.key is None and type(top.value) is dict:
            self._key(top, event)
            return
        spot = self._spot(event)
        value = _scalar_value(event)
        self._put(value, spot, event, 1)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchor(value, 1, is_open=False)

    def _key(self, top: _Open, event: Any) -> None:
        key = _scalar_value(event)
        text = event.value
        is_plain = event.style is None or event.style == ""
        if not isinstance(key, str) or (is_plain and _DATE.fullmatch(text)):
            kind = "a date" if isinstance(key, str) else "no text"
            _refuse(
                "non_string_key", f"the key {text or 'null'} is {kind}; keys are text: put it in quotes", _place(event)
            )
        if is_plain and key == "<<":
            _refuse("merge_key", "merge keys (<<) are not part of YAML 1.2; write the members out", _place(event))
        if key in top.value:
            _refuse("duplicate_key", f"the key {key!r} stands twice in one mapping", _place(event))
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchor(key, 1, is_open=False)
        top.key = key
        top.spot.part(key).key = _place(event)

    def _alias(self, event: Any) -> None:
        anchor = self._anchors.get(event.anchor)
        if anchor is None:
            _refuse("unknown_alias", f"the alias *{event.anchor} has no anchor before it", _place(event))
        if anchor.is_open:
            _refuse("recursive_alias", f"the alias *{event.anchor} stands inside of what it names", _place(event))
        # Counted before it is copied: that is what defuses the bomb.
        self._put(None, self._spot(event), event, anchor.count)
        self._replace(_copy(anchor.value))

    def _replace(self, value: Json) -> None:
        if not self._open:
            self.root = value
        elif type(self._open[-1].value) is dict:
            parent = self._open[-1].value
            parent[next(reversed(parent))] = value
        else:
            self._open[-1].value[-1] = value

    def _spot(self, event: Any) -> Spot:
        if not self._open:
            return self.places.root
        top = self._open[-1]
        if type(top.value) is list:
            return top.spot.part(len(top.value))
        if top.key is None:
            _refuse("non_string_key", "a key must be text, no alias, list or mapping", _place(event))
        return top.spot.part(top.key)

    def _put(self, value: Json, spot: Spot, event: Any, count: int) -> None:
        self._count += count
        if self._count > MAX_VALUES:
            code = "alias_bomb" if type(event) is yaml.AliasEvent else "limit_exceeded"
            _refuse(code, f"more than {MAX_VALUES} values, aliases counted with what they stand for", _place(event))
        spot.value = _place(event)
        if not self._open:
            self.root = value
            return
        top = self._open[-1]
        if type(top.value) is list:
            top.value.append(value)
        else:
            top.value[top.key] = value
            top.key = None


def _scalar_value(event: Any) -> Json:
    tag = event.tag
    text: str = event.value
    kind = (tag or "").removeprefix(_TAG)
    if tag is None:
        return _core_value(text, event) if event.implicit[0] else text
    if tag == "!" or tag == _TAG + "str":
        return text
    if kind not in ("int", "float", "bool", "null"):
        _refuse_tag(event)
    value = _core_value(text, event)
    if kind == "float" and type(value) is int:
        return float(value)
    if type(value).__name__ != kind and not (kind == "null" and value is None):
        _refuse("tag_refused", f"{text!r} is no {kind}", _place(event))
    return value


def _core_value(text: str, event: Any) -> Json:
    """The value of a plain scalar in the YAML 1.2 core schema."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    first = text[0]
    if first not in "-+.0123456789":
        return text
    if _INT.fullmatch(text):
        if len(text) > DIGITS_LIMIT:
            detail = f"an integer of {len(text)} digits; at most {DIGITS_LIMIT} are allowed"
            _refuse("number_out_of_range", detail, _place(event))
        return int(text)
    if _FLOAT.fullmatch(text):
        value = float(text)
        if value in (float("inf"), -float("inf")):
            _refuse("number_out_of_range", f"{text[:40]} is beyond the range of a 64-bit float", _place(event))
        return value
    if _NOT_FINITE.fullmatch(text):
        _refuse("number_out_of_range", f"{text} is no JSON number", _place(event))
    for form, base in ((_OCTAL, 8), (_HEX, 16)):
        if form.fullmatch(text):
            number = int(text[2:], base)
            if number >= 10**DIGITS_LIMIT:
                detail = f"an integer of more than {DIGITS_LIMIT} digits (in base 10)"
                _refuse("number_out_of_range", detail, _place(event))
            return number
    return text


def _copy(value: Json) -> Json:
    if type(value) is dict:
        return {key: _copy(item) for key, item in value.items()}
    if type(value) is list:
        return [_copy(item) for item in value]
    return value


def _place(event: Any) -> Place:
    mark = event.start_mark
    return Place(mark.line + 1, mark.column + 1)


def _refuse(code: str, detail: str, place: Place) -> NoReturn:
    raise MalformedDocument(
        f"line {place.line}, column {place.column}: {detail}",
        problems=(Problem(code, detail, line=place.line, column=place.column),),
    )


def _refuse_tag(event: Any) -> NoReturn:
    tag = event.tag.replace(_TAG, "!!")
    _refuse("tag_refused", f"the tag {tag} is refused; a flow holds plain data only", _place(event))


def _code_point(character: object) -> int:
    if isinstance(character, int):
        return character
    return ord(character[:1]) if isinstance(character, str) and character else 0


def _explain(error: yaml.MarkedYAMLError, text: str) -> NoReturn:
    mark = error.problem_mark or error.context_mark
    place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
    lines = text.splitlines()
    line = lines[place.line - 1] if place.line <= len(lines) else ""
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent and ("token" in (error.problem or "") or "tab" in (error.problem or "")):
        _refuse(
            "tab_indent", "a tab indents this line; YAML indents with spaces", Place(place.line, indent.index("\t") + 1)
        )
    escape = _SURROGATE.search(line, max(place.column - 4, 0), place.column + 4)
    if escape is not None and "escape code" in (error.problem or ""):
        detail = f"{escape[0]} is half of a surrogate pair, no character; write the character itself"
        _refuse("lone_surrogate", detail, Place(place.line, escape.start() + 1))
    detail = error.problem or "this is no YAML"
    if error.context:
        detail = f"{error.context}: {detail}"
    _refuse("syntax", detail, place)
