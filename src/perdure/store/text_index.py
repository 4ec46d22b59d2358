"""The index as its two stores share it: procedures over the tables `search_…`, run by what each database has for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from perdure.base.codec import decode, encode_text
from perdure.errors import StoreUnavailable
from perdure.store.reads.reader import Reader
from perdure.store.search.grams import spellings, trigrams_of
from perdure.store.search.records import IndexSnapshot, IndexState, OpenSegment, Segment
from perdure.store.search.segment import EVERY_GROUP, ID_BYTES, LAST_PART, SEGMENT, groups_with, members_of, part_of
from perdure.store.statements import All, Many, Procedure, T

FORMAT = "3"
"""Of what stands in the tables; an index of another one is made anew."""
GRAMS_AT_ONCE = 6
"""So many of a needle's trigrams are looked up in a round; what is left after it is worth the next."""
FEW_GROUPS = 4
"""So few groups of a chunk are rather looked into than narrowed down further."""

Tail = list[tuple[str, bytes]]
"""(workspace, execution)"""
Part = tuple[int, bytes]
"""(part, row)"""
Places = Mapping[int, tuple[int, int]]
"""By segment: its volume, and its place there."""


class IndexWriter(Protocol):
    async def __call__(self, procedure: Procedure[T]) -> T:
        """Run a procedure as one transaction, one at a time. Raises `StoreError`."""
        ...


class TextIndex:
    """`perdure.store.interface.TextIndex`; `holder` names this process among those that share the store."""

    def __init__(self, read: Reader, write: IndexWriter, *, holder: str) -> None:
        self._read = read
        self._write = write
        self._holder = holder

    async def state(self) -> IndexState | None:
        return await self._read(_state(), consistent=False)

    async def snapshot(self, workspace: str) -> IndexSnapshot:
        return await self._read(_snapshot(workspace), consistent=True)

    async def candidates(self, needles: Sequence[str], segments: Sequence[Segment], generation: str) -> list[bytes]:
        found = await self._read(_candidates(needles, segments, generation), consistent=True)
        if found is None:
            raise StoreUnavailable("the index of texts has just begun anew; search again")
        return found

    async def hold(self, lease: int) -> bool:
        """Whether this process may write, for `lease` microseconds from now."""
        return await self._write(_held(self._holder, lease))

    async def release(self) -> None:
        await self._write(_release(self._holder))

    async def begin(self, state: IndexState, lease: int) -> bool:
        """Empty the index and begin anew."""
        return await self._write(_begin(self._holder, lease, state))

    async def follow(self, state: IndexState, tail: Tail, lease: int) -> bool:
        """Note executions whose texts are new, and how far this is."""
        return await self._write(_follow(self._holder, lease, state, tail))

    async def tails(self) -> dict[str, int]:
        """How many executions wait for a segment, by workspace."""
        return await self._read(_tails())

    async def tail(self, workspace: str, limit: int) -> list[bytes]:
        """The oldest of them."""
        return await self._read(_tail(workspace, limit))

    async def open_segment(self, workspace: str) -> OpenSegment | None:
        """One that has room for more executions."""
        return await self._read(_open_segment(workspace), consistent=True)

    async def put_segment(
        self, workspace: str, ids: Sequence[bytes], parts: Sequence[Part], lease: int, *,
        extended: OpenSegment | None = None,
    ) -> bool:  # fmt: skip
        """A segment of these executions, which leave the tail; `ids` in the order of their groups.

        Or more executions for one that had room: `ids` are those, and `parts` of all.
        """
        return await self._write(_put_segment(self._holder, lease, workspace, ids, parts, extended))

    async def full_segments(self, workspace: str, limit: int) -> list[int]:
        """The first ones that are in no volume, by number."""
        return await self._read(_full_segments(workspace, limit))

    async def parts(self, segments: Sequence[int], first: int, last: int) -> list[tuple[int, int, bytes]]:
        """(segment, part, row) of segments that are in no volume."""
        return await self._read(_parts_between(segments, first, last))

    async def put_volume_parts(self, volume: int, parts: Sequence[Part], lease: int) -> bool:
        """Rows of a volume that no segment is in yet."""
        return await self._write(_put_volume_parts(self._holder, lease, volume, parts))

    async def put_volume(self, volume: int, segments: Sequence[int], lease: int) -> bool:
        """These segments are in it now, in these places."""
        return await self._write(_put_volume(self._holder, lease, volume, segments))

    async def forget(self, oldest: bytes, limit: int, lease: int) -> int:
        """Drop segments of which all executions are older than the oldest there is; returns how many."""
        return await self._write(_forget(self._holder, lease, oldest, limit))


def _state() -> Procedure[IndexState | None]:
    found: Mapping[str, str] = dict((yield All("search_state")))
    if found.get("format") != FORMAT:
        return None
    position = {int(writer): n for writer, n in decode(found["position"]).items()}
    return IndexState(
        position=position, built=found["built"], followed_at=int(found["followed_at"]),
        generation=found.get("generation", ""),
    )  # fmt: skip


def _rows_of(state: IndexState) -> list[tuple[str, str]]:
    position = encode_text({str(writer): n for writer, n in state.position.items()})
    return [
        ("format", FORMAT), ("position", position), ("built", state.built), ("followed_at", str(state.followed_at)),
        ("generation", state.generation),
    ]  # fmt: skip


def _snapshot(workspace: str) -> Procedure[IndexSnapshot]:
    state = yield from _state()
    tail = yield from _tail(workspace, 1 << 30)
    rows = yield All("search_segments", {"workspace": workspace})
    return IndexSnapshot(state, tail, [Segment(*row) for row in rows])


def _tail(workspace: str, limit: int) -> Procedure[list[bytes]]:
    rows = yield All("search_tail", {"workspace": workspace, "limit": limit})
    return [row[0] for row in rows]


def _tails() -> Procedure[dict[str, int]]:
    return dict((yield All("search_tail_sizes")))


def _held(holder: str, lease: int) -> Procedure[bool]:
    return bool((yield All("search_hold", {"holder": holder, "lease": lease})))


def _release(holder: str) -> Procedure[None]:
    yield All("search_release", {"holder": holder})


def _begin(holder: str, lease: int, state: IndexState) -> Procedure[bool]:
    if not (yield from _held(holder, lease)):
        return False
    yield All("search_clear")
    yield Many("search_state_put", _rows_of(state))
    return True


def _follow(holder: str, lease: int, state: IndexState, tail: Tail) -> Procedure[bool]:
    if not (yield from _held(holder, lease)) or not (yield from _is_still(state.generation)):
        return False
    if tail:
        yield Many("search_tail_put", tail)
    yield Many("search_state_put", _rows_of(state))
    return True


def _open_segment(workspace: str) -> Procedure[OpenSegment | None]:
    rows = yield All("search_segment_open", {"workspace": workspace, "size": SEGMENT})
    for number, members in rows:
        parts = yield from _parts_between([number], 0, LAST_PART)
        ids = [members[at : at + ID_BYTES] for at in range(0, len(members), ID_BYTES)]
        return OpenSegment(number, ids, [row for _, _, row in parts])
    return None


def _put_segment(
    holder: str, lease: int, workspace: str, ids: Sequence[bytes], parts: Sequence[Part], extended: OpenSegment | None
) -> Procedure[bool]:
    if not (yield from _held(holder, lease)):
        return False
    members = list(ids)
    if extended is None:
        number = (yield All("search_segments_end"))[0][0] + 1
    else:
        number, members = extended.number, [*extended.members, *ids]
        found = yield Many("search_members", [(number,)])
        if [members for _, members in found] != [b"".join(extended.members)]:
            return False
        yield Many("search_segments_drop", [(number,)])
        yield Many("search_parts_drop", [(number,)])
    segment = (number, workspace, min(members), max(members), b"".join(members), len(members), number, 0)
    yield Many("search_segments_put", [segment])
    if parts:
        yield Many("search_parts_put", [(number, part, grams) for part, grams in parts])
    yield Many("search_tail_drop", [(workspace, id) for id in ids])
    return True


def _full_segments(workspace: str, limit: int) -> Procedure[list[int]]:
    rows = yield All("search_segments_loose", {"workspace": workspace, "size": SEGMENT, "limit": limit})
    return [row[0] for row in rows]


def _parts_between(segments: Sequence[int], first: int, last: int) -> Procedure[list[tuple[int, int, bytes]]]:
    rows = yield Many("search_parts_between", [(segment, first, last) for segment in segments])
    return [(segment, part, grams) for segment, part, grams in rows]


def _put_volume_parts(holder: str, lease: int, volume: int, parts: Sequence[Part]) -> Procedure[bool]:
    if not (yield from _held(holder, lease)):
        return False
    if parts:
        yield Many("search_parts_put", [(volume, part, grams) for part, grams in parts])
    return True


def _put_volume(holder: str, lease: int, volume: int, segments: Sequence[int]) -> Procedure[bool]:
    if not (yield from _held(holder, lease)):
        return False
    rows = yield Many("search_places", [(segment,) for segment in segments])
    if {(segment, at) for segment, at, _ in rows} != {(segment, segment) for segment in segments}:
        return False
    yield Many("search_segments_move", [(segment, volume, place) for place, segment in enumerate(segments)])
    yield Many("search_parts_drop", [(segment,) for segment in segments])
    return True


def _forget(holder: str, lease: int, oldest: bytes, limit: int) -> Procedure[int]:
    if not (yield from _held(holder, lease)):
        return 0
    rows = yield All("search_segments_passed", {"oldest": oldest, "limit": limit})
    if rows:
        yield Many("search_segments_drop", [(number,) for number, _ in rows])
        volumes = {volume for _, volume in rows}
        used = yield Many("search_volumes_used", [(volume,) for volume in volumes])
        if unused := volumes - {row[0] for row in used}:
            yield Many("search_parts_drop", [(volume,) for volume in unused])
    return len(rows)


def _is_still(generation: str) -> Procedure[bool]:
    state = yield from _state()
    return state is not None and state.generation == generation


def _candidates(needles: Sequence[str], segments: Sequence[Segment], generation: str) -> Procedure[list[bytes] | None]:
    """None where these are segments of another generation."""
    if not (yield from _is_still(generation)):
        return None
    known = {one.number: one for one in segments}
    rows = (yield Many("search_places", [(number,) for number in known])) if known else []
    places = {number: (volume, place) for number, volume, place in rows}
    alive = dict.fromkeys(places, EVERY_GROUP)
    for needle in needles:
        found: dict[int, int] = {}
        for spelling in spellings(needle):
            for segment, groups in (yield from _narrowed(trigrams_of(spelling), alive, places)).items():
                found[segment] = found.get(segment, 0) | groups
        alive = found
    rows = (yield Many("search_members", [(segment,) for segment in alive])) if alive else []
    # A segment may have grown since: what it has more is in the tail that the snapshot has, or newer than it.
    return [
        id
        for segment, members in rows
        for id in members_of(alive[segment], members)
        if known[segment].first_id <= id <= known[segment].last_id
    ]


def _narrowed(grams: Sequence[int], alive: Mapping[int, int], places: Places) -> Procedure[dict[int, int]]:
    """The groups, as bits by segment, in which all these trigrams stand (or so few that it does not matter)."""
    left = dict(alive)
    for first in range(0, len(grams), GRAMS_AT_ONCE):
        looked_up = grams[first : first + GRAMS_AT_ONCE]
        wanted = {part_of(gram) for gram in looked_up}
        volumes = {places[segment][0] for segment in left}
        rows = yield Many("search_parts", [(volume, part) for volume in volumes for part in wanted])
        parts = {(volume, part): grams for volume, part, grams in rows}
        for gram in looked_up:
            found = {volume: groups_with(gram, parts.get((volume, part_of(gram)), b"")) for volume in volumes}
            for segment, groups in list(left.items()):
                volume, place = places[segment]
                left[segment] = groups & found[volume].get(place, 0)
                if not left[segment]:
                    del left[segment]
        if sum(groups.bit_count() for groups in left.values()) <= FEW_GROUPS:
            break
    return left
