"""Many simulated workers on one simulated database, and what is counted of them."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import count
from random import Random

from scripts.scale.database import Costs, Database
from scripts.scale.queue import Queue
from scripts.scale.rhythm import Rhythm
from scripts.scale.timeline import Timeline
from scripts.scale.workers import Membership, Worker

HINT_S = 0.005
"""From a commit to the others' hearing of it; hints that are sent meanwhile go with it."""


class Cluster:
    """
    Args:
        owned: executions that each worker has from the start, and that last longer than the simulation.
        hinted: whether hints arrive; else everybody polls.
        cores: of the database.
    """

    def __init__(
        self,
        *,
        workers: int,
        slots: int = 16,
        owned: int = 0,
        hinted: bool = True,
        cores: int = 16,
        costs: Costs | None = None,
        seed: int = 1,
    ) -> None:
        self.rhythm = Rhythm()
        self.costs = costs or Costs()
        self.hinted = hinted
        self.timeline = Timeline()
        self.random = Random(seed)
        self.database = Database(self.timeline, cores=cores, elsewhere=workers * self._chores(workers))
        self.queue = Queue(seed)
        self.beat_latencies: list[float] = []
        self.waits: dict[str, list[float]] = {}
        """Seconds from the call to the claim, by workspace."""
        self.went_on: list[float] = []
        """Moments at which executions of others were taken up."""
        self.fenced = 0
        """How often a worker let go by itself, or because it was told."""
        self.doubled = 0
        """Workers that were declared dead while they still held what they owned: never."""
        self._ids = count(1)
        self._begun: dict[int, tuple[str, float, float]] = {}
        """Of what waits: workspace, since when, and how long it will run."""
        self._stale: list[tuple[float, int, Membership]] = []
        self._enrolments = count()
        self._is_telling = False
        self.alive = 0
        self.workers = [Worker(self, slots=slots, alive=workers) for _ in range(workers)]
        for worker in self.workers:
            worker.membership.owned.update(next(self._ids) for _ in range(owned))
            worker.begin()

    def _chores(self, workers: int) -> float:
        """Cores that one idle worker keeps busy with what is not simulated step by step."""
        asked = self.rhythm.per_second(workers=workers, hinted=self.hinted)
        housekeeping = (asked["counters"] + asked["trimming"]) * self.costs.fold
        return asked["timers"] * self.costs.timers + housekeeping + asked["clock"] * self.costs.beat

    def after_error(self) -> float:
        return self.rhythm.after_error * self.random.uniform(0.5, 1.0)

    # Starts and ends

    def start(self, workspace: str, duration: float, *, is_told: bool = True) -> None:
        """Somebody starts an execution at a server that runs none itself."""

        asked_at = self.timeline.now

        def done(is_in: bool) -> None:
            if is_in:
                self._put(next(self._ids), workspace, asked_at, duration)
                if is_told:
                    self.pass_on()

        self.database.ask("starts", self.costs.start, done)

    def pass_on(self) -> None:
        """All others are to hear that there is work."""
        if self.hinted and not self._is_telling:
            self._is_telling = True
            self.timeline.after(HINT_S, self._tell)

    def _tell(self) -> None:
        self._is_telling = False
        for worker in self.workers:
            worker.hear()

    def take(self, membership: Membership, limit: int) -> int:
        """A claim is committed: how many it got."""
        taken = self.queue.take(limit)
        now = self.timeline.now
        for id in taken:
            workspace, since, duration = self._begun.pop(id)
            membership.owned.add(id)
            if workspace:
                self.waits.setdefault(workspace, []).append(now - since)
                self.timeline.after(duration, self._end, membership, id)
            else:
                self.went_on.append(now)
        return len(taken)

    def _put(self, id: int, workspace: str, rank: float, duration: float) -> None:
        self._begun[id] = (workspace, rank, duration)
        self.queue.put(workspace, rank, id)

    def _end(self, membership: Membership, id: int) -> None:
        if id not in membership.owned or membership.worker.is_dead:
            return

        def done(is_in: bool) -> None:
            if not is_in:
                self.timeline.after(self.after_error(), self._end, membership, id)
            elif id in membership.owned:
                membership.owned.discard(id)
                if membership.worker.free == 1:
                    membership.worker.claim()

        self.database.ask("ends", self.costs.end, done)

    # Life and death

    def enrol(self, membership: Membership) -> None:
        self.alive += 1
        self._watch(membership)

    def find_stale(self) -> list[Membership]:
        """Those without a heartbeat for a lease, so many at a time; nobody else finds them meanwhile."""
        found: list[Membership] = []
        while len(found) < self.rhythm.found_at_once and self._stale and self._stale[0][0] <= self.timeline.now:
            membership = heappop(self._stale)[2]
            if membership.is_stopped:
                continue
            if membership.heartbeat_at + self.rhythm.lease <= self.timeline.now:
                found.append(membership)
            else:
                self._watch(membership)
        return found

    def leave_stale(self, found: Sequence[Membership]) -> None:
        for membership in found:
            self._watch(membership)

    def declare_dead(self, found: Sequence[Membership]) -> None:
        for membership in found:
            worker = membership.worker
            holds = worker.is_member and worker.membership is membership and membership.owned
            if holds and not worker.is_dead and not membership.is_stopped:
                self.doubled += 1
        self.interrupt(found)

    def interrupt(self, found: Sequence[Membership]) -> None:
        """What they own goes back into the queue, with the place that it had."""
        for membership in found:
            if not membership.is_stopped:
                membership.is_stopped = True
                self.alive -= 1
                for id in sorted(membership.owned):
                    self._put(id, "", 0.0, 0.0)
                membership.owned.clear()

    def _watch(self, membership: Membership) -> None:
        heappush(self._stale, (membership.heartbeat_at + self.rhythm.lease, next(self._enrolments), membership))
