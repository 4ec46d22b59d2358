"""Reading events: of one execution by number, of all by the feed's positions."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from perdure.model.event import Event, EventChunk
from perdure.store.interface import FeedEntry
from perdure.store.procedures.context import LOGS, OTHERS
from perdure.store.reads.reader import Reader
from perdure.store.statements import All, Many, Procedure

_events = msgspec.json.Decoder(list[Event])
_entries = msgspec.json.Decoder(list[tuple[str, int, int, str]])

Span = tuple[bytes, int]
"""execution, first seq of a chunk"""


class StoredEvents:
    def __init__(self, read: Reader) -> None:
        self._read = read

    async def page(
        self, workspace: str, execution_id: bytes, after_seq: int, limit: int, *, logs_only: bool = False
    ) -> list[EventChunk]:
        """With `logs_only`, chunks that hold logs (and perhaps others)."""
        kinds = LOGS if logs_only else LOGS | OTHERS
        return await self._read(_page(workspace, execution_id, after_seq, limit, kinds), consistent=True)

    async def feed(self, workspace: str, after: dict[int, int], limit: int) -> list[tuple[int, int, list[EventChunk]]]:
        """At most `limit` commits of each writer, each execution's events in their order; those that brought the
        workspace nothing have no chunks."""
        return await self._read(_feed(workspace, after, limit), consistent=True)

    async def feed_end(self) -> dict[int, int]:
        return await self._read(_feed_end())

    async def commits(
        self, after: Mapping[int, int], limit: int, *, max_bytes: int | None = None
    ) -> list[tuple[int, int, list[FeedEntry]]]:
        return await self._read(_commits(after, limit, max_bytes))

    async def chunks(self, entries: Sequence[FeedEntry]) -> list[EventChunk]:
        return await self._read(_chunks(entries))


def chunk_of(row: Sequence[Any], after_seq: int = 0) -> EventChunk:
    """From the columns of the shape `chunk`, without the events up to `after_seq`."""
    id, workspace, flow, seq, body, kind = row
    skipped = max(after_seq + 1 - seq, 0)
    return EventChunk(id, workspace, flow, seq + skipped, tuple(_events.decode(body)[skipped:]), kind)


def _page(workspace: str, id: bytes, after_seq: int, limit: int, kinds: int) -> Procedure[list[EventChunk]]:
    spans = yield All(
        "event_spans", {"workspace": workspace, "id": id, "after": after_seq, "kinds": kinds, "limit": max(limit, 1)}
    )
    if not spans:
        return []
    count, last = 0, spans[0][0]
    for seq, last_seq in spans:
        count += last_seq - max(seq, after_seq + 1) + 1
        last = seq
        if count >= limit:
            break
    rows = yield All("event_chunks", {"id": id, "first": spans[0][0], "last": last, "kinds": kinds})
    return [chunk_of(row, after_seq) for row in rows]


def _feed_end() -> Procedure[dict[int, int]]:
    rows = yield All("feed_end")
    return dict(rows)


def _commits(
    after: Mapping[int, int], limit: int, max_bytes: int | None
) -> Procedure[list[tuple[int, int, list[FeedEntry]]]]:
    behind = [(writer, n, limit) for writer, n in sorted(after.items())]
    if behind and max_bytes is not None:
        share = max_bytes // len(behind)
        counts: Counter[int] = Counter()
        taken: Counter[int] = Counter()
        for writer, _, size in (yield Many("feed_sizes", behind)):
            taken[writer] += size
            # One at least, however long it is: whoever reads must get on.
            counts[writer] += taken[writer] <= share or taken[writer] == size
        behind = [(writer, n, counts[writer]) for writer, n, _ in behind if counts[writer]]
    return [
        (writer, n, [FeedEntry(bytes.fromhex(id), first, last, of) for id, first, last, of in _entries.decode(text)])
        for writer, n, text, _ in ((yield Many("feed_after", behind)) if behind else [])
    ]


def _chunks(entries: Sequence[FeedEntry]) -> Procedure[list[EventChunk]]:
    spans = [(entry.execution_id, entry.first_seq) for entry in entries]
    chunks = yield from _chunks_at(spans)
    return [chunks[span] for span in spans if span in chunks]


def _chunks_at(spans: Iterable[Span]) -> Procedure[dict[Span, EventChunk]]:
    """Those that are there."""
    wanted = sorted(set(spans))
    rows = (yield Many("event_chunks_at", wanted)) if wanted else []
    return {(row[0], row[3]): chunk_of(row) for row in rows}


def _feed(workspace: str, after: dict[int, int], limit: int) -> Procedure[list[tuple[int, int, list[EventChunk]]]]:
    end = yield from _feed_end()
    behind = [(writer, after.get(writer, 0), limit) for writer in sorted(end) if end[writer] > after.get(writer, 0)]
    commits: list[tuple[int, int, list[Span]]] = []
    rows = (yield Many("feed_after", behind)) if behind else []
    for writer, n, text, _ in rows if len(behind) < 2 else _told_of(rows, end):
        spans = [(bytes.fromhex(id), first) for id, first, _, owner in _entries.decode(text) if owner == workspace]
        commits.append((writer, n, spans))
    chunks = yield from _chunks_at(span for _, _, spans in commits for span in spans)
    ordered = commits if len(behind) < 2 else _interleaved(commits)
    return [(writer, n, [chunks[span] for span in spans if span in chunks]) for writer, n, spans in ordered]


def _told_of(rows: Sequence[Any], end: Mapping[int, int]) -> list[Any]:
    """Without what was committed later than where another writer's line is cut off: what comes before it may stand behind
    the cut."""
    last = {row[0]: row for row in rows}
    cut = [row for writer, row in last.items() if row[1] < end[writer]]
    if not cut:
        return list(rows)
    whole, _, _, until = min(cut, key=lambda row: row[3])
    kept: list[Any] = []
    held: set[int] = set()
    for row in rows:
        if row[0] != whole and row[3] > until:
            held.add(row[0])
        if row[0] not in held:
            kept.append(row)
    return kept


def _interleaved(commits: Sequence[tuple[int, int, list[Span]]]) -> list[tuple[int, int, list[Span]]]:
    """Each writer's in their order, and so that what one wrote of an execution comes behind what others had written of it."""
    lines: dict[int, deque[tuple[int, int, list[Span]]]] = {}
    left: dict[bytes, list[int]] = {}
    for commit in commits:
        lines.setdefault(commit[0], deque()).append(commit)
        for id, first in commit[2]:
            left.setdefault(id, []).append(first)
    for numbers in left.values():
        numbers.sort(reverse=True)
    ordered: list[tuple[int, int, list[Span]]] = []

    def take(line: deque[tuple[int, int, list[Span]]]) -> None:
        ordered.append(line.popleft())
        for id, first in ordered[-1][2]:
            left[id].remove(first)

    def is_next(spans: Sequence[Span]) -> bool:
        firsts: dict[bytes, int] = {}
        for id, first in spans:
            firsts[id] = min(first, firsts.get(id, first))
        return all(left[id][-1] == first for id, first in firsts.items())

    while lines:
        before = len(ordered)
        for line in lines.values():
            while line and is_next(line[0][2]):
                take(line)
        if len(ordered) == before:
            # Numbers that were given out twice, in a database that was restored: nobody is held up by them.
            take(next(iter(lines.values())))
        lines = {writer: line for writer, line in lines.items() if line}
    return ordered
