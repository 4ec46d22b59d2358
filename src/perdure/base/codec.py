"""JSON in and out, by msgspec, with the limits that hold everywhere."""

from __future__ import annotations

import hashlib
import math
import re
from array import array
from itertools import accumulate
from typing import Any

import msgspec

INLINE_LIMIT = 64 * 1024
"""Bytes up to which a value is kept in its row; larger ones go to blob storage."""
VALUE_LIMIT = 8 * 1024 * 1024
"""Bytes that one value (input, output, an error) may have as JSON."""
DEPTH_LIMIT = 200
"""Levels of lists and objects in one JSON text: what walks a value level by level must come to its end."""
DIGITS_LIMIT = 4_300
"""Digits of an integer: what Python makes a number of, and msgspec with it."""

Json = Any
"""A JSON value: dict with text keys, list, str, int, float, bool, None."""

_encoder = msgspec.json.Encoder()
_ordered = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder()
_STRING = re.compile(rb'"(?:[^"\\]+|\\.)*"', re.DOTALL)
_ALL_BUT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[{]}")
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
"""An opening bracket is a step of 1, a closing one of -1 (as a signed byte)."""


def encode(value: Any) -> bytes:
    return _encoder.encode(value)


def encode_text(value: Any) -> str:
    return _encoder.encode(value).decode()


def decode(data: bytes | str) -> Json:
    """Raises msgspec.DecodeError with the place of the fault."""
    return _decoder.decode(data)


def is_too_deep(data: bytes) -> bool:
    """Whether JSON is nested deeper than `DEPTH_LIMIT`."""
    if data.count(b"[") + data.count(b"{") <= DEPTH_LIMIT:
        return False
    steps = array("b", _STRING.sub(b"", data).translate(_STEPS, _ALL_BUT_BRACKETS))
    return max(accumulate(steps), default=0) > DEPTH_LIMIT


def holds_non_finite(value: Any, data: bytes) -> bool:
    """Whether NaN or an infinity is in a value that was encoded as `data`, where it stands as null."""
    if b"null" not in data:
        return False
    open_ones = [value]
    while open_ones:
        one = open_ones.pop()
        if isinstance(one, float):
            if not math.isfinite(one):
                return True
        elif isinstance(one, dict):
            open_ones += one.values()
        elif isinstance(one, list | tuple):
            open_ones += one
    return False


def content_hash(value: Any) -> str:
    """sha-256 (hex) of the value's JSON with sorted keys: equal for equal content."""
    return hashlib.sha256(_ordered.encode(value)).hexdigest()
