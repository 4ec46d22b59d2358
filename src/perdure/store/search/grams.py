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
_SEPARATOR = b"\x00"
_PLACES = range(4) if sys.byteorder == "little" else range(3, -1, -1)
"""Of a number's bytes in memory, the least first."""


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
    """Of all these texts (and a few across their ends). Each trigram is laid out as four bytes, so that C makes the numbers."""
    data = _SEPARATOR.join([text.encode("utf-8", "surrogatepass") for text in dict.fromkeys(texts)])
    count = len(data) - 2
    if count < 1:
        return set()
    laid_out = bytearray(4 * count)
    for byte in range(3):
        laid_out[_PLACES[byte] :: 4] = data[byte : byte + count]
    return set(memoryview(laid_out).cast("I"))
