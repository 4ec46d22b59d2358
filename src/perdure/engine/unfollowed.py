"""What the index of texts has still to follow."""

from __future__ import annotations

from typing import NamedTuple

from perdure.store.interface import FeedEntry, Store
from perdure.store.search.records import IndexState


class Unfollowed(NamedTuple):
    """Commits (writer, n, entries), the next ones of each writer; and whether there are more. `position` is the index's,
    without the writers that are forgotten."""

    position: dict[int, int]
    commits: list[tuple[int, int, list[FeedEntry]]]
    has_more: bool


async def unfollowed(store: Store, state: IndexState, limit: int, *, max_bytes: int) -> Unfollowed | None:
    """The commits that the index has not followed yet, at most `limit` of each writer and `max_bytes` of entries in all
    (but one of each writer at least); None where some are gone."""
    ends = await store.events.feed_end()
    behind = {writer: state.position.get(writer, 0) for writer, n in ends.items() if n > state.position.get(writer, 0)}
    if any(n > ends[writer] for writer, n in state.position.items() if writer in ends):
        return None
    commits = await store.events.commits(behind, limit, max_bytes=max_bytes) if behind else []
    following = {writer: n + 1 for writer, n in behind.items()}
    for writer, n, _ in commits:
        if n != following[writer]:
            return None
        following[writer] = n + 1
    position = {writer: n for writer, n in state.position.items() if writer in ends}
    return Unfollowed(position, commits, has_more=any(following[writer] <= ends[writer] for writer in behind))
