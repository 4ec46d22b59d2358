"""The write-ahead log of SQLite, as its format says (sqlite.org/fileformat2.html#the_write_ahead_log)."""

from __future__ import annotations

import struct
from typing import NamedTuple

HEADER = 32
FRAME_HEADER = 24


class Wal(NamedTuple):
    """`frames` are the offsets of all frames of the log's present generation, `commits` the offsets behind each
    frame that ends a transaction."""

    size: int
    frame_size: int
    frames: list[int]
    commits: list[int]

    def committed_before(self, offset: int) -> int:
        """The end of the last transaction that lies wholly before the offset; 0 when there is none."""
        return max((end for end in self.commits if end <= offset), default=0)


def read_wal(data: bytes) -> Wal:
    page_size, salts = struct.unpack_from(">I", data, 8)[0], data[16:24]
    frame_size = FRAME_HEADER + page_size
    frames, commits = [], []
    offset = HEADER
    while offset + frame_size <= len(data) and data[offset + 8 : offset + 16] == salts:
        frames.append(offset)
        [size_after] = struct.unpack_from(">I", data, offset + 4)
        offset += frame_size
        if size_after:
            commits.append(offset)
    return Wal(len(data), frame_size, frames, commits)
