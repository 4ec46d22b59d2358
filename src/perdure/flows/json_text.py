"""Strict JSON (RFC 8259): what other readers would read differently is refused by name and place."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

import msgspec

from perdure.base.codec import DEPTH_LIMIT, DIGITS_LIMIT, VALUE_LIMIT, Json, is_too_deep
from perdure.base.pointers import pointer_below, pointer_of
from perdure.errors import MalformedDocument, PayloadTooLarge, Problem
from perdure.flows.positions import Place, Places, Spot

_BOM = b"\xef\xbb\xbf"
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)
_SURROGATE = re.compile(r"\\u([dD][89a-fA-F][0-9a-fA-F]{2})")
_CONSTANTS = {"NaN", "Infinity", "-Infinity"}
_INTEGER = re.compile(r"-?[0-9]+")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_SUSPECT = re.compile(r"\\u[dD][89a-fA-F]|NaN|Infinity|[0-9][eE]\+?[0-9]{2}|[0-9]{300}")
"""What a text with a fault in one of its scalars has somewhere."""
_BYTE = re.compile(r" \(byte (\d+)\)$")


class _Open:
    """A list or object that is being read: what it stands in and as what, and the index of its next item."""

    __slots__ = ("as_step", "inside", "keys", "next", "spot")

    def __init__(self, inside: _Open | None, as_step: str | int, *, is_list: bool) -> None:
        self.inside = inside
        self.as_step = as_step
        self.next = 0 if is_list else -1
        self.keys: set[str | int] = set()
        self.spot: Spot | None = None

    @property
    def pointer(self) -> str:
        steps: list[str | int] = []
        part = self
        while part.inside is not None:
            steps.append(part.as_step)
            part = part.inside
        return pointer_of(reversed(steps))


class _Part(NamedTuple):
    """A key, or the beginning of a value: what it stands in and as what, its token and where that begins in the text.

    `opened` is the list or object that begins.
    """

    inside: _Open | None
    step: str | int
    word: str
    start: int
    is_key: bool
    opened: _Open | None = None

    @property
    def pointer(self) -> str:
        return "" if self.inside is None else pointer_below(self.inside.pointer, self.step)


def parse_json(data: bytes, *, max_bytes: int = VALUE_LIMIT) -> Json:
    """One JSON value, read as msgspec reads it and checked for what msgspec lets pass.

    Args:
        data: UTF-8 text; a byte order mark in front is accepted.
        max_bytes: the length from which it is refused.

    Raises:
        MalformedDocument: syntax, duplicate keys, lone surrogates, numbers beyond range, depth.
            Its one problem has the code, line and column, and within a value the pointer.
        PayloadTooLarge: when it is longer than `max_bytes`.
    """
    if len(data) > max_bytes:
        raise PayloadTooLarge(f"the JSON text has {len(data)} bytes, at most {max_bytes} are allowed", limit=max_bytes)
    data = data.removeprefix(_BOM)
    try:
        value = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        _explain(data, error)
    if is_too_deep(data):
        _refuse_depth(data.decode())
    if b":" in data and not _keeps_all_keys(data, value):
        _refuse_duplicates(data.decode())
    return value


def check_json(data: bytes) -> None:
    """Look in JSON that was read into a type for what the reader lets pass: depth, and keys that stand twice.

    Raises MalformedDocument as `parse_json` does.
    """
    text = data.decode()
    if is_too_deep(data):
        _refuse_depth(text)
    _refuse_duplicates(text)


def _keeps_all_keys(data: bytes, value: Json) -> bool:
    """Whether nothing can have been dropped: msgspec keeps the last of two equal keys, and loses at least a colon.

    So equal numbers of colons before and after prove it, unless a colon is written as an escape.
    """
    return b"\\u003" not in data and data.count(b":") == msgspec.json.encode(value).count(b":")


class _DoubleKey(ValueError):
    """A key stands in one object twice; which one and where is looked up after that."""


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _DoubleKey


_PAIRS = json.JSONDecoder(object_pairs_hook=_unique)


def _refuse_duplicates(text: str) -> None:
    try:
        _PAIRS.decode(text)
    except _DoubleKey:
        part = _second_key(text)
        _refuse("duplicate_key", f"the key {_name(part.word)!r} stands twice in one object", text, part)


def _second_key(text: str) -> _Part:
    for part in _walk(text):
        if part.is_key and part.inside is not None:
            if part.step in part.inside.keys:
                break
            part.inside.keys.add(part.step)
    return part


def _refuse_depth(text: str) -> NoReturn:
    depth = 0
    for token in _TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth > DEPTH_LIMIT:
                break
        elif token[0] in "]}":
            depth -= 1
    _refuse_at("too_deep", f"nested deeper than {DEPTH_LIMIT} levels", place_at(text, token.start()))


def _refuse(code: str, detail: str, text: str, part: _Part) -> NoReturn:
    is_around = part.inside is not None and part.is_key and code != "duplicate_key"
    pointer = part.inside.pointer if is_around and part.inside is not None else part.pointer
    _refuse_at(code, detail, place_at(text, part.start), pointer)


def _refuse_at(code: str, detail: str, place: Place, pointer: str | None = None) -> NoReturn:
    problem = Problem(code, detail, pointer, line=place.line, column=place.column)
    raise MalformedDocument(f"line {place.line}, column {place.column}: {detail}", problems=(problem,))


def place_at(text: str, offset: int) -> Place:
    return Place(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


def _explain(data: bytes, error: Exception) -> NoReturn:
    """Name the fault that made msgspec refuse the text."""
    if not data.strip():
        _refuse_at("empty", "the document is empty", Place(1, 1))
    try:
        text = data.decode()
    except UnicodeDecodeError as stray:
        head = data[: stray.start].decode()
        _refuse_at("not_utf8", f"byte {stray.start} is not UTF-8", place_at(head, len(head)))
    if isinstance(error, RecursionError):
        _refuse_depth(text)
    what = str(error)
    said = _BYTE.search(what)
    end = len(data[: int(said[1])].decode(errors="ignore")) if said else len(text)
    for part in _walk(text) if _SUSPECT.search(text) else ():
        if part.start > end:
            break
        if fault := _fault(part.word):
            _refuse(*fault, text, part)
    if "trailing characters" in what:
        end -= 1  # there msgspec counts the character that it has already read
    _refuse_at("syntax", what[: said.start()] if said else what, place_at(text, end))


def _fault(word: str) -> tuple[str, str] | None:
    """What is wrong with a scalar that has the form of one: code and detail."""
    if word[0] == '"':
        if lone := _lone_surrogate(word):
            return "lone_surrogate", f"\\u{lone} is half of a surrogate pair, no character"
    elif word in _CONSTANTS:
        return "number_out_of_range", f"{word} is no JSON number"
    elif _INTEGER.fullmatch(word):
        digits = len(word.removeprefix("-"))
        if digits > DIGITS_LIMIT:
            detail = f"an integer of {digits} digits; at most {DIGITS_LIMIT} are allowed"
            return "number_out_of_range", detail
    elif _NUMBER.fullmatch(word) and float(word) in (float("inf"), -float("inf")):
        shown = word if len(word) <= 40 else f"{word[:40]}…"
        return "number_out_of_range", f"{shown} is beyond the range of a 64-bit float"
    return None


def _lone_surrogate(literal: str) -> str | None:
    """The first `\\uD800`…`\\uDFFF` of a string literal that has no partner."""
    # Escaped backslashes go first, so that `\\\\ud800` (a backslash and letters) is none.
    plain = literal.replace("\\\\", "  ")
    matches = list(_SURROGATE.finditer(plain))
    at = 0
    while at < len(matches):
        high = matches[at]
        pair = matches[at + 1] if at + 1 < len(matches) else None
        is_high = int(high[1], 16) < 0xDC00
        if not (is_high and pair and pair.start() == high.end() and int(pair[1], 16) >= 0xDC00):
            return high[1]
        at += 2
    return None


def _name(word: str) -> str:
    return str(json.loads(word))


def locate_json(text: str) -> Places:
    """The places of all values and keys of a JSON text that is known to be valid."""
    places = Places()
    line, line_start, last = 1, 0, 0
    for part in _walk(text):
        breaks = text.count("\n", last, part.start)
        if breaks:
            line += breaks
            line_start = text.rfind("\n", last, part.start) + 1
        last = part.start
        place = Place(line, part.start - line_start + 1)
        around = part.inside.spot if part.inside is not None else None
        spot = places.root if around is None else around.part(part.step)
        if part.is_key:
            spot.key = place
        else:
            spot.value = place
        if part.opened is not None:
            part.opened.spot = spot
    return places


def _walk(text: str) -> Iterator[_Part]:
    """The keys and values of a JSON text in order; of a text that is none, those before its fault."""
    inside: _Open | None = None
    key: str | None = None
    for token in _TOKEN.finditer(text):
        word = token[0]
        if word in ",:":
            continue
        if word in "]}":
            if inside is None:
                return
            inside = inside.inside
            continue
        if inside is not None and inside.next < 0 and key is None:
            if word[0] != '"':
                return
            try:
                key = sys.intern(_name(word))
            except ValueError:
                return
            yield _Part(inside, key, word, token.start(), True)
            continue
        step: str | int = key if key is not None else ""
        if inside is not None and key is None:
            step = inside.next
            inside.next += 1
        key = None
        opened = _Open(inside, step, is_list=word == "[") if word in "[{" else None
        yield _Part(inside, step, word, token.start(), False, opened)
        inside = opened or inside
