"""A PostgreSQL as a number of cores that serve one transaction after the other, and may be away for a while."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heapreplace
from typing import NamedTuple

from scripts.scale.timeline import Timeline

REFUSED_S = 0.001
"""Until it is known that nobody listens there."""


class Costs(NamedTuple):
    """Core time of the server in seconds, the work of its backend alone (`python -m scripts.scale`)."""

    beat: float = 0.00014
    claim: float = 0.00017
    """When there is nothing."""
    claimed: float = 0.00009
    """For each execution that a claim takes."""
    timers: float = 0.00040
    rescue: float = 0.00017
    """When nobody is dead, without what follows."""
    alive: float = 0.0000005
    """For each worker that is alive, in a look for the dead."""
    interrupted: float = 0.00005
    """For each execution of a dead worker."""
    fold: float = 0.00032
    start: float = 0.00090
    end: float = 0.00120
    register: float = 0.00040
    connect: float = 0.00400


class Database:
    """First come, first served, by whichever core is free: in the mean as a real one, which serves all at a time."""

    def __init__(self, timeline: Timeline, *, cores: int, elsewhere: float = 0.0) -> None:
        """`elsewhere` is how many of the cores are taken by what is not simulated step by step."""
        self.cores = cores
        self.elsewhere = elsewhere
        self._slowness = cores / max(cores - elsewhere, 0.05 * cores)
        self.busy: dict[str, float] = {}
        self.served: dict[str, int] = {}
        self._timeline = timeline
        self._free_at = [0.0] * cores
        heapify(self._free_at)
        self._is_away = False
        self._boots = 0

    def ask(self, kind: str, cost: float, done: Callable[[bool], object]) -> None:
        """`done` is told whether it was committed, at the moment of its commit."""
        timeline = self._timeline
        if self._is_away:
            timeline.after(REFUSED_S, done, False)
            return
        end = max(timeline.now, self._free_at[0]) + cost * self._slowness
        heapreplace(self._free_at, end)
        timeline.after(end - timeline.now, self._finish, self._boots, kind, cost, done)

    def go_away(self, seconds: float) -> None:
        """A crash: what is being done is lost, and nobody answers until it is back."""
        self._is_away = True
        self._boots += 1
        self._timeline.after(seconds, self._come_back)

    def forget(self) -> None:
        """Count anew from here."""
        self.busy, self.served = {}, {}

    def _finish(self, boot: int, kind: str, cost: float, done: Callable[[bool], object]) -> None:
        self.busy[kind] = self.busy.get(kind, 0.0) + cost
        self.served[kind] = self.served.get(kind, 0) + 1
        done(boot == self._boots)

    def _come_back(self) -> None:
        self._is_away = False
        self._free_at = [self._timeline.now] * self.cores
