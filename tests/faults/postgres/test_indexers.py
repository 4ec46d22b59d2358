"""Two servers that both would keep the index of texts, on one PostgreSQL: one does, and nothing is lost between them."""

from __future__ import annotations

import threading

from tests.faults.harness.cluster import SERVER, Cluster
from tests.faults.harness.haystack import SEGMENT, Haystack, catches_up

EXPIRE = "UPDATE search_holder SET until = 0"
EMPTY = "TRUNCATE search_state, search_tail, search_segments, search_parts"


def holder(cluster: Cluster) -> str | None:
    found = cluster.rows("SELECT holder FROM search_holder")
    return found[0]["holder"] if found else None


def test_servers_that_race_for_the_index_lose_nothing_and_double_nothing(cluster: Cluster) -> None:
    """Its lease is taken from whoever holds it again and again, as if each had stood still for too long."""
    one, two = (cluster.member(name, *SERVER) for name in ("one", "two"))
    cluster.start(one, two)
    haystacks = [Haystack(seed) for seed in (1, 2)]
    stopping = threading.Event()
    holders = set()

    def expire() -> None:
        while not stopping.wait(0.3):
            holders.add(holder(cluster))
            cluster.execute(EXPIRE)

    expiring = threading.Thread(target=expire)
    expiring.start()
    try:
        with cluster.new_api(one) as first, cluster.new_api(two) as second:
            for _ in range(2):
                for haystack, api in zip(haystacks, (first, second), strict=True):
                    haystack.grow(api, 1000)
                haystacks[0].check(second)
                haystacks[1].check(first)
            cluster.kill(one)
            haystacks[0].check(second)
            one.server.start()
    finally:
        stopping.set()
        expiring.join()
    cluster.settle()
    cluster.execute(EXPIRE)
    for member in (one, two):
        with cluster.new_api(member) as api:
            catches_up(api)
            for haystack in haystacks:
                haystack.check(api)
    cluster.verdict()


def test_an_index_that_is_emptied_under_its_keeper_is_made_anew(cluster: Cluster) -> None:
    one, two = (cluster.member(name, *SERVER) for name in ("one", "two"))
    cluster.start(one, two)
    haystack = Haystack(seed=3)
    haystack.grow(cluster.api, SEGMENT + 500)
    cluster.settle()
    catches_up(cluster.api)
    cluster.execute(EMPTY)
    haystack.check(cluster.api)
    haystack.grow(cluster.api, 500)
    haystack.check(cluster.api)
    cluster.settle()
    catches_up(cluster.api)
    for member in (one, two):
        with cluster.new_api(member) as api:
            haystack.check(api)
    cluster.verdict()
