"""Who listens to what is committed: chunks go from the recorder straight to subscribers in this process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from perdure.model.event import EventChunk

BUFFERED_CHUNKS = 256
"""Chunks kept for one subscriber; whoever falls further behind reads on from the store."""


class Subscription:
    """A bounded mailbox. `lagged` says that chunks were dropped: the reader has to read the store again."""

    __slots__ = ("_chunks", "_hub", "_ready", "execution_id", "lagged")

    def __init__(self, hub: Hub, execution_id: bytes | None) -> None:
        self._hub = hub
        self._chunks: deque[EventChunk] = deque()
        self._ready = asyncio.Event()
        self.execution_id = execution_id
        self.lagged = False

    def put(self, chunk: EventChunk) -> None:
        if len(self._chunks) >= BUFFERED_CHUNKS:
            self._chunks.clear()
            self.lagged = True
        if not self.lagged:
            self._chunks.append(chunk)
        self._ready.set()

    def take(self) -> list[EventChunk]:
        """What has come since the last call; empty and not waiting when there is nothing."""
        chunks = list(self._chunks)
        self._chunks.clear()
        self._ready.clear()
        return chunks

    def caught_up(self) -> None:
        """The reader is about to read the store: what is dropped from here on counts as lag again."""
        self._chunks.clear()
        self._ready.clear()
        self.lagged = False

    async def wait(self) -> None:
        """Return when there is something to take (or a lag to mend)."""
        await self._ready.wait()

    def close(self) -> None:
        self._hub.unsubscribe(self)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Hub:
    """All subscriptions of the process; used on the loop only."""

    def __init__(self) -> None:
        self._by_execution: dict[bytes, set[Subscription]] = {}
        self._to_all: set[Subscription] = set()

    def subscribe(self, execution_id: bytes | None = None) -> Subscription:
        """To one execution, or to all with None. Close it, or use it as a context manager."""
        subscription = Subscription(self, execution_id)
        if execution_id is None:
            self._to_all.add(subscription)
        else:
            self._by_execution.setdefault(execution_id, set()).add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        if subscription.execution_id is None:
            self._to_all.discard(subscription)
            return
        group = self._by_execution.get(subscription.execution_id)
        if group is not None:
            group.discard(subscription)
            if not group:
                del self._by_execution[subscription.execution_id]

    def publish(self, chunks: Iterable[EventChunk]) -> None:
        by_execution = self._by_execution
        to_all = self._to_all
        if not by_execution and not to_all:
            return
        for chunk in chunks:
            for subscription in by_execution.get(chunk.execution_id, ()):
                subscription.put(chunk)
            for subscription in to_all:
                subscription.put(chunk)

    def __len__(self) -> int:
        return len(self._to_all) + sum(map(len, self._by_execution.values()))
