"""What an error says of a word that is none of the known ones: the nearest, or all there are."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

LISTED = 60
"""Words up to which all are listed."""
LONGEST = 200
"""Characters of a word that is still compared: it takes time, and nobody misspells a longer one."""


def nearest_word(word: str, known: Iterable[str]) -> str | None:
    """The known word that is meant, of two as near the one with the same letters; None where none is near."""
    close = difflib.get_close_matches(word, list(known)) if len(word) <= LONGEST else []
    matcher = difflib.SequenceMatcher(b=word)

    def likeness(one: str) -> tuple[float, bool]:
        matcher.set_seq1(one)
        return matcher.ratio(), sorted(one) == sorted(word)

    return str(max(close, key=likeness)) if close else None


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` with the nearest known word, or nothing."""
    close = nearest_word(word, known)
    return f"; did you mean {close!r}?" if close is not None else ""


def nearest_or_all(word: str, known: Collection[str]) -> str:
    """As `nearest`; where none is near, `; known are a, b, c`, unless they are many."""
    hint = nearest(word, known)
    return hint or (f"; known are {', '.join(sorted(known))}" if 0 < len(known) <= LISTED else "")


def choices(word: str, options: Collection[str]) -> str:
    """The values of which one must be chosen, as text: all of them where they are few, else the nearest."""
    if len(options) <= LISTED:
        return ", ".join(options) + nearest(word, options)
    close = difflib.get_close_matches(word[:LONGEST], options, n=3, cutoff=0.0)
    return f"{len(options)} values, of which the nearest are {', '.join(close)}"
