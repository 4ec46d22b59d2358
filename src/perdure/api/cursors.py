"""Opaque cursors: where a page or a stream goes on. Each names its kind and workspace, and is good for these alone."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from perdure.errors import InvalidCursor

CURSOR_LIMIT = 4_096
"""Characters of a cursor."""

R = TypeVar("R")
T = TypeVar("T")


def encode_cursor(kind: str, workspace: str, place: Any) -> str:
    data = msgspec.json.encode([kind, workspace, place])
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def cut_page(
    records: list[R], limit: int, kind: str, workspace: str, place: Callable[[R], Any]
) -> tuple[list[R], str | None]:
    """Of up to `limit` + 1 records the page, and the cursor behind it; None when nothing follows.

    `place` says of a record where it stands.
    """
    if len(records) <= limit:
        return records, None
    return records[:limit], encode_cursor(kind, workspace, place(records[limit - 1]))


def decode_cursor(text: str, kind: str, workspace: str, type: type[T]) -> T:
    """The place in a cursor that `encode_cursor` made for this kind and workspace. Raises InvalidCursor."""
    try:
        if len(text) > CURSOR_LIMIT:
            raise ValueError
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found_kind, found_workspace, place = msgspec.json.decode(data, type=tuple[str, str, type])  # type: ignore[valid-type]
        if not _is_storable(place):
            raise ValueError
    except (ValueError, binascii.Error, msgspec.DecodeError, RecursionError):
        raise InvalidCursor(f"{text[:60]!r} is no cursor of this server; take one that the same route gave") from None
    if (found_kind, found_workspace) != (kind, workspace):
        raise InvalidCursor("the cursor belongs to another list, order or workspace")
    return place


def decode_id_cursor(text: str | None, kind: str, workspace: str) -> bytes | None:
    """The id in a cursor whose place is an id's hex digits; None where there is no cursor. Raises InvalidCursor."""
    return None if text is None else place_id(decode_cursor(text, kind, workspace, str))


def place_id(hexed: str) -> bytes:
    """The id whose hex digits a place holds. Raises InvalidCursor."""
    try:
        found = bytes.fromhex(hexed)
    except ValueError:
        found = b""
    if len(found) != 16:
        raise InvalidCursor("the cursor is damaged; take one that the same route gave")
    return found


def _is_storable(place: Any) -> bool:
    """Whether a database takes it as a parameter: we make no cursor with NUL or a number beyond 64 bits."""
    if isinstance(place, list | tuple):
        return all(map(_is_storable, place))
    if isinstance(place, int):
        return -(2**63) <= place < 2**63
    return not isinstance(place, str) or "\0" not in place
