"""Faults 9, 13: a database that crashes, has no connection left, or undoes transactions."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from random import Random

import asyncpg
import pytest

from tests.faults.harness.api import Api, Lost
from tests.faults.harness.cluster import API_ONLY, LEASE_S, SERVER, WORKER, Cluster
from tests.faults.harness.link import Strike
from tests.faults.harness.load import Load
from tests.faults.harness.postgres_store import SCHEMA
from tests.faults.harness.waiting import until
from tests.faults.harness.wire import failing


def crash_loop(cluster: Cluster, *, seed: int, crashes: int, threads: int = 3) -> None:
    """The database crashes at random moments under mixed load, again and again, and comes back."""
    random = Random(seed)
    members = [cluster.member("one", *SERVER), cluster.member("two", *SERVER), cluster.member("worker", *WORKER)]
    cluster.start(*members)
    urls = [lambda: members[0].url, lambda: members[1].url]
    loads = [
        Load(url, cluster.acknowledgements, seed=seed * 10 + index, threads=threads, ledger=cluster.ledger)
        for index, url in enumerate(urls)
    ]
    try:
        for number in range(crashes):
            for load in loads:
                load.wait_for(load.started + random.randrange(1, 40))
            member = members[number % 2]
            with cluster.new_api(member) as api:
                cluster.follow(api.start_surely("faults/chain", key=f"followed-{number}")["id"], member)
                cluster.crash_database(meanwhile=partial(told_to_come_again, api))
    finally:
        for load in loads:
            load.stop()
    cluster.verdict(within_s=90)


def told_to_come_again(api: Api) -> None:
    """While the database is down, everything that needs it is answered with 503 and when to try again."""
    for method, path, body in (
        ("POST", "/api/v1/executions", {"flow": "faults/one"}),
        ("GET", "/api/v1/executions", None),
    ):
        answer = api.request(method, path, json=body)
        assert answer.status_code == 503, (method, path, answer.status_code, answer.text)
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["code"]
    assert api.request("GET", "/health/live").status_code == 200


@pytest.mark.parametrize("seed", [9])
def test_a_database_that_crashes_loses_nothing_and_repeats_nothing(cluster: Cluster, seed: int) -> None:
    crash_loop(cluster, seed=seed, crashes=2)


def test_a_database_that_crashes_during_the_rescue_delays_it_only(cluster: Cluster) -> None:
    """dbos-transact-py#716: PostgreSQL restarted in the middle of recovery, and rows stayed pending for good."""
    server = cluster.member("server", *API_ONLY)
    victim, other = (cluster.member(name, *WORKER) for name in ("victim", "other"))
    cluster.start(server, victim)
    gate = cluster.gate("gate")
    ids = [cluster.api.start("faults/hold-inline", {"gate": gate.name})["id"] for _ in range(40)]
    cluster.begun(*ids)
    cluster.start(other)
    cluster.kill(victim)
    sweeps = [Strike(failing("57P01"), nth=1), Strike(failing("57P01"), nth=1)]
    until(lambda: silent_for(cluster, "victim") > LEASE_S - 0.5, within_s=30, what="its lease is about to end")
    for member, sweep in zip((server, other), sweeps, strict=True):
        member.link.rule = sweep
    # Whatever they commit next is undone and the database goes down in that very moment, twice.
    for _ in range(2):
        until(lambda: any(sweep.struck.is_set() for sweep in sweeps), within_s=30, what="a sweep is under way")
        cluster.crash_database()
    cluster.begun(*ids, times=2)
    gate.touch()
    assert {cluster.api.ended(id)["status"] for id in ids} == {"completed"}
    facts = cluster.verdict()
    assert {row["recoveries"] for row in facts.executions.values()} <= {1, 2}


def silent_for(cluster: Cluster, name: str) -> float:
    """Seconds since its last heartbeat, by the database's clock."""
    [row] = cluster.rows(
        "SELECT extract(epoch FROM clock_timestamp())::float8 - heartbeat_at / 1e6 AS s FROM workers WHERE name = $1",
        name,
    )
    return float(row["s"])


def test_without_a_connection_left_it_waits_and_leaks_nothing(cluster: Cluster) -> None:
    """Fault 13, max_connections: strangers take all that is left, and the wires are cut; then the strangers go."""
    cluster.postgres.stop("fast")
    cluster.postgres.start(fsync=False, max_connections=20)
    server = cluster.member("server", *API_ONLY)
    worker = cluster.member("worker", *WORKER)
    cluster.start(server, worker)
    assert cluster.api.start("faults/chain", wait_s=20)["status"] == "completed"
    with cluster.harming("connections"):
        with strangers(cluster) as count:
            assert count > 0
            for one in (server, worker):
                one.link.cut()
            with cluster.new_api(server) as api:
                answer = api.request("POST", "/api/v1/executions", json={"flow": "faults/one"})
                assert answer.status_code in {202, 503}, answer.text
        ids = [cluster.api.start_surely("faults/chain", key=f"after-{number}")["id"] for number in range(10)]
        assert {cluster.api.ended(id)["status"] for id in ids} == {"completed"}
    held = cluster.rows("SELECT application_name FROM pg_stat_activity WHERE datname = $1", cluster.database)
    assert len(held) - 1 <= 2 * 7, held
    cluster.verdict()
    cluster.postgres.stop("fast")


@contextlib.contextmanager
def strangers(cluster: Cluster) -> Iterator[int]:
    """As many connections as the server gives, reserved ones included, until the end of the context."""
    loop = asyncio.new_event_loop()
    taken: list[asyncpg.Connection] = []

    async def take_all() -> None:
        refused = 0
        while refused < 3:
            try:
                taken.append(await asyncpg.connect(cluster.url, ssl=False))
            except asyncpg.TooManyConnectionsError:
                refused += 1

    async def leave() -> None:
        for one in taken:
            await one.close()

    loop.run_until_complete(take_all())
    try:
        yield len(taken)
    finally:
        loop.run_until_complete(leave())
        loop.close()


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
def test_undone_transactions_are_done_again(cluster: Cluster, sqlstate: str) -> None:
    """Fault 13: serialization failures and deadlocks at COMMIT, several in a row, for whoever commits."""
    server = cluster.member("server", *API_ONLY)
    worker = cluster.member("worker", *WORKER)
    cluster.start(server, worker)
    load = Load(lambda: server.url, cluster.acknowledgements, seed=13, threads=2, ledger=cluster.ledger)
    try:
        for times in (1, 3, 5, 12):
            for member in (server, worker):
                strike = Strike(failing(sqlstate), times=times)
                member.link.rule = strike
                assert strike.struck.wait(30), "somebody commits"
                load.wait_for(load.started + 2)
    finally:
        load.stop()
    facts = cluster.verdict()
    assert {row["recoveries"] for row in facts.executions.values()} == {0}


def test_real_deadlocks_delay_and_harm_nobody(cluster: Cluster) -> None:
    """Fault 13: another session takes the same rows in the opposite order, for as long as there is work."""
    cluster.postgres.run(f"ALTER DATABASE {cluster.database} SET deadlock_timeout = '20ms'")
    server = cluster.member("server", *API_ONLY)
    worker = cluster.member("worker", *WORKER)
    cluster.start(server, worker)
    done = threading.Event()
    rival = threading.Thread(target=asyncio.run, args=(rivalry(cluster.url, done),))
    rival.start()
    load = Load(lambda: server.url, cluster.acknowledgements, seed=40, threads=3, ledger=cluster.ledger)
    try:
        load.wait_for(60)
        until(lambda: deadlocks(cluster) >= 3, within_s=30, what="some deadlocks")
    finally:
        load.stop()
        done.set()
        rival.join(30)
    facts = cluster.verdict()
    assert {row["recoveries"] for row in facts.executions.values()} == {0}


async def rivalry(url: str, done: threading.Event) -> None:
    """Lock what is unfinished, newest first, one row at a time; the system goes from the oldest on."""
    connection = await asyncpg.connect(url, ssl=False, server_settings={"search_path": SCHEMA})
    try:
        while not done.is_set():
            ids = await connection.fetch("SELECT id FROM executions WHERE finished_at IS NULL ORDER BY id DESC LIMIT 6")
            with contextlib.suppress(asyncpg.DeadlockDetectedError):
                async with connection.transaction():
                    for row in ids:
                        await connection.execute("SELECT FROM executions WHERE id = $1 FOR UPDATE", row["id"])
                        await asyncio.sleep(0.01)
    finally:
        await connection.close()


def deadlocks(cluster: Cluster) -> int:
    [row] = cluster.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = $1", cluster.database)
    return int(row["deadlocks"])


def test_a_lost_answer_is_not_taken_for_a_refusal(cluster: Cluster) -> None:
    """A database that is gone for a client that waits: it is told so, or its connection ends; nothing is doubled."""
    one, two = (cluster.member(name, *SERVER) for name in ("one", "two"))
    cluster.start(one, two)
    told: list[int] = []
    with cluster.new_api(one) as api:
        for number in range(12):
            if number % 4 == 1:
                cluster.crash_database(meanwhile=partial(ask, api, told, "while"))
            ask(api, told, f"key-{number}")
    with cluster.new_api(two) as api:
        for number in range(12):
            api.start_surely("faults/one", key=f"key-{number}")
        api.start_surely("faults/one", key="while")
    assert set(told) <= {200, 202, 503}
    facts = cluster.verdict()
    assert len(facts.executions) == 13


def ask(api: Api, told: list[int], key: str) -> None:
    with contextlib.suppress(Lost):
        body = {"flow": "faults/one", "idempotency_key": key}
        told.append(api.request("POST", "/api/v1/executions", json=body).status_code)
