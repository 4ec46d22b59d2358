"""What a store that several processes share has besides, and how these let each other know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from perdure.base.clock import Clock


class Hint(msgspec.Struct, kw_only=True):
    """What processes on one store let each other know. Everything stands in the store: a hint only says where to look."""

    deliveries: list[tuple[str, bytes]] = []
    """(worker, execution) whose inbox got a message."""
    lines: list[str] = []
    """Of the queue, which got rows."""
    feed: dict[int, int] = {}
    """The newest commit with events, by writer; said while others follow."""
    follows: bool | None = None
    """True: the sender follows what others commit, and they are to say so; False: they are to stop, it is too much."""
    everything: bool = False
    """Hints may have been lost: look at all of it."""


class Pulse(Protocol):
    """Proves a worker's life on a connection of its own. Its calls block: they are for a thread that has no loop."""

    def beat(self, worker: str, *, within_s: float) -> bool:
        """False when the worker's row is gone or stopped. Raises `StoreError` when that cannot be told in the time."""
        ...

    def close(self) -> None: ...


class Signals(Protocol):
    """Carries hints between the processes on one store."""

    @property
    def is_live(self) -> bool:
        """Whether hints arrive; where they do not, everybody looks for himself."""
        ...

    async def start(self, heard: Callable[[Hint], None]) -> None:
        """Hear what others send; after each (re)connection `everything` is heard. Does not wait for the connection."""
        ...

    def send(self, hint: Hint) -> None:
        """Soon, together with what else is sent; never fails, never waits."""
        ...

    async def close(self) -> None: ...


class Sharing(Protocol):
    """What a store that several processes share has besides."""

    @property
    def signals(self) -> Signals: ...

    @property
    def clock(self) -> Clock:
        """The store's own clock, as far as it was heard: all who share the store go by it."""
        ...

    async def hear_clock(self) -> None:
        """Ask what time it is there; twice a minute. Raises `StoreError`."""
        ...

    def pulse(self) -> Pulse:
        """A new one, not connected yet."""
        ...

    async def make_partitions(self) -> int:
        """Prepare the tables for the weeks to come; about daily. Returns how many weeks are new. Raises `StoreError`."""
        ...

    async def drop_partitions(self, before: int) -> int:
        """Drop what is empty of weeks that ended before that time; returns how many weeks those were.

        What comes for such a week later finds its place all the same. Raises `StoreBusy` where others use the tables:
        nobody waits for it for longer than a moment, so it is to be tried again; `StoreError`.
        """
        ...
