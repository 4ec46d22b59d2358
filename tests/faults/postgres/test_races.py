"""Faults 20, 21, 25 on two servers: timers fire once, repeated calls change nothing, a cancel and a completion have one winner."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from tests.faults.harness.api import Refused
from tests.faults.harness.cluster import API_ONLY, SERVER, WORKER, Cluster, Member
from tests.faults.harness.proxy import Proxy, Upstream, status_of
from tests.faults.test_races import cancel

AT_ONCE = 5
"""Executions that a client starts with one request; the rounds come one after the other otherwise."""
SHORT: list[tuple[str, dict[str, Any]]] = [
    ("faults/one", {}), ("faults/chain", {}), ("faults/fan", {"items": [1, 2]}),
]  # fmt: skip


def race(cluster: Cluster, members: list[Member], *, rounds: int, seed: int, threads: int = 8) -> None:
    """Start at one server and cancel at the other, each execution at another moment of its short life."""

    def one_client(client: int) -> None:
        random = Random(seed * 1000 + client)
        here, there = members[client % 2], members[(client + 1) % 2]
        with cluster.new_api(here) as api, cluster.new_api(there) as other:
            for _ in range(rounds // threads // AT_ONCE):
                ids = api.start_many([random.choice(SHORT) for _ in range(AT_ONCE)])
                random.shuffle(ids)
                for id in ids:
                    if random.randrange(2):
                        api.execution(id)
                    assert cancel(other, id) in {"cancelled", "cancelling", "running", "completed", "too late"}

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one_client, range(threads)))


def test_a_cancel_at_one_server_and_a_completion_at_another_have_one_winner(cluster: Cluster) -> None:
    """Fault 25."""
    members = [cluster.member(name, *SERVER) for name in ("one", "two")]
    cluster.start(*members)
    race(cluster, members, rounds=1000, seed=25)
    facts = cluster.verdict()
    assert len(facts.executions) == 1000
    assert {row["status"] for row in facts.executions.values()} <= {"completed", "cancelled"}
    cancelled = {one.execution for one in cluster.acknowledgements.lines(kind="cancel") if one.status == "cancelled"}
    assert cancelled <= {id for id, row in facts.executions.items() if row["status"] == "cancelled"}


def test_a_timer_fires_once_whoever_looks(cluster: Cluster) -> None:
    """Fault 20, for timers: four processes find them due in the same moment."""
    members = [cluster.member("one", *SERVER), cluster.member("two", *SERVER), cluster.member("api", *API_ONLY)]
    cluster.start(*members, cluster.member("worker", *WORKER))
    # Longer than what is waited out without suspending (5 s).
    ids = [cluster.api.start("faults/nap", {"duration": "5500ms"})["id"] for _ in range(100)]
    assert {cluster.api.ended(id)["status"] for id in ids} == {"completed"}
    facts = cluster.verdict()
    for id in ids:
        told = [type for chunk in facts.chunks[id] for type in chunk.types]
        assert told.count("execution.resumed") == told.count("execution.suspended"), told
        assert told.count("execution.suspended") <= 1
        assert told.count("node.completed") == 3


def test_many_clients_of_two_servers_with_one_key_get_one_execution(cluster: Cluster) -> None:
    """apache/airflow#69336: a losing duplicate's failure killed the healthy run."""
    members = [cluster.member(name, *SERVER) for name in ("one", "two")]
    cluster.start(*members)
    found: list[tuple[str, str]] = []
    barrier = threading.Barrier(16)

    def ask(index: int) -> None:
        with cluster.new_api(members[index % 2]) as api:
            for key in "abcdef":
                barrier.wait(60)
                found.append((key, api.start("faults/chain", key=key)["id"]))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(16)))
    assert len(set(found)) == 6
    assert len(cluster.verdict().executions) == 6


def test_a_limit_holds_across_servers_and_its_refusals_harm_nobody(cluster: Cluster) -> None:
    members = [cluster.member(name, *SERVER) for name in ("one", "two")]
    cluster.start(*members)
    gate = cluster.gate("gate")
    first = cluster.api.start("faults/reject", {"gate": gate.name})["id"]
    for number in range(10):
        with cluster.new_api(members[number % 2]) as api, pytest.raises(Refused) as refused:
            api.start("faults/reject", {"gate": gate.name})
        assert (refused.value.status, refused.value.problem["code"]) == (409, "concurrency_limit_reached")
    gate.touch()
    assert cluster.api.ended(first)["status"] == "completed"
    with cluster.new_api(members[1]) as api:
        assert api.start("faults/reject", {"gate": gate.name}, wait_s=20)["status"] == "completed"
    assert len(cluster.verdict().executions) == 2


class Twice:
    """Sends every request to all servers at once, answers with the first one's reply, and keeps what it saw."""

    def __init__(self, *members: Member) -> None:
        self.requests: list[bytes] = []
        self.replies: list[bytes] = []
        self._upstreams = [Upstream(lambda member=member: member.url) for member in members]  # type: ignore[misc]

    def __call__(self, request: bytes, upstream: Upstream) -> bytes:
        self.requests.append(request)
        with ThreadPoolExecutor(len(self._upstreams)) as pool:
            replies = list(pool.map(lambda one: one.call(request), self._upstreams))
        self.replies += replies
        return replies[0]


def test_calls_that_reach_both_servers_and_come_again_late_change_nothing(cluster: Cluster) -> None:
    """Fault 21."""
    members = [cluster.member(name, *SERVER) for name in ("one", "two")]
    cluster.start(*members)
    twice = Twice(*members)
    gate = cluster.gate("gate")
    with Proxy(lambda: members[0].url, twice) as proxy, cluster.new_api_at(proxy.url) as api:
        done = [api.start("faults/chain", key=f"chain-{number}", wait_s=20)["id"] for number in range(5)]
        held = [api.start("faults/hold-inline", {"gate": gate.name}, key=f"hold-{n}")["id"] for n in range(5)]
        for id in held:
            with suppress(Refused):  # the reply that comes through may be that of a repetition
                api.cancel(id)
    assert {cluster.api.ended(id)["status"] for id in held} == {"cancelled"}
    assert {status_of(reply) for reply in twice.replies} <= {200, 202, 409}
    late = twice.requests * 2
    Random(21).shuffle(late)
    for number, request in enumerate(late):
        reply = Upstream(lambda number=number: members[number % 2].url).call(request)  # type: ignore[misc]
        assert status_of(reply) in {200, 202, 409}, reply
    assert {cluster.api.execution(id)["status"] for id in done} == {"completed"}
    assert set(cluster.verdict().executions) == {*done, *held}
