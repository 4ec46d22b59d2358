"""The queue table of the simulated store: lines by workspace, claimed from by the engine's own procedure."""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Generator
from typing import Any

from perdure.store.commands import ClaimExecutions
from perdure.store.procedures import claim
from perdure.store.statements import All

QUEUE = "default"
Entry = tuple[float, int]
"""Rank and execution."""


class Queue:
    """Entries by workspace, best rank first."""

    def __init__(self, seed: int) -> None:
        self._lines: dict[str, list[Entry]] = {}
        self._length = 0
        # The procedure draws from the module's own generator.
        random.seed(seed)

    def __len__(self) -> int:
        return self._length

    def put(self, workspace: str, rank: float, execution: int) -> None:
        insort(self._lines.setdefault(workspace, []), (rank, execution))
        self._length += 1

    def take(self, limit: int) -> list[int]:
        """What a claim of at most that many gets, and removes."""
        if not self._length:
            return []
        command = ClaimExecutions(at=0, worker="", queues=None, limit=limit)
        chosen: Generator[Any, Any, list[Any]] = claim._best(command, [(QUEUE, workspace) for workspace in self._lines])
        where: dict[int, tuple[str, Entry]] = {}
        ids: list[int] = []
        try:
            request = next(chosen)
            while True:
                request = chosen.send(self._answer(request, where))
        except StopIteration as done:
            ids = done.value
        for id in ids:
            workspace, entry = where[id]
            line = self._lines[workspace]
            del line[bisect_left(line, entry)]
            if not line:
                del self._lines[workspace]
        self._length -= len(ids)
        return ids

    def _answer(self, request: All, where: dict[int, tuple[str, Entry]]) -> list[tuple[Any, ...]]:
        assert request.name == "queue_head"
        workspace, rank, id = (request.params[name] for name in ("workspace", "rank", "id"))
        line = self._lines[workspace]
        begin = 0 if isinstance(id, bytes) else bisect_left(line, (rank, id)) + 1
        entries = line[begin : begin + request.params["limit"]]
        where.update((entry[1], (workspace, entry)) for entry in entries)
        return entries
