"""Where the parts of a document stand: JSON pointer (RFC 6901) → line and column, both from 1."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    line: int
    column: int


class Spot:
    """One part: where it begins, where the key in front of it begins, and its own parts.

    A tree and no map from pointers: a long key is in the pointer of every part below it.
    """

    __slots__ = ("key", "parts", "value")

    def __init__(self) -> None:
        self.value: Place | None = None
        self.key: Place | None = None
        self.parts: dict[str | int, Spot] | None = None

    def part(self, step: str | int) -> Spot:
        """That of a member (its key) or an item (its index), made when it is first asked for."""
        if self.parts is None:
            self.parts = {}
        found = self.parts.get(step)
        if found is None:
            found = self.parts[step] = Spot()
        return found


class Places:
    def __init__(self) -> None:
        self.root = Spot()

    def find(self, pointer: str) -> Place:
        """The place of the value, or of the nearest one around it."""
        return self._nearest(pointer)[0]

    def find_key(self, pointer: str) -> Place:
        """The place of the member's key; for an item of a list that of its value."""
        place, spot = self._nearest(pointer)
        return place if spot is None or spot.key is None else spot.key

    def _nearest(self, pointer: str) -> tuple[Place, Spot | None]:
        """The place of the value or of the nearest one around it, and the spot if it is there."""
        spot = self.root
        place = spot.value or Place(1, 1)
        for escaped in pointer.split("/")[1:]:
            step = escaped.replace("~1", "/").replace("~0", "~")
            parts = spot.parts or {}
            inner = parts.get(step) or (parts.get(int(step)) if step.isdecimal() and len(step) < 10 else None)
            if inner is None:
                return place, None
            spot, place = inner, inner.value or place
        return place, spot
