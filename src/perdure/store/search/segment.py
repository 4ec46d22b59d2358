"""A segment: up to 2,048 executions in 128 groups, and for each trigram the groups in which it stands, as bits.

The trigrams are spread over parts, each a row. A search reads the few parts that its trigrams are in. Full segments are
merged into volumes, so that it reads few rows however many segments there are: a row of a volume holds what the rows of
its segments held, and which segment each of it is of, by its place in the volume.

A row, little-endian: its trigrams in order (four bytes each, once for each segment), their places (a byte each), their
groups (sixteen bytes each).
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from perdure.store.search.grams import trigrams_in

GROUPS = 128
GROUP = 16
"""Executions in a group; a search looks into each of them."""
SEGMENT = GROUPS * GROUP
VOLUME = 64
"""Segments in a volume."""
LAST_PART = 1_023
ID_BYTES = 16
EVERY_GROUP = (1 << GROUPS) - 1
_BITS_BYTES = GROUPS // 8
_ENTRY_BYTES = 4 + 1 + _BITS_BYTES

Entry = tuple[int, int, bytes]
"""(trigram, place, groups as bits)"""


def part_of(gram: int) -> int:
    """Of 0 to `LAST_PART`. Fibonacci hashing (Knuth, TAOCP 6.4): the bytes of texts are few."""
    return (gram * 0x9E3779B1 & 0xFFFFFFFF) >> 22


class SegmentBuilder:
    """Takes the texts of one group after the other, in the order of their executions."""

    def __init__(self, rows: Iterable[bytes] = (), groups: int = 0) -> None:
        """Begun anew, or with the rows of a segment that has so many groups."""
        self._groups = {gram: int.from_bytes(bits, "little") for row in rows for gram, _, bits in entries(row)}
        self._count = groups
        self._group: set[int] = set()

    def add(self, texts: Sequence[str]) -> None:
        """Folded texts of executions of the group that is begun."""
        self._group |= trigrams_in(texts)

    def end_group(self) -> None:
        """Up to `GROUP` executions are in it."""
        bit = 1 << self._count
        groups = self._groups
        for gram in self._group:
            groups[gram] = groups.get(gram, 0) | bit
        self._count += 1
        self._group.clear()

    def parts(self) -> Iterator[tuple[int, bytes]]:
        """(part, its row)."""
        spread: defaultdict[int, list[Entry]] = defaultdict(list)
        for gram, groups in self._groups.items():
            spread[part_of(gram)].append((gram, 0, groups.to_bytes(_BITS_BYTES, "little")))
        for part, found in sorted(spread.items()):
            yield part, _row(found)


def merged(rows: Mapping[int, bytes]) -> bytes:
    """The row of a volume, from those of its segments by their places."""
    return _row([(gram, place, groups) for place, row in rows.items() for gram, _, groups in entries(row)])


def entries(row: bytes) -> Iterator[Entry]:
    """In order."""
    count = len(row) // _ENTRY_BYTES
    numbers = struct.unpack_from(f"<{count}I{count}B", row)
    groups = [row[at : at + _BITS_BYTES] for at in range(5 * count, len(row), _BITS_BYTES)]
    return zip(numbers[:count], numbers[count:], groups, strict=True)


def _row(found: list[Entry]) -> bytes:
    count = len(found)
    grams, places, groups = zip(*sorted(found), strict=True)
    return struct.pack(f"<{count}I{count}B", *grams, *places) + b"".join(groups)


def groups_with(gram: int, row: bytes) -> dict[int, int]:
    """The groups in which the trigram stands, as bits, by place."""
    count = len(row) // _ENTRY_BYTES

    def at(index: int) -> int:
        return int.from_bytes(row[4 * index : 4 * index + 4], "little")

    def bits(index: int) -> int:
        begin = 5 * count + _BITS_BYTES * index
        return int.from_bytes(row[begin : begin + _BITS_BYTES], "little")

    first = bisect_left(range(count), gram, key=at)
    end = bisect_left(range(count), gram + 1, lo=first, key=at)
    return {row[4 * count + index]: bits(index) for index in range(first, end)}


def members_of(groups: int, members: bytes) -> list[bytes]:
    """The ids of the executions in these groups."""
    found = []
    for group in range(GROUPS):
        if groups >> group & 1:
            chunk = members[group * GROUP * ID_BYTES : (group + 1) * GROUP * ID_BYTES]
            found += [chunk[at : at + ID_BYTES] for at in range(0, len(chunk), ID_BYTES)]
    return found
