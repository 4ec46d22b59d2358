"""All that a store reads, by aggregate, over whatever carries a read out."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.store.procedures.claim import load_execution
from perdure.store.reads.catalogue import StoredArtifacts, StoredContents, StoredFlows, StoredTokens, StoredWorkers
from perdure.store.reads.events import StoredEvents
from perdure.store.reads.executions import StoredExecutions
from perdure.store.reads.heads import StoredHeads
from perdure.store.reads.inbox import ping, unread_messages
from perdure.store.reads.node_runs import StoredNodeRuns
from perdure.store.reads.operations import StoredOperations
from perdure.store.reads.reader import Reader
from perdure.store.reads.waits import StoredWaits
from perdure.store.records import Claimed, Message
from perdure.store.statements import Library


class Aggregates:
    """The reading half of `perdure.store.interface.Store`; each kind of store adds how it writes."""

    def __init__(self, read: Reader, known: Library) -> None:
        self._read = read
        self.executions = StoredExecutions(read, known)
        self.node_runs = StoredNodeRuns(read)
        self.heads = StoredHeads(read)
        self.waits = StoredWaits(read)
        self.events = StoredEvents(read)
        self.flows = StoredFlows(read)
        self.artifacts = StoredArtifacts(read)
        self.operations = StoredOperations(read)
        self.contents = StoredContents(read)
        self.tokens = StoredTokens(read)
        self.workers = StoredWorkers(read)

    async def load(self, execution_id: bytes) -> Claimed | None:
        return await self._read(load_execution(execution_id), consistent=True)

    async def messages(self, execution_ids: Sequence[bytes]) -> dict[bytes, list[Message]]:
        return await self._read(unread_messages(execution_ids))

    async def ping(self) -> None:
        await self._read(ping())
