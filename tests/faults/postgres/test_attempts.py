"""An attempt and its retry, an execution and its cancellation, when the worker that had them dies or stands still."""

from tests.faults.harness.cluster import API_ONLY, TAKEN_OVER_S, WORKER, Cluster
from tests.faults.harness.waiting import until
from tests.faults.postgres.test_leases import back_again, the_owner


def test_an_attempt_that_took_too_long_is_dead_before_its_retry_begins_elsewhere(cluster: Cluster) -> None:
    """hatchet#1022: a timed-out attempt kept running beside its retry. Here nobody is awake to stop it."""
    server = cluster.member("server", *API_ONLY)
    workers = [cluster.member(name, *WORKER) for name in ("one", "two")]
    cluster.start(server, *workers)
    id = cluster.api.start("faults/overtime")["id"]
    cluster.begun(id)
    asleep = the_owner(cluster, id)
    with cluster.harming("frozen"), asleep.server.frozen():
        ended = cluster.api.ended(id)
        lines = cluster.effects.lines(execution=id)
    assert (ended["status"], ended["recoveries"]) == ("completed", 1)
    [retry] = [line for line in lines if line.attempt == 2 and line.kind == "begin"]
    before = [line for line in lines if line.attempt == 1]
    assert {line.epoch for line in before} == {1, 2}
    assert max(line.at for line in before) < retry.at
    until(lambda: asleep.server.revive() or back_again(cluster, asleep), within_s=TAKEN_OVER_S, what="it is back")
    assert cluster.effects.lines(execution=id) == lines
    cluster.verdict()


def test_what_killed_its_worker_can_be_cancelled_before_it_kills_another(cluster: Cluster) -> None:
    """activepieces#15130: a job that had killed its worker was delivered again, and could not be cancelled."""
    server = cluster.member("server", *API_ONLY)
    victim, other = (cluster.member(name, *WORKER) for name in ("victim", "other"))
    cluster.start(server, victim)
    with cluster.harming("poison"):
        poison = cluster.api.start("faults/poison-inline")["id"]
        victim.server.died(within_s=20)
    assert cluster.api.cancel(poison)["status"] in {"cancelling", "cancelled"}
    cluster.start(other)
    assert cluster.api.ended(poison)["status"] == "cancelled"
    assert len(cluster.effects.lines(kind="begin", execution=poison)) == 1
    cluster.verdict()
