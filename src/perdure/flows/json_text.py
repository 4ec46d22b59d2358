"""Strict JSON (RFC 8259): what other readers would read differently is refused by name."""

from __future__ import annotations

import json
import re
import sys
from typing import Any, NoReturn

import msgspec

from perdure.base.codec import VALUE_LIMIT, Json
from perdure.errors import MalformedDocument, PayloadTooLarge, Problem
from perdure.flows.positions import Place, Places, escape_pointer

MAX_JSON_DEPTH = 200
"""Levels of lists and objects in one JSON value."""
MAX_INTEGER_DIGITS = 4_000

_BOM = b"\xef\xbb\xbf"
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)
_SURROGATE = re.compile(r"\\u([dD][89a-fA-F][0-9a-fA-F]{2})")
_CONSTANTS = {"NaN", "Infinity", "-Infinity"}


def parse_json(data: bytes, *, max_bytes: int = VALUE_LIMIT) -> Json:
    """One JSON value, read as msgspec reads it and checked for what msgspec lets pass.

    Args:
        data: UTF-8 text; a byte order mark in front is accepted.
        max_bytes: the length from which it is refused.

    Raises:
        MalformedDocument: syntax, duplicate keys, lone surrogates, numbers beyond range, depth.
            Its one problem has the code, and the line and column or the pointer.
        PayloadTooLarge: when it is longer than `max_bytes`.
    """
    if len(data) > max_bytes:
        raise PayloadTooLarge(f"the JSON text has {len(data)} bytes, at most {max_bytes} are allowed", limit=max_bytes)
    if data.startswith(_BOM):
        data = data[3:]
    try:
        value = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        _explain(data, error)
    if data.count(b"[") + data.count(b"{") > MAX_JSON_DEPTH and _depth(value) > MAX_JSON_DEPTH:
        _refuse("too_deep", f"nested deeper than {MAX_JSON_DEPTH} levels")
    if b":" in data:
        _refuse_duplicates(data, value)
    return value


def _refuse_duplicates(data: bytes, value: Json) -> None:
    """msgspec keeps the last of two equal keys, and with the other at least one colon is lost.

    So equal numbers of colons before and after prove that nothing was dropped, unless a colon is
    written as an escape; only in doubt the text is read again, slowly.
    """
    if b"\\u003" not in data and data.count(b":") == msgspec.json.encode(value).count(b":"):
        return
    duplicates: list[str] = []

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(members)
        if len(result) < len(members):
            seen: set[str] = set()
            duplicates.extend(key for key, _ in members if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        return result

    json.loads(data, object_pairs_hook=pairs)
    if duplicates:
        text = data.decode()
        place = _second_key(text)
        _refuse("duplicate_key", f"the key {duplicates[0]!r} stands twice in one object", place)


def _depth(value: Json) -> int:
    depth = 0
    level = [value]
    while level:
        depth += 1
        following: list[Json] = []
        for item in level:
            if isinstance(item, dict):
                following += [child for child in item.values() if isinstance(child, dict | list)]
            elif isinstance(item, list):
                following += [child for child in item if isinstance(child, dict | list)]
        level = following
    return depth


def _refuse(code: str, detail: str, place: Place | None = None) -> NoReturn:
    where = f"line {place.line}, column {place.column}: " if place else ""
    line, column = place or (None, None)
    raise MalformedDocument(where + detail, problems=(Problem(code, detail, line=line, column=column),))


def place_at(text: str, offset: int) -> Place:
    return Place(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


def _explain(data: bytes, error: Exception) -> NoReturn:
    """Name the fault that made msgspec refuse the text."""
    if not data.strip():
        _refuse("empty", "the document is empty", Place(1, 1))
    try:
        text = data.decode()
    except UnicodeDecodeError as fault:
        head = data[: fault.start].decode()
        _refuse("not_utf8", f"byte {fault.start} is not UTF-8", place_at(head, len(head)))
    if isinstance(error, RecursionError):
        _refuse("too_deep", f"nested deeper than {MAX_JSON_DEPTH} levels", _deep_place(text))
    for token in _TOKEN.finditer(text):
        word = token[0]
        place = place_at(text, token.start())
        if word[0] == '"':
            if lone := _lone_surrogate(word):
                _refuse("lone_surrogate", f"\\u{lone} is half of a surrogate pair, no character", place)
        elif word in _CONSTANTS:
            _refuse("number_out_of_range", f"{word} is no JSON number", place)
        elif re.fullmatch(r"-?\d+", word) and len(word) > MAX_INTEGER_DIGITS:
            detail = f"an integer of {len(word)} digits; at most {MAX_INTEGER_DIGITS} are allowed"
            _refuse("number_out_of_range", detail, place)
        elif re.fullmatch(r"-?\d+(\.\d+)?[eE][-+]?\d{1,30}", word) and float(word) in (float("inf"), -float("inf")):
            _refuse("number_out_of_range", f"{word[:40]} is beyond the range of a 64-bit float", place)
    try:
        json.loads(text)
    except json.JSONDecodeError as fault:
        _refuse("syntax", fault.msg, Place(fault.lineno, fault.colno))
    except (ValueError, RecursionError) as fault:
        _refuse("syntax", str(fault))
    _refuse("syntax", str(error))


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


def _deep_place(text: str) -> Place:
    depth = 0
    for token in _TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth > MAX_JSON_DEPTH:
                return place_at(text, token.start())
        elif token[0] in "]}":
            depth -= 1
    return Place(1, 1)


def _second_key(text: str) -> Place | None:
    duplicates: list[Place] = []
    _walk(text, Places(), duplicates)
    return duplicates[0] if duplicates else None


def locate_json(text: str) -> Places:
    """The places of all values of a JSON text that is known to be valid."""
    places = Places()
    _walk(text, places, [])
    return places


def _walk(text: str, places: Places, duplicates: list[Place]) -> None:
    """Note where every value and key begins, and which keys stand twice in one object."""
    line, line_start = 1, 0
    # One entry for each open list or object: its pointer, the next index (or -1) and its keys.
    stack: list[tuple[str, list[int], set[str]]] = []
    key: str | None = None
    last = 0
    for token in _TOKEN.finditer(text):
        word, start = token[0], token.start()
        breaks = text.count("\n", last, start)
        if breaks:
            line += breaks
            line_start = text.rfind("\n", last, start) + 1
        last = start
        if word in ",:":
            continue
        if word in "]}":
            stack.pop()
            continue
        place = Place(line, start - line_start + 1)
        if stack and stack[-1][1][0] < 0 and key is None:
            key = sys.intern(str(json.loads(word)))
            pointer, _, keys = stack[-1]
            if key in keys:
                duplicates.append(place)
            keys.add(key)
            places.keys[f"{pointer}/{escape_pointer(key)}"] = place
            continue
        pointer = _next_pointer(stack, key)
        key = None
        places.values[pointer] = place
        if word in "[{":
            stack.append((pointer, [0 if word == "[" else -1], set()))


def _next_pointer(stack: list[tuple[str, list[int], set[str]]], key: str | None) -> str:
    if not stack:
        return ""
    pointer, index, _ = stack[-1]
    if key is not None:
        return f"{pointer}/{escape_pointer(key)}"
    index[0] += 1
    return f"{pointer}/{index[0] - 1}"
