"""Fault 26: programs and schemas of different age beside each other, and migrations that are killed."""

import pytest

from tests.faults.harness.api import Lost, Refused
from tests.faults.harness.cluster import API_ONLY, SERVER, WORKER, Cluster
from tests.faults.harness.server import ServerDied
from tests.faults.harness.waiting import until

FAULT_EXIT = 86
FENCE = "UPDATE writers SET session = session + 1"
"""What a migration does that older programs cannot live with."""


def newest(cluster: Cluster) -> int:
    [row] = cluster.rows("SELECT max(number) AS number FROM schema_migrations")
    return int(row["number"])


def pretend_newer(cluster: Cluster, *, usable_since: int) -> str:
    """A row as a newer program's migration leaves it."""
    number = newest(cluster) + 1
    return (
        "INSERT INTO schema_migrations (number, name, program, usable_since) "
        f"VALUES ({number}, 'later', '99.0', {usable_since})"
    )


@pytest.mark.parametrize("nth", [1, 2])
def test_a_migration_that_is_killed_leaves_nothing_and_can_be_run_again(cluster: Cluster, nth: int) -> None:
    server = cluster.member("server", *SERVER)
    with pytest.raises(ServerDied) as died:
        server.server.start(fault=f"migration:{nth}")
    assert died.value.status == FAULT_EXIT
    [left] = cluster.rows("SELECT count(*) AS n FROM schema_migrations" if nth > 1 else "SELECT 0 AS n")
    assert left["n"] == nth - 1
    server.server.start()
    assert cluster.api.start("faults/chain", wait_s=20)["status"] == "completed"
    cluster.verdict()


def test_many_processes_may_find_the_database_empty_at_once(cluster: Cluster) -> None:
    members = [cluster.member(f"server-{number}", *SERVER) for number in range(4)]
    for one in members:
        one.server.start(ready=False)
    for one in members:
        one.server.wait_ready()
    for one in members:
        with cluster.new_api(one) as api:
            assert api.start("faults/chain", wait_s=20)["status"] == "completed"
    cluster.verdict()


def test_an_older_schema_is_refused_with_what_to_do(cluster: Cluster) -> None:
    server = cluster.member("server", *SERVER)
    cluster.start(server)
    assert server.server.stop() == 0
    number = newest(cluster)
    cluster.execute(f"CREATE TABLE aside AS SELECT * FROM schema_migrations WHERE number = {number}")
    cluster.execute(f"DELETE FROM schema_migrations WHERE number = {number}")
    for role in (SERVER, API_ONLY, WORKER):
        with pytest.raises(ServerDied) as died:
            cluster.member(f"late-{'-'.join(role)}", *role).server.start()
        assert "perdure store migrate" in died.value.log
    cluster.execute("INSERT INTO schema_migrations SELECT * FROM aside; DROP TABLE aside")
    server.server.start()
    cluster.verdict()


def test_an_old_worker_works_on_beside_a_newer_schema_that_allows_it(cluster: Cluster) -> None:
    server = cluster.member("server", *API_ONLY)
    worker, later = (cluster.member(name, *WORKER) for name in ("worker", "later"))
    cluster.start(server, worker)
    cluster.execute(pretend_newer(cluster, usable_since=newest(cluster)))
    assert cluster.api.start("faults/chain", wait_s=20)["status"] == "completed"
    cluster.start(later)
    with cluster.harming("database"):
        worker.link.cut()
        ids = [cluster.api.start_surely("faults/chain", key=f"{number}")["id"] for number in range(10)]
        assert {cluster.api.ended(id)["status"] for id in ids} == {"completed"}
    cluster.verdict()


def test_an_old_worker_writes_nothing_into_a_newer_schema_that_forbids_it(cluster: Cluster) -> None:
    """It is refused with the reason; what it had goes on once a program that knows the schema is there."""
    server = cluster.member("server", *API_ONLY)
    worker = cluster.member("worker", *WORKER)
    cluster.start(server, worker)
    gate = cluster.gate("gate")
    id = cluster.api.start("faults/hold-inline", {"gate": gate.name})["id"]
    cluster.begun(id)
    with cluster.harming("schema"):
        cluster.execute(f"{pretend_newer(cluster, usable_since=newest(cluster) + 1)}; {FENCE}")
        gate.touch()
        until(lambda: cluster.effects.lines(kind="end", execution=id), within_s=30, what="the node ends")
        with pytest.raises((Refused, Lost)):
            cluster.api.start("faults/one")
        facts = cluster.facts()
        assert facts.executions[id]["status"] in {"running", "interrupted"}
        assert list(facts.executions) == [id]
        with pytest.raises(ServerDied) as died:
            cluster.member("again", *WORKER).server.start()
        assert "install the newer one" in died.value.log
        cluster.execute("DELETE FROM schema_migrations WHERE name = 'later'")
        for one in (server, worker):
            one.server.kill()
        cluster.start(server, worker)
        assert cluster.api.ended(id)["status"] == "completed"
    cluster.verdict()
