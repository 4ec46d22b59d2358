"""Faults 2, 3, 10, 11: COMMITs whose answers are lost, partitions in each direction, slow wires, a deaf LISTEN."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.faults.harness.cluster import API_ONLY, SERVER, TAKEN_OVER_S, WORKER, Cluster, Member
from tests.faults.harness.link import BOTH, DOWN, UP, Act, Strike
from tests.faults.harness.load import Load
from tests.faults.harness.waiting import until
from tests.faults.postgres.test_leases import back_again, owned_by_other, the_owner


@pytest.mark.parametrize("act", [Act.LOSE, Act.LOSE_REPLY, Act.HOLD])
def test_a_commit_that_nobody_heard_of_counts_once_or_not_at_all(cluster: Cluster, act: Act) -> None:
    """Faults 2 and 3, for the server that takes starts and the worker that runs them."""
    server = cluster.member("server", *API_ONLY)
    worker = cluster.member("worker", *WORKER)
    cluster.start(server, worker)
    load = Load(lambda: server.url, cluster.acknowledgements, seed=3, threads=3, ledger=cluster.ledger)
    try:
        for nth in (1, 2, 3, 5, 8):
            for member in (server, worker):
                load.wait_for(load.started + 3)
                strike = Strike(act, nth=nth)
                with cluster.harming("commit"):
                    member.link.rule = strike
                    assert strike.struck.wait(30), "somebody commits"
                    load.wait_for(load.started + 2)
                    member.link.release()
    finally:
        load.stop()
    cluster.verdict()


@pytest.mark.parametrize("directions", [(UP,), (DOWN,), BOTH], ids=["up", "down", "both"])
def test_a_worker_that_is_cut_off_stops_before_others_take_over(cluster: Cluster, directions: tuple[str, ...]) -> None:
    """Fault 11. No node of it does anything more once another worker has begun (the checker sees to that)."""
    server = cluster.member("server", *API_ONLY)
    workers = [cluster.member(name, *WORKER) for name in ("one", "two")]
    cluster.start(server, *workers)
    gate = cluster.gate("gate")
    id = cluster.api.start("faults/ticking", {"gate": gate.name, "ledger": cluster.ledger})["id"]
    cluster.begun(id, times=3)
    lone = the_owner(cluster, id)
    name = lone.server.environment["PERDURE_WORKER_NAME"]
    with cluster.harming("partition"):
        lone.link.silence(*directions)
        owned_by_other(cluster, id, name)
        again = cluster.begun(id, times=6)
        lone.link.heal()
    until(lambda: lone.server.revive() or back_again(cluster, lone), within_s=TAKEN_OVER_S, what="it is back")
    gate.touch()
    ended = cluster.api.ended(id)
    assert (ended["status"], ended["recoveries"]) == ("completed", 1)
    taken_at = min(effect.at for effect in again if effect.epoch > 1)
    late = [one for one in cluster.effects.lines(execution=id) if one.epoch == 1 and one.at > taken_at]
    assert not late
    cluster.verdict()


def test_a_server_that_is_cut_off_says_so_and_loses_nothing(cluster: Cluster) -> None:
    """Fault 11, for the API: 503 with Retry-After, and what was asked for with a key is there once when it heals."""
    one, two = (cluster.member(name, *SERVER) for name in ("one", "two"))
    cluster.start(one, two)
    with cluster.harming("partition"), cluster.new_api(one) as lone:
        one.link.silence()
        started, live, ready = at_once(
            cluster,
            one,
            ("POST", "/api/v1/executions", {"flow": "faults/one", "idempotency_key": "cut-off"}),
            ("GET", "/health/live", None),
            ("GET", "/health/ready", None),
        )
        assert [answer.status_code for answer in (started, live, ready)] == [503, 200, 503]
        assert int(started.headers["retry-after"]) >= 1
        with cluster.new_api(two) as other:
            first = other.start_surely("faults/one", key="cut-off")["id"]
        one.link.heal()
        assert lone.start_surely("faults/one", key="cut-off")["id"] == first
    until(lambda: one.server.revive() or back_again(cluster, one), within_s=TAKEN_OVER_S, what="it is back")
    facts = cluster.verdict()
    assert len(facts.executions) == 1


def at_once(cluster: Cluster, member: Member, *calls: tuple[str, str, Any]) -> list[httpx2.Response]:
    """The answers to these (method, path, body), none of which waits for another."""

    def ask(call: tuple[str, str, Any]) -> httpx2.Response:
        method, path, body = call
        with cluster.new_api(member) as api:
            return api.request(method, path, **({} if body is None else {"json": body}))

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(ask, calls))


def test_slow_wires_cost_time_and_no_lease(cluster: Cluster) -> None:
    """Fault 11: a twentieth of a second each way is slow, not dead."""
    server = cluster.member("server", *API_ONLY)
    workers = [cluster.member(name, *WORKER) for name in ("one", "two")]
    for one in (server, *workers):
        # What is slow is the wire; a machine that is busy with other tests is to cost no lease either.
        one.server.environment["PERDURE_LEASE"] = "12s"
    cluster.start(server, *workers)
    for one in (server, *workers):
        one.link.slow_down(0.05)
    id = cluster.api.start_surely("faults/chain", key="slow")["id"]
    assert cluster.api.ended(id)["status"] == "completed"
    facts = cluster.verdict()
    assert {row["recoveries"] for row in facts.executions.values()} == {0}


@pytest.mark.parametrize("how", ["terminated", "half-open"])
def test_a_deaf_listener_is_noticed_and_nobody_waits_for_ever(cluster: Cluster, how: str) -> None:
    """pg-boss#850: LISTEN is dead in silence. Fault 10: a reader at one server follows what runs elsewhere."""
    server = cluster.member("server", *API_ONLY)
    worker = cluster.member("worker", *WORKER)
    cluster.start(server, worker)
    for round in range(2):
        gate = cluster.gate(f"gate-{round}")
        id = cluster.api.start("faults/hold-inline", {"gate": gate.name})["id"]
        cluster.begun(id)
        follower = cluster.follow(id, server)
        assert follower.begun.wait(20)
        for one in (server, worker):
            deafen(cluster, one, how)
        gate.touch()
        started = cluster.api.start("faults/one", wait_s=30)
        assert started["status"] == "completed"
        assert follower.ended.wait(TAKEN_OVER_S), follower.seqs
    for one in (server, worker):
        one.link.heal()
    facts = cluster.verdict()
    assert {row["recoveries"] for row in facts.executions.values()} == {0}


def deafen(cluster: Cluster, member: Member, how: str) -> None:
    """End, or cut off in silence, whatever connections listen."""
    if how == "half-open":
        member.link.silence(listening=True)
    else:
        cluster.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'perdure signals'"
        )
