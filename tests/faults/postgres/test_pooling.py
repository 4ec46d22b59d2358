"""Fault 12: PgBouncer in transaction mode before the database."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from perdure.store.postgres.examining import examine_database
from perdure.store.postgres.migrate import pending
from perdure.store.postgres.store import PostgresStore
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


def test_clients_that_share_sessions_do_not_meddle_with_each_others_statements(
    cluster: Cluster, tmp_path: Path
) -> None:
    """A statement without a name belongs to the session, which others may have between two transactions."""
    with PgBouncer(tmp_path, cluster.postgres, size=2) as bouncer:
        url = cluster.postgres.url(cluster.database, port=bouncer.port, query=f"{POOLED}&sslmode=disable")
        asyncio.run(_open_and_look(url))


async def _open_and_look(url: str) -> None:
    async def one(work: Callable[[str], Awaitable[object]]) -> None:
        for _ in range(4):
            await work(url)

    async def opened(url: str) -> None:
        store = await PostgresStore.open(url)
        await store.info()
        await store.close()

    await opened(url)
    await asyncio.gather(*(one(work) for work in (opened, pending, examine_database) for _ in range(4)))


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
