"""Which commits are worth a hint: those that somebody follows, as long as they are few.

A hint is heard by every process, so hints of all commits of n busy processes cost n². They are sent only while a
process asks for them; and one that is told more often than it would look says that it is enough
(`perdure.engine.follower`).
"""

from __future__ import annotations

from perdure.base.clock import SECOND, Clock

BELIEVED = 10 * SECOND
"""For how long a process that asked is taken to follow."""
ASKED_AGAIN = 3 * SECOND
"""How often it asks."""
_LATELY = 2 * SECOND
"""What was committed before was seen by whoever began to follow; what came after crossed with the asking."""
TOLD_MOST = 150
"""Hints in a window: with more, looking is cheaper."""
FOUND_LEAST = 0.25
"""Of the looks in a window: with fewer, being told is cheaper."""
WINDOW = SECOND


class Demand:
    """What a process tells of its own commits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked_at: int | None = None
        self._kept: tuple[dict[int, int], int] = {}, 0

    def asked(self) -> dict[int, int]:
        """Somebody follows. Returns what he is to be told at once: the newest commit, by writer."""
        now = self._clock.monotonic()
        self._asked_at = now
        (kept, kept_at), self._kept = self._kept, ({}, 0)
        return kept if now - kept_at < _LATELY else {}

    def sated(self) -> None:
        """Somebody is told of too much; who followed knows that he has to look."""
        self._asked_at = None

    def told(self, feed: dict[int, int]) -> dict[int, int]:
        """A commit, by writer; returns what of it is to be said."""
        now = self._clock.monotonic()
        if self._asked_at is not None and now - self._asked_at < BELIEVED:
            return feed
        self._kept = feed, now
        return {}


class Attention:
    """Whether a process that follows is told of commits, or looks for them itself."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = clock.monotonic() + WINDOW
        self._told = self._looks = self._finds = 0
        self.looks = False

    def told(self) -> bool:
        """A hint of a commit came; whether that was one too many."""
        self._turn()
        self._told += 1
        self.looks = self._told > TOLD_MOST
        return self.looks

    def looked(self, *, found: bool, unhinted: bool) -> None:
        """It has looked for commits; `unhinted`: as nothing tells of them."""
        self._looks += 1
        self._finds += found
        self.looks |= found and unhinted
        self._turn()

    def _turn(self) -> None:
        """A window may be over."""
        now = self._clock.monotonic()
        if now >= self._until:
            if self._looks and self._finds < FOUND_LEAST * self._looks:
                self.looks = False
            self._until = now + WINDOW
            self._told = self._looks = self._finds = 0
