"""Who waits for the end of an execution, and how he hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from perdure.base.clock import SECOND
from perdure.base.ids import id_text
from perdure.errors import ExecutionNotFound
from perdure.model.event import TERMINAL_TYPES, EventChunk
from perdure.model.states import TERMINAL
from perdure.store.interface import Store


class Ends:
    """Used on the loop only."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[bytes, list[asyncio.Future[None]]] = {}
        self._workspaces: dict[bytes, str] = {}
        self.on_first: Callable[[], object] = lambda: None
        """Called when somebody begins to wait while nobody did."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, id_: bytes) -> bool:
        return id_ in self._waiting

    async def wait(self, workspace: str, id_: bytes, timeout: int, *, is_fresh: bool) -> bool:
        """Whether the execution is terminal, at the latest after `timeout` microseconds. Raises `ExecutionNotFound`.

        `is_fresh`: it cannot have ended before this call.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        was_empty = not self._waiting
        waiters = self._waiting.setdefault(id_, [])
        waiters.append(future)
        self._workspaces[id_] = workspace
        if was_empty:
            self.on_first()
        try:
            if not is_fresh and await self._has_ended(workspace, id_):
                return True
            async with asyncio.timeout(timeout / SECOND):
                await future
        except TimeoutError:
            return False
        finally:
            waiters.remove(future)
            if not waiters and self._waiting.get(id_) is waiters:
                del self._waiting[id_], self._workspaces[id_]
        return True

    def publish(self, chunks: Iterable[EventChunk]) -> None:
        """Tell those who wait for what has ended with these."""
        if self._waiting:
            for chunk in chunks:
                if chunk.execution_id in self._waiting and any(event.type in TERMINAL_TYPES for event in chunk.events):
                    self._tell(chunk.execution_id)

    async def look(self) -> None:
        """Ends may have been missed: read the store for all of them."""
        by_workspace: dict[str, list[bytes]] = {}
        for id_, workspace in self._workspaces.items():
            by_workspace.setdefault(workspace, []).append(id_)
        for workspace, ids in by_workspace.items():
            for record in await self._store.executions.several(workspace, ids):
                if record.status in TERMINAL:
                    self._tell(record.id)

    async def _has_ended(self, workspace: str, id_: bytes) -> bool:
        record = await self._store.executions.get(workspace, id_)
        if record is None:
            raise ExecutionNotFound.of(id_text(id_))
        return record.status in TERMINAL

    def _tell(self, id_: bytes) -> None:
        for future in self._waiting.get(id_, ()):
            if not future.done():
                future.set_result(None)
