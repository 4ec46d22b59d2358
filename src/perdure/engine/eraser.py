"""Deleting what has ended, from below, in portions that hold up nobody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence

from perdure.base.clock import SECOND, Clock
from perdure.engine.portion import Portion
from perdure.model.states import TERMINAL
from perdure.store.commands import Command, EraseExecutions, EraseHistory
from perdure.store.interface import Store
from perdure.store.recorder import Recorder
from perdure.store.records import Relative

LEAST = 60
MOST = 1_200
"""Of a portion, in events and executions, each of which stands for some rows."""
BUDGET_S = 0.003
"""What a portion may add to a batch."""
AN_EXECUTION = 6
"""Events, that deleting an execution costs besides those it has."""
LONG = 500
"""So much of one that is named goes before it does. What is no longer than that is there as a whole, or not at all."""
FAMILIES = 25
"""Whose members are in memory at once."""
PAUSE = 3
PAUSE_FOR_SOMEBODY = 1
"""Times as long as a portion took, others have the writer for themselves; where somebody waits for the deletion, less."""


class _Over(Exception):
    """The operation for which it is done does not go on."""


class Eraser:
    """One for each process."""

    def __init__(self, *, store: Store, recorder: Recorder, clock: Clock) -> None:
        self._store = store
        self._recorder = recorder
        self._clock = clock
        self._portion = Portion(recorder.stats, least=LEAST, most=MOST, budget_s=BUDGET_S)

    async def erase(self, roots: Sequence[bytes]) -> int:
        """Delete each with all below it, where all of them have ended; returns how many those were.

        What has ended starts nothing more and never changes, so that a look suffices. Raises `StoreError`: a part of
        them may be gone then, and of no family its upper part before its lower one.
        """
        erased = 0
        for first in range(0, len(roots), FAMILIES):
            families = await self._store.executions.families(roots[first : first + FAMILIES])
            ended = [family for family in families.values() if _has_ended(family)]
            erased += await self._erase(one for family in ended for one in reversed(family))
        return erased

    async def thin(self, workspace: str, ids: Sequence[bytes], *, operation: tuple[bytes, str] | None = None) -> None:
        """Before these are deleted in one transaction: what is too much for one goes before, where nothing is in the way
        of the deletion. For an operation (its id and holder), as long as it goes on. Raises `StoreError`.
        """
        records = await self._store.executions.several(workspace, ids)
        parents = [one.parent for one in records if one.parent is not None]
        above = await self._store.executions.several(workspace, parents) if parents else []
        living = {one.id for one in above if one.status not in TERMINAL}
        tops = [one.id for one in records if one.parent not in living]
        families = await self._store.executions.families(tops)
        if sum(_cost(one) for family in families.values() for one in family) <= LEAST:
            return
        if not all(_has_ended(family) for family in families.values()):
            # One that is named stands in a family of its own, and may be what is in the way of one above it.
            alone = [await self._store.executions.families([top]) for top in tops]
            families = {id: family for found in alone for id, family in found.items() if _has_ended(family)}
        with contextlib.suppress(_Over):
            for family in families.values():
                await self._erase(reversed(family[1:]), pause=PAUSE_FOR_SOMEBODY, operation=operation)
                if _cost(family[0]) > LONG:
                    await self._shorten(family[0], pause=PAUSE_FOR_SOMEBODY, operation=operation)

    async def _erase(
        self, members: Iterable[Relative], *, pause: int = PAUSE, operation: tuple[bytes, str] | None = None
    ) -> int:
        """What is below comes first."""
        erased = 0
        for portion in self._portions(members):
            if _cost(portion[0]) > 2 * self._portion.size:
                await self._shorten(portion[0], pause=pause, operation=operation)
            ids = [one.id for one in portion]
            command = EraseExecutions(at=self._clock.now(), ids=ids, operation=operation)
            erased += await self._timed(command, sum(map(_cost, portion)), pause=pause)
        return erased

    def _portions(self, members: Iterable[Relative]) -> Iterator[list[Relative]]:
        portion: list[Relative] = []
        cost = 0
        for one in members:
            if portion and cost + _cost(one) > self._portion.size:
                yield portion
                portion, cost = [], 0
            portion.append(one)
            cost += _cost(one)
        if portion:
            yield portion

    async def _shorten(self, one: Relative, *, pause: int, operation: tuple[bytes, str] | None) -> None:
        """A long history goes before the execution that has it."""
        is_left = 1
        while is_left:
            limit = self._portion.size
            command = EraseHistory(at=self._clock.now(), execution_id=one.id, limit=limit, operation=operation)
            is_left = await self._timed(command, limit, pause=pause)

    async def _timed(self, command: Command, cost: int, *, pause: int) -> int:
        began = self._clock.monotonic()
        answer: int | None = await self._recorder.execute(command)
        if answer is None:
            raise _Over
        self._portion.done(cost)
        took = self._clock.monotonic() - began
        await asyncio.sleep(pause * took / SECOND)
        return answer


def _has_ended(family: Iterable[Relative]) -> bool:
    return all(one.status in TERMINAL for one in family)


def _cost(one: Relative) -> int:
    return AN_EXECUTION + one.last_seq
