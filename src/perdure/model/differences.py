"""How two JSON values differ: a bounded list of places, each with what stood there and what stands there now."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from perdure.base.codec import Json, encode_text
from perdure.base.pointers import pointer_of

SHOWN = 1_000
"""Characters of JSON up to which a value is shown whole."""
MOST = 50
"""Places that are told of one pair of values."""
_POINTERS = 1_000_000
"""Characters of their pointers together."""


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
    room = _POINTERS
    for path, change, old, new in _walk(before, after):
        pointer = path.pointer() if path is not None else ""
        room -= len(pointer)
        if len(found) == most or (found and room < 0):
            return found, True
        old, old_cut = _shown(old)
        new, new_cut = _shown(new)
        found.append(Difference(pointer, change, old, new, old_cut or new_cut))
    return found, False


class _Path(NamedTuple):
    """Where a part stands. No pointer before it is asked for: a long key would stand in that of each part below it."""

    around: _Path | None
    step: str | int

    def pointer(self) -> str:
        steps = []
        path: _Path | None = self
        while path is not None:
            steps.append(path.step)
            path = path.around
        return pointer_of(reversed(steps))


_Compared = tuple[_Path | None, Change, Json, Json]


def _walk(before: Json, after: Json) -> Iterator[_Compared]:
    open_ones: list[_Compared] = [(None, Change.CHANGED, before, after)]
    while open_ones:
        path, change, old, new = open_ones.pop()
        if change is not Change.CHANGED:
            yield path, change, old, new
        elif isinstance(old, dict) and isinstance(new, dict):
            open_ones += reversed(_members(path, old, new))
        elif isinstance(old, list) and isinstance(new, list):
            open_ones += reversed(_entries(path, old, new))
        elif isinstance(old, bool) is not isinstance(new, bool) or old != new:
            yield path, change, old, new


def _members(path: _Path | None, old: dict[str, Json], new: dict[str, Json]) -> list[_Compared]:
    found: list[_Compared] = []
    for name in (*old, *(name for name in new if name not in old)):
        place = _Path(path, name)
        if name not in new:
            found.append((place, Change.REMOVED, old[name], None))
        elif name not in old:
            found.append((place, Change.ADDED, None, new[name]))
        else:
            found.append((place, Change.CHANGED, old[name], new[name]))
    return found


def _entries(path: _Path | None, old: list[Json], new: list[Json]) -> list[_Compared]:
    shared = min(len(old), len(new))
    found: list[_Compared] = [(_Path(path, index), Change.CHANGED, old[index], new[index]) for index in range(shared)]
    found += [(_Path(path, index), Change.REMOVED, old[index], None) for index in range(shared, len(old))]
    found += [(_Path(path, index), Change.ADDED, None, new[index]) for index in range(shared, len(new))]
    return found


def _shown(value: Json) -> tuple[Json, bool]:
    text = encode_text(value)
    return (value, False) if len(text) <= SHOWN else (text[:SHOWN], True)
