"""Faults 1, 2, 4, 22: any process of a cluster dies at any moment, at every commit point, and in the middle of a node."""

from contextlib import suppress
from random import Random

import pytest

from tests.faults.harness.api import TERMINAL, Lost, Refused
from tests.faults.harness.cluster import API_ONLY, SERVER, WORKER, Cluster, Member
from tests.faults.harness.load import Load
from tests.faults.harness.processes import Process, alive
from tests.faults.harness.server import ServerDied
from tests.faults.harness.waiting import until
from tests.faults.postgres.test_leases import the_owner

FAULT_EXIT = 86
"""What a process exits with at a fault point."""


def kill_loop(cluster: Cluster, *, seed: int, kills: int, threads: int = 2) -> None:
    """Kill -9 one of two servers and two workers at random moments under mixed load, start it again, and heal."""
    random = Random(seed)
    servers = [cluster.member(name, *SERVER) for name in ("one", "two")]
    workers = [cluster.member(name, *WORKER) for name in ("three", "four")]
    cluster.start(*servers, *workers)
    urls = [lambda: servers[0].url, lambda: servers[1].url]
    loads = [
        Load(url, cluster.acknowledgements, seed=seed * 10 + index, threads=threads, ledger=cluster.ledger)
        for index, url in enumerate(urls)
    ]
    try:
        for _ in range(kills):
            for load in loads:
                load.wait_for(load.started + random.randrange(1, 40))
            for one in cluster.acknowledgements.lines(kind="start")[-2:]:
                cluster.follow(one.execution, random.choice(servers))
            victim = random.choice([*servers, *workers])
            cluster.kill(victim)
            victim.server.start()
    finally:
        for load in loads:
            load.stop()
    cluster.verdict(within_s=90)


@pytest.mark.parametrize("seed", [1])
def test_random_deaths_under_load_lose_nothing_and_repeat_nothing(cluster: Cluster, seed: int) -> None:
    """prefect#16429, n8n#23807: what has ended stays as it is, whoever dies and comes back (the checker looks)."""
    kill_loop(cluster, seed=seed, kills=3)


@pytest.mark.parametrize("point", ["before_commit", "after_commit", "before_reply"])
def test_a_worker_that_dies_at_a_commit_point_leaves_all_or_nothing(cluster: Cluster, point: str) -> None:
    """Also between a claim and the start of what was claimed (PrefectHQ/prefect#22664)."""
    server = cluster.member("server", *API_ONLY)
    worker, steady = (cluster.member(name, *WORKER) for name in ("worker", "steady"))
    cluster.start(server)
    for nth in (2, 3, 4, 7):
        for number in range(3):
            cluster.api.start_surely("faults/chain", key=f"chain-{nth}-{number}")
            cluster.api.start_surely("faults/fan", {"items": [1, 2, 3]}, key=f"fan-{nth}-{number}")
        with cluster.harming("killed"):
            worker.server.start(fault=f"{point}:{nth}", ready=False)
            assert worker.server.died(within_s=30) == FAULT_EXIT
    cluster.start(steady)
    facts = cluster.verdict()
    assert len(facts.keys) == 24


@pytest.mark.parametrize("point", ["before_commit", "after_commit", "before_reply"])
def test_a_server_that_dies_at_a_commit_point_leaves_all_or_nothing(cluster: Cluster, point: str) -> None:
    one, two = (cluster.member(name, *SERVER) for name in ("one", "two"))
    cluster.start(two)
    for nth in (3, 5, 8):
        with cluster.harming("killed"):
            assert dies_at(cluster, one, f"{point}:{nth}") == FAULT_EXIT
    with cluster.new_api(two) as api:
        for nth in (3, 5, 8):
            for number in range(4):
                api.start_surely("faults/chain", key=f"{point}:{nth}-{number}")
    cluster.verdict()


def dies_at(cluster: Cluster, member: Member, fault: str) -> int:
    """Start it with a fault point and have it work until it dies there; its exit status."""
    try:
        member.server.start(fault=fault)
    except ServerDied as error:
        return error.status
    with cluster.new_api(member) as api, suppress(Lost, Refused):
        for number in range(200):
            api.start("faults/chain", key=f"{fault}-{number % 4}")
    return member.server.died()


def test_nodes_whose_worker_died_run_again_elsewhere_under_a_new_epoch(cluster: Cluster) -> None:
    """Fault 4, for nodes of each kind; nothing of the dead worker's processes is left."""
    server = cluster.member("server", *API_ONLY)
    workers = [cluster.member(name, *WORKER) for name in ("one", "two")]
    cluster.start(server, *workers)
    gate = cluster.gate("gate")
    id = cluster.api.start("faults/ticking", {"gate": gate.name, "ledger": cluster.ledger})["id"]
    first = cluster.begun(id, times=3)
    victim = the_owner(cluster, id)
    left = [*victim.server.processes(), *(Process(one.pid, one.started) for one in first)]
    cluster.kill(victim)
    until(lambda: not alive(left), within_s=10, what="all that the dead worker started is dead")
    cluster.begun(id, times=6)
    gate.touch()
    ended = cluster.api.ended(id)
    assert (ended["status"], ended["recoveries"]) == ("completed", 1)
    assert {run["attempt"] for run in cluster.api.nodes(id)} == {1}, "an interrupted attempt is no try of its own"
    types = [event["type"] for event in cluster.api.events(id)]
    assert types.count("execution.interrupted") == 1
    assert types.count("node.completed") == 3
    cluster.verdict()


def test_poison_is_given_up_wherever_it_goes(cluster: Cluster) -> None:
    """activepieces#15130: a job that killed its worker was delivered again without end. Fault 22 on two workers."""
    server = cluster.member("server", *API_ONLY)
    workers = [cluster.member(name, *WORKER) for name in ("one", "two")]
    for one in workers:
        # Those beside it may have been there twice, and hold a place in quarantine each.
        one.server.environment["PERDURE_QUARANTINE_SIZE"] = "6"
    cluster.start(server, *workers)
    gate = cluster.gate("gate")
    beside = [cluster.api.start("faults/hold-inline", {"gate": gate.name})["id"] for _ in range(3)]
    deaths = 0
    with cluster.harming("poison"):
        poison = cluster.api.start("faults/poison-inline")["id"]

        def given_up() -> bool:
            nonlocal deaths
            deaths += sum(one.server.revive() for one in workers)
            return cluster.api.execution(poison)["status"] in TERMINAL

        until(given_up, within_s=60, what="the poison is given up")
        execution = cluster.api.execution(poison)
        assert (execution["status"], execution["reason"]) == ("abandoned", "recoveries_exhausted")
        assert deaths <= 3, "from the second crash on it runs in a process of its own; one was not on record yet"
        gate.touch()
        assert {cluster.api.ended(id)["status"] for id in beside} == {"completed"}, "the others are unharmed"
    cluster.verdict()


def test_an_output_with_nul_ends_its_execution(cluster: Cluster) -> None:
    """kestra#10326: an output with NUL stuck in RUNNING; PostgreSQL's text cannot hold one."""
    cluster.start(cluster.member("server", *SERVER))
    execution = cluster.api.start("faults/nul", wait_s=20)
    assert execution["status"] == "completed"
    assert execution["output"] == "a\x00b"
    cluster.verdict()
