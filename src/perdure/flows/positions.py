"""Where the parts of a document stand: JSON pointer (RFC 6901) → line and column, both from 1."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    line: int
    column: int


class Places:
    """`values` hold where each value begins, `keys` where the key in front of it begins."""

    def __init__(self) -> None:
        self.values: dict[str, Place] = {}
        self.keys: dict[str, Place] = {}

    def find(self, pointer: str) -> Place:
        """The place of the value, or of the nearest one around it."""
        while pointer not in self.values:
            if not pointer:
                return Place(1, 1)
            pointer = pointer.rpartition("/")[0]
        return self.values[pointer]

    def find_key(self, pointer: str) -> Place:
        """The place of the member's key; for an item of a list that of its value."""
        return self.keys.get(pointer) or self.find(pointer)
