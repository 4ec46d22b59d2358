"""How two JSON values differ: a bounded list of places, each with what stood there and what stands there now."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from perdure.base.codec import Json, encode_text
from perdure.base.pointers import pointer_below

SHOWN = 1_000
"""Characters of JSON up to which a value is shown whole."""
MOST = 50
"""Places that are told of one pair of values."""


class Change(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class Difference(NamedTuple):
    """`pointer` is a JSON pointer (RFC 6901). A value whose JSON is longer than `SHOWN` characters is given as the
    beginning of its JSON text; then `is_cut` says so."""

    pointer: str
    change: Change
    before: Json
    after: Json
    is_cut: bool


def differences(before: Json, after: Json, *, most: int = MOST) -> tuple[list[Difference], bool]:
    """The first `most` places in which the values differ, and whether there are more.

    Objects are compared by member, lists by position. A number is equal to itself however it is written.
    """
    found: list[Difference] = []
    for pointer, change, old, new in _walk(before, after):
        if len(found) == most:
            return found, True
        old, old_cut = _shown(old)
        new, new_cut = _shown(new)
        found.append(Difference(pointer, change, old, new, old_cut or new_cut))
    return found, False


def _walk(before: Json, after: Json) -> Iterator[tuple[str, Change, Json, Json]]:
    open_ones: list[tuple[str, Change, Json, Json]] = [("", Change.CHANGED, before, after)]
    while open_ones:
        pointer, change, old, new = open_ones.pop()
        if change is not Change.CHANGED:
            yield pointer, change, old, new
        elif isinstance(old, dict) and isinstance(new, dict):
            open_ones += reversed(_members(pointer, old, new))
        elif isinstance(old, list) and isinstance(new, list):
            open_ones += reversed(_entries(pointer, old, new))
        elif isinstance(old, bool) is not isinstance(new, bool) or old != new:
            yield pointer, change, old, new


def _members(pointer: str, old: dict[str, Json], new: dict[str, Json]) -> list[tuple[str, Change, Json, Json]]:
    found: list[tuple[str, Change, Json, Json]] = []
    for name in (*old, *(name for name in new if name not in old)):
        place = pointer_below(pointer, name)
        if name not in new:
            found.append((place, Change.REMOVED, old[name], None))
        elif name not in old:
            found.append((place, Change.ADDED, None, new[name]))
        else:
            found.append((place, Change.CHANGED, old[name], new[name]))
    return found


def _entries(pointer: str, old: list[Json], new: list[Json]) -> list[tuple[str, Change, Json, Json]]:
    shared = min(len(old), len(new))
    found = [(f"{pointer}/{index}", Change.CHANGED, old[index], new[index]) for index in range(shared)]
    found += [(f"{pointer}/{index}", Change.REMOVED, old[index], None) for index in range(shared, len(old))]
    found += [(f"{pointer}/{index}", Change.ADDED, None, new[index]) for index in range(shared, len(new))]
    return found


def _shown(value: Json) -> tuple[Json, bool]:
    text = encode_text(value)
    return (value, False) if len(text) <= SHOWN else (text[:SHOWN], True)
