"""How contents that are not where they should be are told of."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.errors import ContentsMissing

SHOWN = 5
"""Of the missing ones, so many are named."""


def named(missing: Sequence[bytes], count: int) -> str:
    """`sha-256 …, …` of the first of `count`."""
    shown = ", ".join(sha256.hex() for sha256 in missing[:SHOWN])
    return f"sha-256 {shown}{', …' if count > SHOWN else ''}"


def contents_missing(place: object, missing: Sequence[bytes], *, count: int, total: int, verb: str) -> ContentsMissing:
    """`count` of `total` are missing, the first of them are named; `verb` says what one can do without them."""
    return ContentsMissing(
        f"{count} of {total} contents that rows of {place} refer to are not there: {named(missing, count)}. "
        f"Name the folder where they lie (--artifacts), or {verb} without them (--without-missing)",
        missing=count,
    )
