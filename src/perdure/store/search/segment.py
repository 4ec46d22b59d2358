"""A segment: up to 2,048 executions in 64 groups, and for each trigram the groups in which it stands, as bits.

The trigrams are spread over parts, each a row: its trigrams in order (four bytes each), then their groups (eight
bytes each), little-endian. A search reads the few parts that its trigrams are in.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence

from perdure.store.search.grams import trigrams_in

GROUPS = 64
GROUP = 32
"""Executions in a group; a search looks into each of them."""
SEGMENT = GROUPS * GROUP
PARTS = 1_024
ID_BYTES = 16
EVERY_GROUP = (1 << GROUPS) - 1


def part_of(gram: int) -> int:
    """Fibonacci hashing (Knuth, TAOCP 6.4): the bytes of texts are few."""
    return (gram * 0x9E3779B1 & 0xFFFFFFFF) >> 22


class SegmentBuilder:
    """Takes the texts of one group after the other, in the order of their executions."""

    def __init__(self) -> None:
        self._groups: dict[int, int] = {}
        self._count = 0

    def add_group(self, texts: Sequence[str]) -> None:
        """All folded texts of up to `GROUP` executions."""
        bit = 1 << self._count
        groups = self._groups
        for gram in trigrams_in(texts):
            groups[gram] = groups.get(gram, 0) | bit
        self._count += 1

    def parts(self) -> Iterator[tuple[int, bytes]]:
        """(part, its row's bytes)."""
        spread: defaultdict[int, list[int]] = defaultdict(list)
        for gram in self._groups:
            spread[part_of(gram)].append(gram)
        for part, grams in sorted(spread.items()):
            grams.sort()
            count = len(grams)
            yield part, struct.pack(f"<{count}I{count}Q", *grams, *(self._groups[gram] for gram in grams))


def groups_with(gram: int, part: bytes) -> int:
    """The groups in which the trigram stands, as bits, by the row of its part."""
    count = len(part) // 12
    grams = struct.unpack_from(f"<{count}I", part)
    at = bisect_left(grams, gram)
    if at == count or grams[at] != gram:
        return 0
    found: int = struct.unpack_from("<Q", part, 4 * count + 8 * at)[0]
    return found


def members_of(groups: int, members: bytes) -> list[bytes]:
    """The ids of the executions in these groups."""
    found = []
    for group in range(GROUPS):
        if groups >> group & 1:
            chunk = members[group * GROUP * ID_BYTES : (group + 1) * GROUP * ID_BYTES]
            found += [chunk[at : at + ID_BYTES] for at in range(0, len(chunk), ID_BYTES)]
    return found
