"""Gap-free reading of events: the store first, then live from the hub, the store again after a lag."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import NamedTuple

from perdure.engine.hub import Hub
from perdure.model.event import TERMINAL_TYPES, Event, EventChunk
from perdure.model.states import TERMINAL
from perdure.store.interface import Store

PAGE_EVENTS = 500


class NumberedEvent(NamedTuple):
    execution_id: bytes
    workspace: str
    flow: str
    seq: int
    event: Event
    kind: str
    """Of the execution."""


def numbered(chunk: EventChunk, after_seq: int) -> list[NumberedEvent]:
    """The chunk's events behind `after_seq`, each with its number."""
    return [
        NumberedEvent(chunk.execution_id, chunk.workspace, chunk.flow, seq, event, chunk.kind)
        for seq, event in enumerate(chunk.events, chunk.first_seq)
        if seq > after_seq
    ]


async def execution_events(
    store: Store, hub: Hub, *, workspace: str, execution_id: bytes, after_seq: int = 0
) -> AsyncGenerator[list[NumberedEvent], None]:
    """Events of one execution behind `after_seq`, in order, without gap or double, as they are committed.

    Yields non-empty lists; ends behind the terminal event, or when the execution is gone.
    """
    position = after_seq
    with hub.subscribe(execution_id) as subscription:
        while True:
            subscription.caught_up()
            while True:
                chunks = await store.events.page(workspace, execution_id, position, PAGE_EVENTS)
                batch = [item for chunk in chunks for item in numbered(chunk, position)]
                if not batch:
                    break
                position = batch[-1].seq
                yield batch
                # A page that is not full is the last one; behind the end there may still be changes of tags.
                if _ends(batch) and len(batch) < PAGE_EVENTS:
                    return
            record = await store.executions.get(workspace, execution_id)
            if record is None or (record.status in TERMINAL and position >= record.last_seq):
                return
            while not subscription.lagged:
                await subscription.wait()
                batch = []
                for chunk in subscription.take():
                    if chunk.first_seq > position + 1:
                        subscription.lagged = True
                        break
                    batch += numbered(chunk, position)
                    position = max(position, chunk.last_seq)
                if batch:
                    yield batch
                    if _ends(batch):
                        return


def _ends(batch: list[NumberedEvent]) -> bool:
    return any(item.event.type in TERMINAL_TYPES for item in batch)
