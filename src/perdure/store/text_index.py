"""The index as its two stores share it: procedures over the tables `search_…`, run by what each database has for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from perdure.base.codec import decode, encode_text
from perdure.errors import StoreUnavailable
from perdure.store.reads.reader import Reader
from perdure.store.search.grams import spellings, trigrams_of
from perdure.store.search.records import IndexSnapshot, IndexState, Segment
from perdure.store.search.segment import EVERY_GROUP, groups_with, members_of, part_of
from perdure.store.statements import All, Many, Procedure, T

FORMAT = "1"
"""Of what stands in the tables; an index of another one is made anew."""
GRAMS_AT_ONCE = 6
"""So many of a needle's trigrams are looked up in a round; what is left after it is worth the next."""
FEW_GROUPS = 4
"""So few groups of a chunk are rather looked into than narrowed down further."""

Tail = list[tuple[str, bytes]]
"""(workspace, execution)"""


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
        found = await self._read(_candidates(needles, [one.number for one in segments], generation), consistent=True)
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

    async def put_segment(
        self, workspace: str, ids: Sequence[bytes], parts: Sequence[tuple[int, bytes]], lease: int
    ) -> bool:
        """A segment of these executions, which leave the tail; `ids` in the order of their groups."""
        return await self._write(_put_segment(self._holder, lease, workspace, ids, parts))

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


def _put_segment(
    holder: str, lease: int, workspace: str, ids: Sequence[bytes], parts: Sequence[tuple[int, bytes]]
) -> Procedure[bool]:
    if not (yield from _held(holder, lease)):
        return False
    number = (yield All("search_segments_end"))[0][0] + 1
    yield Many("search_segments_put", [(number, workspace, min(ids), max(ids), b"".join(ids))])
    if parts:
        yield Many("search_parts_put", [(number, part, grams) for part, grams in parts])
    yield Many("search_tail_drop", [(workspace, id) for id in ids])
    return True


def _forget(holder: str, lease: int, oldest: bytes, limit: int) -> Procedure[int]:
    if not (yield from _held(holder, lease)):
        return 0
    rows = yield All("search_segments_passed", {"oldest": oldest, "limit": limit})
    if rows:
        yield Many("search_segments_drop", rows)
    return len(rows)


def _is_still(generation: str) -> Procedure[bool]:
    state = yield from _state()
    return state is not None and state.generation == generation


def _candidates(
    needles: Sequence[str], segments: Sequence[int], generation: str
) -> Procedure[list[bytes] | None]:  # fmt: skip
    """None where these are segments of another generation."""
    if not (yield from _is_still(generation)):
        return None
    alive = dict.fromkeys(segments, EVERY_GROUP)
    for needle in needles:
        found: dict[int, int] = {}
        for spelling in spellings(needle):
            for segment, groups in (yield from _narrowed(trigrams_of(spelling), alive)).items():
                found[segment] = found.get(segment, 0) | groups
        alive = found
    rows = (yield Many("search_members", [(segment,) for segment in alive])) if alive else []
    return [id for segment, members in rows for id in members_of(alive[segment], members)]


def _narrowed(grams: Sequence[int], alive: Mapping[int, int]) -> Procedure[dict[int, int]]:
    """The groups, as bits by segment, in which all these trigrams stand (or so few that it does not matter)."""
    left = dict(alive)
    for first in range(0, len(grams), GRAMS_AT_ONCE):
        looked_up = grams[first : first + GRAMS_AT_ONCE]
        wanted = {part_of(gram) for gram in looked_up}
        rows = yield Many("search_parts", [(segment, part) for segment in left for part in wanted])
        parts = {(segment, part): grams for segment, part, grams in rows}
        for segment in list(left):
            for gram in looked_up:
                left[segment] &= groups_with(gram, parts.get((segment, part_of(gram)), b""))
            if not left[segment]:
                del left[segment]
        if sum(groups.bit_count() for groups in left.values()) <= FEW_GROUPS:
            break
    return left
