"""Public ids: UUIDv7 (RFC 9562), held as 16 bytes inside and printed as usual outside."""

from __future__ import annotations

from uuid import UUID

import uuid_utils


def new_id() -> bytes:
    """A fresh UUIDv7; ids made later in one process sort later."""
    return uuid_utils.uuid7().bytes


def id_text(value: bytes) -> str:
    """`018f…-….-7…`, the canonical 36 characters."""
    text = value.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def id_bytes(text: str) -> bytes:
    """Raises ValueError when the text is no UUID in its canonical form."""
    if len(text) != 36:
        raise ValueError(f"{text!r} is no id")
    return UUID(text).bytes


def id_time(value: bytes) -> int:
    """The creation time in an id, in microseconds (its precision is a millisecond)."""
    return int.from_bytes(value[:6]) * 1000


def id_floor(at: int) -> bytes:
    """The smallest id of that millisecond, for ranges by creation time."""
    return max(at // 1000, 0).to_bytes(6) + bytes(10)
