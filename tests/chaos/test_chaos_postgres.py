"""The fault scenes of many processes on one PostgreSQL, for as long as you like; fsync is on."""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

import pytest

from tests.faults.harness.cluster import API_ONLY, SERVER, TAKEN_OVER_S, WORKER, Cluster, Member
from tests.faults.harness.link import BOTH, DOWN, UP, Act, Strike
from tests.faults.harness.load import Load
from tests.faults.harness.waiting import until
from tests.faults.harness.wire import failing
from tests.faults.postgres.test_crashes import kill_loop
from tests.faults.postgres.test_database import crash_loop
from tests.faults.postgres.test_races import race
from tests.postgres_server import Postgres

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(0)]


def clusters(tmp_path: Path, postgres: Postgres, seeds: Iterator[int]) -> Iterator[tuple[Cluster, Random]]:
    for seed in seeds:
        folder = tmp_path / str(seed)
        folder.mkdir()
        cluster = Cluster(folder, postgres, fsync=True)
        try:
            yield cluster, Random(seed)
        finally:
            cluster.close()


def url_of(member: Member) -> str:
    return member.url


def test_processes_are_killed(tmp_path: Path, postgres: Postgres, seeds: Iterator[int]) -> None:
    for cluster, random in clusters(tmp_path, postgres, seeds):
        seed = random.randrange(2**32)
        kill_loop(cluster, seed=seed, kills=random.randrange(5, 25), threads=random.randrange(1, 5))


def test_the_database_crashes(tmp_path: Path, postgres: Postgres, seeds: Iterator[int]) -> None:
    for cluster, random in clusters(tmp_path, postgres, seeds):
        crash_loop(cluster, seed=random.randrange(2**32), crashes=random.randrange(3, 15))


@pytest.mark.parametrize("kind", ["frozen", "partition"])
def test_workers_stand_still_or_are_cut_off(
    tmp_path: Path, postgres: Postgres, seeds: Iterator[int], kind: str
) -> None:
    """For a moment, or until others have declared them dead; then they go on, and find out by themselves."""
    for cluster, random in clusters(tmp_path, postgres, seeds):
        server = cluster.member("server", *API_ONLY)
        workers = {
            name: cluster.member(name, *role) for name, role in (("one", WORKER), ("two", WORKER), ("both", SERVER))
        }
        cluster.start(server, *workers.values())
        seed, url = random.randrange(2**32), partial(url_of, server)
        load = Load(url, cluster.acknowledgements, seed=seed, threads=random.randrange(1, 4), ledger=cluster.ledger)
        try:
            for _ in range(random.randrange(3, 20)):
                load.wait_for(load.started + random.randrange(1, 20))
                hold_up(cluster, random.choice([*workers]), kind, load, random)
        finally:
            load.stop()
        cluster.verdict(within_s=90)


def hold_up(cluster: Cluster, name: str, kind: str, load: Load, random: Random) -> None:
    member = cluster.members[name]
    with cluster.harming(kind), held(member, kind, random):
        load.wait_for(load.started + random.randrange(1, 20))
        if random.randrange(3):
            until(lambda: not lives(cluster, name), within_s=TAKEN_OVER_S, what=f"{name} is dead to the others")
    until(lambda: member.server.revive() or lives(cluster, name), within_s=TAKEN_OVER_S, what=f"{name} is back")


@contextlib.contextmanager
def held(member: Member, kind: str, random: Random) -> Iterator[None]:
    if kind == "frozen":
        with member.server.frozen(wholly=random.randrange(2) == 0):
            yield
        return
    member.link.silence(*random.choice([(UP,), (DOWN,), BOTH]))
    yield
    member.link.heal()


def lives(cluster: Cluster, name: str) -> bool:
    """Whether the worker that registered last under that name counts as alive."""
    [row] = cluster.rows("SELECT stopped_at FROM workers WHERE name = $1 ORDER BY number DESC LIMIT 1", name)
    return row["stopped_at"] is None


def test_commits_fail_in_every_way(tmp_path: Path, postgres: Postgres, seeds: Iterator[int]) -> None:
    """Lost, answered to nobody, late, or undone by the database; at any of the processes."""
    ways: list[Act | bytes] = [
        Act.LOSE,
        Act.LOSE_REPLY,
        Act.HOLD,
        Act.STALL,
        failing("40001"),
        failing("40P01"),
        failing("55P03"),
    ]
    for cluster, random in clusters(tmp_path, postgres, seeds):
        members = [
            cluster.member("server", *API_ONLY),
            cluster.member("both", *SERVER),
            cluster.member("worker", *WORKER),
        ]
        cluster.start(*members)
        seed, url = random.randrange(2**32), partial(url_of, members[0])
        load = Load(url, cluster.acknowledgements, seed=seed, threads=4, ledger=cluster.ledger)
        try:
            for _ in range(random.randrange(5, 40)):
                load.wait_for(load.started + random.randrange(1, 10))
                member, strike = random.choice(members), Strike(random.choice(ways), nth=random.randrange(1, 9))
                with cluster.harming("commit"):
                    member.link.rule = strike
                    assert strike.struck.wait(60)
                    member.link.release()
        finally:
            load.stop()
        cluster.verdict()


def test_cancel_races(tmp_path: Path, postgres: Postgres, seeds: Iterator[int]) -> None:
    for cluster, random in clusters(tmp_path, postgres, seeds):
        members = [cluster.member(name, *SERVER) for name in ("one", "two")]
        cluster.start(*members)
        race(cluster, members, rounds=2000, seed=random.randrange(2**32))
        cluster.verdict()
