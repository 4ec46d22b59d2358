"""The part of a large value that a schema validator may be asked to explain.

A validator says in no time whether a value is right, but takes some 50 µs for each fault that it explains, and copies
what the fault stands in; that is the whole map for each of its names that is wrong. Millions of faults would keep the
process busy for minutes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from math import isqrt
from typing import Any

import msgspec

from perdure.base.codec import Json

_OF_MEMBERS = frozenset({"required", "additionalProperties", "minItems", "maxItems", "minProperties", "maxProperties"})
"""Keywords that look at which members a container has, and not into them."""

_SQUARES = 100
"""For each part: what the sizes of maps may come to when squared, where a schema has an opinion on names."""

Path = tuple[str | int, ...]


class Excerpt:
    """At most `parts` members of a value, those nearest to its root, to be explained by `schema`; strings are left whole.

    Attributes:
        value: the value itself where it is small.
        is_whole: whether nothing is missing.
    """

    def __init__(self, value: Json, schema: Any, *, parts: int) -> None:
        self._checks_names = b'"propertyNames"' in msgspec.json.encode(schema)
        self._cut: set[Path] = set()
        self._above_cut: set[Path] = set()
        self.value = self._taken(value, parts)
        self.is_whole = not self._cut
        if self.is_whole:
            self.value = value

    def is_true(self, keyword: str, path: Sequence[str | int]) -> bool:
        """Whether what the keyword finds at the path of the excerpt is true of the whole value."""
        place = tuple(path)
        if keyword == "type":
            return True
        return place not in (self._cut if keyword in _OF_MEMBERS else self._above_cut)

    def _taken(self, value: Json, left: int) -> Json:
        root = _shell(value)
        squares = left * _SQUARES
        containers: deque[tuple[Json, Json, Path]] = deque([(value, root, ())])
        while containers:
            source, copy, path = containers.popleft()
            if not isinstance(source, dict | list):
                continue
            taken = min(len(source), left)
            if self._checks_names and isinstance(source, dict):
                taken = min(taken, isqrt(squares))
                squares -= taken**2
            left -= taken
            if taken < len(source):
                self._leave_out(path)
            members = source.items() if isinstance(source, dict) else enumerate(source)
            for name, member in islice(members, taken):
                shell = _shell(member)
                if isinstance(copy, dict):
                    copy[name] = shell
                else:
                    copy.append(shell)
                if shell is not member:
                    containers.append((member, shell, (*path, name)))
        return root

    def _leave_out(self, path: Path) -> None:
        self._cut.add(path)
        for length in range(len(path), -1, -1):
            if path[:length] in self._above_cut:
                break
            self._above_cut.add(path[:length])


def _shell(value: Json) -> Json:
    """An empty container in the place of a container."""
    if isinstance(value, dict):
        return {}
    return [] if isinstance(value, list) else value
