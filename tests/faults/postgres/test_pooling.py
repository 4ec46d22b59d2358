"""Fault 12: PgBouncer in transaction mode before the database."""

from pathlib import Path

import pytest

from tests.faults.harness.cluster import API_ONLY, SERVER, WORKER, Cluster
from tests.faults.harness.load import Load
from tests.faults.harness.pgbouncer import PgBouncer
from tests.faults.harness.server import ServerDied

POOLED = "prepare=false&listen=false"


def test_a_pooling_proxy_is_refused_with_the_reason(cluster: Cluster, tmp_path: Path) -> None:
    with PgBouncer(tmp_path, cluster.postgres, size=5) as bouncer:
        for role in (SERVER, WORKER):
            with pytest.raises(ServerDied) as died:
                cluster.member("-".join(role), *role, database_port=bouncer.port).server.start()
            assert POOLED in died.value.log, "it says what to add to the URL"
            assert "trust" not in died.value.log


def test_with_a_pooling_proxy_all_works_that_works_without(cluster: Cluster, tmp_path: Path) -> None:
    """Ten connections are enough for the proxy; it is even restarted under the load."""
    with PgBouncer(tmp_path, cluster.postgres, size=10) as bouncer:
        server, other = (cluster.member(n, *API_ONLY, database_port=bouncer.port, query=POOLED) for n in ("one", "two"))
        workers = [cluster.member(n, *WORKER, database_port=bouncer.port, query=POOLED) for n in ("three", "four")]
        cluster.start(server, other, *workers)
        load = Load(lambda: server.url, cluster.acknowledgements, seed=12, threads=3, ledger=cluster.ledger)
        try:
            load.wait_for(30)
            id = cluster.api.start("faults/chain")["id"]
            follower = cluster.follow(id, other)
            assert follower.ended.wait(30)
            with cluster.harming("proxy"):
                bouncer.stop()
                bouncer.start()
                load.wait_for(load.started + 20)
            cluster.kill(workers[0])
            load.wait_for(load.started + 20)
        finally:
            load.stop()
        cluster.verdict(ignore=["B: a connection"])  # the proxy keeps them
