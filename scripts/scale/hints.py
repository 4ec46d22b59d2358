"""Hints of commits among busy processes: how many are sent and heard, and how soon a follower sees a commit.

What is asked for, told and looked for is decided by the engine's own code; only the sending, the way and the reading
are simulated.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from random import Random
from typing import NamedTuple

from perdure.base.clock import SECOND
from perdure.base.manual_clock import ManualClock
from perdure.engine.demand import ASKED_AGAIN, BELIEVED, Attention, Demand
from perdure.engine.pace import Pace
from perdure.store.postgres.signals import APART_S
from scripts.scale.timeline import Timeline

COMMITS = 50.0
"""A second, of each busy worker."""
WAY_S = 0.001
"""From the sending of a hint to its hearing."""
READ_S = 0.003
"""From a hint or a look to the follower's having read what is new."""


class Told(NamedTuple):
    """Each second: hints sent by all, and heard by all; looks of one follower. Seconds from a commit to a follower's having read it."""

    sent: float
    heard: float
    looks: float
    half: float
    most: float


class Traffic(NamedTuple):
    """While those that were asked still believe it, and afterwards."""

    first: Told
    later: Told


class _Follower:
    """A server that asks, hears and looks as `perdure.engine.follower` does."""

    def __init__(self, cluster: _Cluster, pace: Pace) -> None:
        self.cluster = cluster
        self.pace = pace
        self.attention = Attention(cluster.clock)
        self.looks = 0
        self.waited: list[float] = []
        self._unseen: list[float] = []
        """When what it has not read yet was committed."""
        self._scan = 0
        self._is_reading = False

    def begin(self) -> None:
        self.ask()
        self.look(self._scan)

    def ask(self) -> None:
        self.cluster.move_clock()
        if not self.attention.looks:
            self.cluster.asked(True)
        self.cluster.timeline.after(self.pace.pause(ASKED_AGAIN / SECOND), self.ask)

    def committed(self) -> None:
        self._unseen.append(self.cluster.timeline.now)

    def hear(self) -> None:
        self.cluster.move_clock()
        if not self.attention.looks:
            if self.attention.told():
                self.cluster.asked(False)
            self._read()

    def look(self, scan: int) -> None:
        if scan == self._scan:
            self.looks += 1
            self.cluster.move_clock()
            self.attention.looked(found=bool(self._unseen), unhinted=False)
            self._read()

    def _read(self) -> None:
        if not self._is_reading:
            self._is_reading = True
            new, self._unseen = self._unseen, []
            self.cluster.timeline.after(READ_S, self._done, new)

    def _done(self, new: Sequence[float]) -> None:
        self._is_reading = False
        self.waited += [self.cluster.timeline.now - moment for moment in new]
        self._scan += 1
        pause = self.pace.look() if self.attention.looks else self.pace.pause(ASKED_AGAIN / SECOND)
        self.cluster.timeline.after(pause, self.look, self._scan)


class _Sender:
    """A busy worker: what it commits is told together, once in a while."""

    def __init__(self, cluster: _Cluster) -> None:
        self.cluster = cluster
        self.demand = Demand(cluster.clock)
        self._n = 0
        self._is_pending = self._is_resting = False

    def commit(self) -> None:
        cluster = self.cluster
        self._n += 1
        for follower in cluster.followers:
            follower.committed()
        cluster.move_clock()
        self._is_pending |= bool(self.demand.told({1: self._n}))
        self.send()
        cluster.timeline.after(cluster.random.expovariate(COMMITS), self.commit)

    def send(self) -> None:
        if self._is_pending and not self._is_resting:
            self._is_pending, self._is_resting = False, True
            self.cluster.sent += 1
            for follower in self.cluster.followers:
                self.cluster.timeline.after(WAY_S, follower.hear)
            self.cluster.timeline.after(APART_S, self._rested)

    def _rested(self) -> None:
        self._is_resting = False
        self.send()


class _Cluster:
    def __init__(self, workers: int, followers: int) -> None:
        self.timeline = Timeline()
        self.clock = ManualClock(0)
        self.random = Random(1)
        self.sent = 0
        pace = Pace(self.random)
        pace.alive = workers
        self.followers = [_Follower(self, pace) for _ in range(followers)]
        self.senders = [_Sender(self) for _ in range(workers)]
        for sender in self.senders:
            self.timeline.after(self.random.expovariate(COMMITS), sender.commit)
        for follower in self.followers:
            self.timeline.after(self.random.uniform(0, 0.1), follower.begin)

    def move_clock(self) -> None:
        self.clock.advance_to(int(self.timeline.now * SECOND))

    def asked(self, follows: bool) -> None:
        self.sent += 1
        self.timeline.after(WAY_S, self._heard, follows)

    def _heard(self, follows: bool) -> None:
        self.move_clock()
        for sender in self.senders:
            if follows:
                sender.demand.asked()
            else:
                sender.demand.sated()
        if not follows:
            for follower in self.followers:
                follower.attention.looks = True

    def measure(self, seconds: float) -> Told:
        for follower in self.followers:
            follower.waited, follower.looks = [], 0
        self.sent = 0
        self.timeline.run(self.timeline.now + seconds)
        waited = sorted(wait for follower in self.followers for wait in follower.waited)
        listeners = len(self.senders) + len(self.followers) - 1
        looks = sum(follower.looks for follower in self.followers) / max(len(self.followers), 1)
        half, most = (waited[int(len(waited) * part)] if waited else 0.0 for part in (0.5, 0.99))
        return Told(self.sent / seconds, self.sent * listeners / seconds, looks / seconds, half, most)


@cache
def traffic(*, workers: int, followers: int) -> Traffic:
    """So many workers at work, and so many servers at which somebody follows an execution."""
    cluster = _Cluster(workers, followers)
    first = cluster.measure(BELIEVED / SECOND)
    cluster.timeline.run(cluster.timeline.now + 3.0)
    return Traffic(first, cluster.measure(5.0))
