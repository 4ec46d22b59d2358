"""What the index tells of itself."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class IndexState(msgspec.Struct, frozen=True, kw_only=True):
    """How far the index is.

    `position`: the newest commit that was followed, by writer. `built`: of older executions, those from this id on are in
    (hex; empty when all are). `followed_at`: the time (microseconds) up to which all commits were followed. `generation`
    names the index, as long as it is not emptied or made anew: what was known of another one does not hold.
    """

    position: dict[int, int]
    built: str
    followed_at: int
    generation: str


class Segment(NamedTuple):
    number: int
    first_id: bytes
    last_id: bytes


class OpenSegment(NamedTuple):
    """One that has room. `members`: its executions, in the order of their groups; `rows`: of its parts."""

    number: int
    members: list[bytes]
    rows: list[bytes]


class IndexSnapshot(NamedTuple):
    """Of one moment, for one workspace: everything that is in the index is in a segment or in the tail."""

    state: IndexState | None
    tail: list[bytes]
    segments: list[Segment]
