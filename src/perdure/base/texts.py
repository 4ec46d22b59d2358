"""Which texts every store can hold.

JSON escapes NUL, so a value, a log line or a message may hold one. A text that stands in a column by itself may not:
PostgreSQL has no NUL in text. Half of a surrogate pair is no character, and neither JSON nor a database takes it.
"""

from __future__ import annotations

import re

NO_NUL = r"^[^\x00]*$"
END = r"$(?!\n)"
"""The end of a pattern for msgspec: Python's `$` alone also stands before a last line break."""
UUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}" + END
"""The pattern of an id."""
_LONE = re.compile("[\ud800-\udfff]")


def recordable(text: str) -> str:
    """The text with U+FFFD in place of each half of a surrogate pair."""
    return text if text.isascii() else _LONE.sub("\ufffd", text)


def cut(text: str, limit: int) -> str:
    """At most `limit` characters; a text that was cut ends with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
