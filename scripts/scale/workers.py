"""One simulated worker: heartbeats, self-fencing, claims, looks for the dead, at the pace of the real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.engine.pace import Pace

if TYPE_CHECKING:
    from scripts.scale.cluster import Cluster

_BACK_FIRST_S, _BACK_MOST_S = 0.1, 2.0


class Membership:
    """A worker's row in the store, and what it owns; a worker that comes back has a new one."""

    __slots__ = ("heartbeat_at", "is_stopped", "owned", "worker")

    def __init__(self, worker: Worker, now: float) -> None:
        self.worker = worker
        self.heartbeat_at = now
        self.is_stopped = False
        self.owned: set[int] = set()


class Worker:
    """Alive until `die`. `good_at` is when the last heartbeat that got through was sent."""

    __slots__ = (
        "beats", "cluster", "good_at", "is_claiming", "is_coming", "is_dead", "is_member", "membership", "noted", "pace", "scan", "slots", "woken",
    )  # fmt: skip

    def __init__(self, cluster: Cluster, *, slots: int, alive: int) -> None:
        self.cluster = cluster
        self.slots = slots
        self.pace = Pace(cluster.random)
        self.pace.alive = alive
        self.membership = Membership(self, cluster.timeline.now)
        self.is_member = True
        self.is_dead = False
        self.is_claiming = self.is_coming = self.woken = self.noted = False
        self.good_at = cluster.timeline.now
        self.beats = 0
        self.scan = 0
        cluster.enrol(self.membership)

    def begin(self) -> None:
        """All its loops, each somewhere in its pause."""
        cluster, rhythm, draw = self.cluster, self.cluster.rhythm, self.cluster.random.uniform
        self.good_at = self.membership.heartbeat_at = cluster.timeline.now - draw(0, rhythm.beat)
        cluster.timeline.after(rhythm.beat - (cluster.timeline.now - self.good_at), self.beat)
        cluster.timeline.after(draw(0, rhythm.claim_pause(self.pace, hinted=cluster.hinted)), self.claim)
        cluster.timeline.after(draw(0, self.pace.chore(rhythm.look)), self.look_for_dead)

    def die(self) -> None:
        self.is_dead = True

    @property
    def free(self) -> int:
        return self.slots - len(self.membership.owned) if self.is_member else 0

    # Heartbeats

    def beat(self) -> None:
        """Ask, and wait for the answer no longer than until the next one is due or the lease is to be given up."""
        if self.is_dead or not self.is_member:
            return
        cluster, rhythm = self.cluster, self.cluster.rhythm
        sent_at, membership = cluster.timeline.now, self.membership
        if sent_at >= self.good_at + rhythm.fence:
            self.lose()
            return
        self.beats += 1
        number, until = self.beats, min(sent_at + rhythm.beat, self.good_at + rhythm.fence)
        cluster.timeline.after(until - sent_at, self._beat_again, number)

        def done(is_in: bool) -> None:
            if is_in and not membership.is_stopped:
                membership.heartbeat_at = cluster.timeline.now
            if number != self.beats or self.is_dead or not self.is_member or not is_in:
                return
            cluster.beat_latencies.append(cluster.timeline.now - sent_at)
            if membership.is_stopped:
                self.lose()
                return
            self.good_at = sent_at
            if until < sent_at + rhythm.beat:
                cluster.timeline.after(sent_at + rhythm.beat - cluster.timeline.now, self._beat_again, number)

        cluster.database.ask("heartbeats", cluster.costs.beat, done)

    def _beat_again(self, number: int) -> None:
        if number == self.beats:
            self.beat()

    def lose(self) -> None:
        """Let go of everything, and come back as somebody else as soon as the store answers."""
        self.is_member = False
        self.beats += 1
        self.cluster.fenced += 1
        self._come_back(_BACK_FIRST_S)

    def _come_back(self, pause: float) -> None:
        if self.is_dead:
            return
        cluster, old, sent_at = self.cluster, self.membership, self.cluster.timeline.now

        def done(is_in: bool) -> None:
            if not is_in:
                cluster.timeline.after(pause, self._come_back, min(pause * 2, _BACK_MOST_S))
                return
            cluster.interrupt([old])
            self.membership = Membership(self, cluster.timeline.now)
            cluster.enrol(self.membership)
            self.good_at, self.is_member = sent_at, True
            cluster.timeline.after(cluster.rhythm.beat, self.beat)
            self.claim()

        cost = cluster.costs.connect + cluster.costs.register + len(old.owned) * cluster.costs.interrupted
        cluster.database.ask("registrations", cost, done)

    # Claims

    def hear(self) -> None:
        """There is work: come for it, a moment later."""
        if not self.is_coming and self.free > 0:
            self.is_coming = self.noted = True
            self.cluster.timeline.after(self.pace.apart(), self._come)

    def _come(self) -> None:
        self.is_coming = False
        self.claim()

    def claim(self, scan: int | None = None) -> None:
        """Take what is there; `scan` is the number of the look that this is, None where something woke it."""
        if self.is_dead or (scan is not None and scan != self.scan):
            return
        if self.is_claiming:
            self.woken = True
            return
        cluster = self.cluster
        limit = min(self.free, cluster.rhythm.claimed_at_once)
        if limit <= 0:
            if self.noted:
                self.noted = False
                cluster.pass_on()
            self._rest()
            return
        self.is_claiming, self.woken = True, False
        membership = self.membership

        def done(is_in: bool) -> None:
            self.is_claiming = False
            if self.is_dead:
                return
            if not is_in:
                self._rest(cluster.after_error())
                return
            taken = 0 if membership.is_stopped else cluster.take(membership, limit)
            self.noted &= taken == limit
            if taken == limit or self.woken:
                self.claim()
            else:
                self._rest()

        expected = min(limit, len(cluster.queue))
        cluster.database.ask("claims", cluster.costs.claim + expected * cluster.costs.claimed, done)

    def _rest(self, seconds: float | None = None) -> None:
        """For so long, or until the next look behind the hints."""
        self.scan += 1
        if seconds is None:
            seconds = self.cluster.rhythm.claim_pause(self.pace, hinted=self.cluster.hinted)
        self.cluster.timeline.after(seconds, self.claim, self.scan)

    # The dead

    def look_for_dead(self) -> None:
        if self.is_dead:
            return
        cluster = self.cluster
        found = cluster.find_stale()
        executions = sum(len(one.owned) for one in found)
        cost = cluster.costs.rescue + cluster.alive * cluster.costs.alive + executions * cluster.costs.interrupted

        def done(is_in: bool) -> None:
            if not is_in:
                cluster.leave_stale(found)
                pause = cluster.after_error()
            elif found:
                cluster.declare_dead(found)
                pause = cluster.rhythm.look_again
                if not self.is_dead:
                    self.noted = True
                    self.claim()
            else:
                self.pace.alive = max(cluster.alive, 1)
                pause = self.pace.chore(cluster.rhythm.look)
            cluster.timeline.after(pause, self.look_for_dead)

        cluster.database.ask("rescue", cost, done)
