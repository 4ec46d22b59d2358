"""Who listens to what is committed: chunks go from the recorder straight to subscribers in this process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

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

    def lag(self) -> None:
        """Chunks may have been missed: the reader has to read the store."""
        self._chunks.clear()
        self.lagged = True
        self._ready.set()

    def stir(self) -> None:
        """Wake the reader without a chunk."""
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
        self.on_first: Callable[[], object] = lambda: None
        """Called when somebody subscribes to all or to single executions while nobody did."""

    def subscribe(self, execution_id: bytes | None = None) -> Subscription:
        """To one execution, or to all with None. Close it, or use it as a context manager."""
        subscription = Subscription(self, execution_id)
        is_first = not (self._to_all if execution_id is None else self._by_execution)
        if execution_id is None:
            self._to_all.add(subscription)
        else:
            self._by_execution.setdefault(execution_id, set()).add(subscription)
        if is_first:
            self.on_first()
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

    @property
    def follows_single(self) -> bool:
        """Whether anybody is subscribed to single executions."""
        return bool(self._by_execution)

    def follows(self, execution_id: bytes) -> bool:
        return execution_id in self._by_execution

    def lag(self) -> None:
        """Those who are subscribed to single executions may have missed something."""
        for group in self._by_execution.values():
            for subscription in group:
                subscription.lag()

    def stir(self) -> None:
        """Something was committed that is not published here: wake those who are subscribed to all."""
        for subscription in self._to_all:
            subscription.stir()

    def bring(self, chunks: Iterable[EventChunk]) -> None:
        """What another process committed: to those who are subscribed to these executions."""
        for chunk in chunks:
            for subscription in self._by_execution.get(chunk.execution_id, ()):
                subscription.put(chunk)

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
