"""Rendered values that are stored before they are used, with the names of secrets in the place of their values.

While a value is sealed, expressions see a marker for each secret, which nothing but this sealing can know; texts in
which one turns up are noted as holes, in pieces. So a text that a user wrote is never taken for a secret's name.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from perdure.base.codec import Json


class Hole(msgspec.Struct, frozen=True, array_like=True):
    """A text that holds secrets: `path` leads to it, `pieces` are in turn literal text and a secret's name."""

    path: tuple[str | int, ...]
    pieces: tuple[str, ...]


class Seal:
    """Markers for one rendering."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted(names)
        self._nonce = secrets.token_hex(16)
        self.markers: dict[str, str] = {name: f"{self._nonce}.{at}." for at, name in enumerate(self._names)}
        """By name: what expressions see as the secret."""
        self._pattern = re.compile(rf"{self._nonce}\.(\d+)\.")

    def seal(self, value: Json) -> tuple[Json, list[Hole]]:
        """The value as it may be stored and shown, and its holes."""
        holes: list[Hole] = []
        return self._walked(value, (), holes) if self._names else value, holes

    def _walked(self, value: Json, path: tuple[str | int, ...], holes: list[Hole]) -> Json:
        if isinstance(value, str):
            if self._nonce not in value:
                return value
            pieces = self._pattern.split(value)
            pieces[1::2] = [self._names[int(index)] for index in pieces[1::2]]
            holes.append(Hole(path, tuple(pieces)))
            return "".join(f"${{secrets.{piece}}}" if at % 2 else piece for at, piece in enumerate(pieces))
        if isinstance(value, list):
            return [self._walked(item, (*path, at), holes) for at, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: self._walked(item, (*path, key), holes) for key, item in value.items()}
        return value


def missing(holes: Iterable[Hole], known: Mapping[str, str]) -> Iterator[str]:
    """Names of secrets that the holes need and nobody here knows."""
    return (name for hole in holes for name in hole.pieces[1::2] if name not in known)


def unsealed(value: Json, holes: Iterable[Hole], known: Mapping[str, str]) -> Json:
    """The value with its holes filled in; changes the value. Raises KeyError for a secret that is not known."""
    for hole in holes:
        text = "".join(known[piece] if at % 2 else piece for at, piece in enumerate(hole.pieces))
        if not hole.path:
            value = text
            continue
        inner = value
        for part in hole.path[:-1]:
            inner = inner[part]
        inner[hole.path[-1]] = text
    return value
