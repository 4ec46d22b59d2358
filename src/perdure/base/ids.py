"""Public ids: UUIDv7 (RFC 9562), held as 16 bytes inside and printed as usual outside."""

from __future__ import annotations

import re
import secrets

import uuid_utils

from perdure.base.texts import UUID

FIRST_ID, LAST_ID = bytes(16), b"\xff" * 16
"""No id sorts before the one or behind the other."""
_NEAR = 1 << 90
"""About a second, in the number that an id is."""
_VARIANT = 0b10
_CANONICAL = re.compile(UUID)


class _Ids:
    def __init__(self) -> None:
        self._newest = 0

    def make(self, at: int | None = None) -> bytes:
        """A fresh UUIDv7 of that time (microseconds; None: by this machine's clock).

        Ids made later in one process sort later, also while its clock stands still or is set back a little (RFC 9562,
        section 6.2, method 2).
        """
        number = (uuid_utils.uuid7() if at is None else uuid_utils.uuid7(nanoseconds=at * 1000)).int
        if 0 <= self._newest - number < _NEAR:
            number = self._newest + 1 + secrets.randbits(32)
            if number >> 62 & 0b11 != _VARIANT:
                # So many in one millisecond that its numbers are used up: on to the next one.
                return self.make(((self._newest >> 80) + 1) * 1000)
        self._newest = number
        return number.to_bytes(16)


new_id = _Ids().make


def id_text(value: bytes) -> str:
    """`018f…-….-7…`, the canonical 36 characters."""
    text = value.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def id_bytes(text: str) -> bytes:
    """Raises ValueError when the text is no UUID in its canonical form."""
    if not is_id(text):
        raise ValueError(f"{text[:60]!r} is no id")
    return bytes.fromhex(text.replace("-", ""))


def is_id(text: str) -> bool:
    """Whether it is a UUID in its canonical form, in letters of either case."""
    return _CANONICAL.match(text) is not None


def id_time(value: bytes) -> int:
    """The creation time in an id, in microseconds (its precision is a millisecond)."""
    return int.from_bytes(value[:6]) * 1000


def id_floor(at: int) -> bytes:
    """The smallest id of that millisecond, for ranges by creation time."""
    return max(at // 1000, 0).to_bytes(6) + bytes(10)
