"""What is simulated, and the figures of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from scripts.scale.cluster import Cluster

MANY = 10_000
PATIENCE_S = 120.0
"""After which something that should have happened is taken for something that does not."""


class Idle(NamedTuple):
    """Cores of the database that are busy with workers that have nothing to do; transactions a second."""

    cores: float
    transactions: float
    by_kind: dict[str, float]
    beat_p99: float


class Rescue(NamedTuple):
    """Seconds from the deaths until half, 99 %, all of what the dead owned runs again; workers taken for dead wrongly."""

    executions: int
    half: float
    most: float
    all: float
    doubled: int
    fenced: int


class Outage(NamedTuple):
    """Share of the workers that let go; seconds after the end until everything runs again, and heartbeats are quick."""

    let_go: float
    all_running: float
    doubled: int
    beat_p99: float


class Waiting(NamedTuple):
    """Seconds from the call to the claim, for one workspace or several."""

    executions: int
    half: float
    most: float


def percentile(values: Iterable[float], part: float) -> float:
    found = sorted(values)
    return found[min(int(len(found) * part), len(found) - 1)] if found else 0.0


@cache
def idle(*, workers: int = MANY, hinted: bool = True, seconds: float = 6.0) -> Idle:
    cluster = Cluster(workers=workers, hinted=hinted)
    cluster.timeline.run(1.0)
    cluster.database.forget()
    cluster.beat_latencies.clear()
    cluster.timeline.run(1.0 + seconds)
    stepwise = {kind: seen / seconds for kind, seen in cluster.database.served.items()}
    chores = cluster.rhythm.per_second(workers=workers, hinted=hinted)
    served = stepwise | {kind: workers * chores[kind] for kind in ("timers", "counters", "trimming", "clock")}
    cores = sum(cluster.database.busy.values()) / seconds + cluster.database.elsewhere
    return Idle(cores, sum(served.values()), served, percentile(cluster.beat_latencies, 0.99))


@cache
def deaths(part: float, *, workers: int = MANY, owned: int = 10, slots: int = 2_000) -> Rescue:
    """That part of all workers dies in the same moment; the others have room for all that they did."""
    cluster = Cluster(workers=workers, owned=owned, slots=slots)
    cluster.timeline.run(5.0)
    dead = cluster.random.sample(cluster.workers, int(workers * part))
    for worker in dead:
        worker.die()
    expected = len(dead) * owned
    while len(cluster.went_on) < expected and cluster.timeline.now < PATIENCE_S:
        cluster.timeline.run(cluster.timeline.now + 1.0)
    after = [moment - 5.0 for moment in cluster.went_on]
    return Rescue(
        expected, percentile(after, 0.5), percentile(after, 0.99), max(after), cluster.doubled, cluster.fenced
    )


@cache
def outage(seconds: float, *, workers: int = 1_000, owned: int = 10, cores: int = 16) -> Outage:
    """Nobody reaches the database for that time."""
    cluster = Cluster(workers=workers, owned=owned, cores=cores)
    cluster.timeline.run(5.0)
    cluster.database.go_away(seconds)
    back_at = 5.0 + seconds
    cluster.timeline.run(back_at)
    cluster.beat_latencies.clear()
    limit = back_at + PATIENCE_S
    while cluster.timeline.now < limit and (
        cluster.timeline.now < back_at + cluster.rhythm.lease or any(not one.is_member for one in cluster.workers)
        or len(cluster.queue)
    ):  # fmt: skip
        cluster.timeline.run(cluster.timeline.now + 1.0)
    again = max([moment for moment in cluster.went_on if moment > back_at], default=back_at) - back_at
    return Outage(cluster.fenced / workers, again, cluster.doubled, percentile(cluster.beat_latencies, 0.99))


@cache
def herd(*, workers: int = MANY, starts: float = 100.0, seconds: float = 1.0) -> tuple[Idle, Waiting]:
    """Starts at servers that run nothing, while every worker is idle and hears of each."""
    cluster = Cluster(workers=workers)
    cluster.timeline.run(1.0)
    cluster.database.forget()
    _arrive(cluster, ["one"], starts, seconds, duration=0.05)
    cluster.timeline.run(1.0 + seconds)
    served = {kind: seen / seconds for kind, seen in cluster.database.served.items()}
    cores = sum(cluster.database.busy.values()) / seconds + cluster.database.elsewhere
    load = Idle(cores, sum(served.values()), served, percentile(cluster.beat_latencies, 0.99))
    return load, _waiting(cluster.waits["one"])


@cache
def fairness(*, workers: int = 200, slots: int = 8, flood: int = 20_000) -> tuple[Waiting, Waiting]:
    """One workspace starts a flood; nineteen others start five a second each. (the flood's waits, the others')"""
    cluster = Cluster(workers=workers, slots=slots)
    others = [f"workspace {number}" for number in range(19)]
    for _ in range(flood):
        cluster.start("flood", 1.0, is_told=False)
    _arrive(cluster, others, 5.0 * len(others), 20.0, duration=1.0)
    cluster.timeline.run(25.0)
    return _waiting(cluster.waits["flood"]), _waiting([wait for one in others for wait in cluster.waits[one]])


def _arrive(cluster: Cluster, workspaces: Sequence[str], rate: float, seconds: float, *, duration: float) -> None:
    """Starts at random moments of the coming seconds."""
    at = cluster.random.expovariate(rate)
    while at < seconds:
        workspace = cluster.random.choice(workspaces)
        cluster.timeline.after(at, cluster.start, workspace, cluster.random.expovariate(1 / duration))
        at += cluster.random.expovariate(rate)


def _waiting(waits: Sequence[float]) -> Waiting:
    return Waiting(len(waits), percentile(waits, 0.5), percentile(waits, 0.99))
