"""Trigrams: what is searched for, and what stands in a text, as sets of numbers.

A trigram is three bytes of the folded text in UTF-8, as the number b0 + 256 b1 + 65,536 b2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

SHORTEST = 3
"""Characters that a search must have at least."""
HEAD = 2_048
"""Characters of each field that are searched, from its beginning."""
_LAST = 0xFFFFFF
_SEPARATOR = b"\x00"


def folded(text: str) -> str:
    """As texts are compared: without regard to case."""
    return text.casefold()


def spellings(needle: str) -> list[str]:
    """How a text may stand in JSON, folded: as it is, or escaped as in a JSON string."""
    plain = folded(needle)
    escaped = folded(needle.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t"))
    return list(dict.fromkeys((plain, escaped)))


def trigrams_of(text: str) -> list[int]:
    """Of a needle, in an order in which each tells much: not one beside the other."""
    data = text.encode("utf-8", "surrogatepass")
    grams = [int.from_bytes(data[at : at + 3], "little") for at in range(len(data) - 2)]
    spread = [gram for step in range(3) for gram in grams[step::3]]
    return list(dict.fromkeys(spread))


def trigrams_in(texts: Sequence[str]) -> set[int]:
    """Of all these texts (and a few across their ends). Four bytes at a time go through C; Python sees them once each."""
    data = _SEPARATOR.join(text.encode("utf-8", "surrogatepass") for text in texts)
    if len(data) < SHORTEST:
        return set()
    view = memoryview(data)
    fours: set[int] = set()
    for start in range(4):
        length = (len(data) - start) // 4 * 4
        if length > 0:
            fours.update(view[start : start + length].cast("I"))
    if sys.byteorder == "big":
        fours = {int.from_bytes(four.to_bytes(4, "big"), "little") for four in fours}
    found = {four & _LAST for four in fours}
    found.add(int.from_bytes(data[-3:], "little"))
    return found
