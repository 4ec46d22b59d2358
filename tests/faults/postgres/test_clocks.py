"""Fault 18: wall clocks that jump by hours; leases, timers and all times use the database's clock."""

import time
from pathlib import Path
from random import Random

from perdure.base.clock import SECOND, from_rfc3339, to_rfc3339
from tests.faults.harness.clock import WallClock
from tests.faults.harness.cluster import API_ONLY, LEASE_S, TAKEN_OVER_S, WORKER, Cluster
from tests.faults.harness.load import MIX, Load

TIMES = ("N: ",)
"""Findings that compare times of clocks which were set apart on purpose."""
TIMELESS = [one for one in MIX if one[0] not in {"faults/nap", "faults/flaky"}]
"""What waits for no time of day."""
WAIT_S = 8.0
NEAR_S = 0.1
"""By which the clocks of processes may differ."""
LATE_S = 6.0


def test_clocks_that_jump_cost_no_lease_and_free_nothing(cluster: Cluster, tmp_path: Path) -> None:
    members = [cluster.member("server", *API_ONLY), *(cluster.member(name, *WORKER) for name in ("one", "two"))]
    clocks = [WallClock(tmp_path / f"clock-{number}") for number in range(len(members))]
    for member, clock in zip(members, clocks, strict=True):
        member.go_by(clock)
    cluster.start(*members)
    gate = cluster.gate("gate")
    ids: list[str] = []
    # Who claims how many is theirs to say; each is to hold some.
    while {cluster.owner(id) for id in ids} != {"one", "two"}:
        more = [cluster.api.start("faults/hold-inline", {"gate": gate.name})["id"] for _ in range(20)]
        cluster.begun(*more)
        ids += more
    alive = cluster.rows("SELECT id FROM workers WHERE stopped_at IS NULL ORDER BY number")
    random = Random(18)
    server = members[0]
    load = Load(lambda: server.url, cluster.acknowledgements, seed=18, threads=2, ledger=cluster.ledger, mix=TIMELESS)
    try:
        began = time.monotonic()
        while time.monotonic() < began + 2 * LEASE_S:
            load.wait_for(load.started + 5)
            random.choice(clocks).set(random.choice([3, -3, 0]))
    finally:
        load.stop()
    assert cluster.rows("SELECT id FROM workers WHERE stopped_at IS NULL ORDER BY number") == alive
    clocks[1].set(3)
    clocks[2].set(-3)
    held = {id: cluster.owner(id) for id in ids}
    cluster.kill(members[2])
    cluster.begun(*(id for id, owner in held.items() if owner == "two"), times=2, within_s=TAKEN_OVER_S)
    for clock in clocks:
        clock.set(0)
    gate.touch()
    assert {cluster.api.ended(id)["status"] for id in ids} == {"completed"}
    facts = cluster.verdict(ignore=TIMES)
    for id, owner in held.items():
        assert facts.executions[id]["recoveries"] == (owner == "two")


def test_timers_starts_and_deadlines_go_by_the_databases_clock(cluster: Cluster, tmp_path: Path) -> None:
    """Who is three hours ahead fires nobody's timer early, and who is behind fires none late."""
    members = [cluster.member("server", *API_ONLY), *(cluster.member(name, *WORKER) for name in ("one", "two"))]
    clocks = [WallClock(tmp_path / f"clock-{number}") for number in range(len(members))]
    for member, clock, hours in zip(members, clocks, (3, -3, 3), strict=True):
        clock.set(hours)
        member.go_by(clock)
    cluster.start(*members)
    began = time.time()
    start_at = to_rfc3339(round((began + WAIT_S) * SECOND))
    sleeping = [cluster.api.start("faults/nap", {"duration": f"{WAIT_S:g}s"})["id"] for _ in range(6)]
    put_off = [cluster.api.start("faults/nap", {"duration": "1ms"}, start_at=start_at)["id"] for _ in range(6)]
    expiring = [cluster.api.start("faults/nap", {"duration": "1h"}, timeout=f"{WAIT_S:g}s")["id"] for _ in range(6)]
    for ids, status in ((sleeping, "completed"), (put_off, "completed"), (expiring, "timed_out")):
        for id in ids:
            ended = cluster.api.ended(id)
            created_at, finished_at = (from_rfc3339(ended[name]) / SECOND for name in ("created_at", "finished_at"))
            assert ended["status"] == status, ended["error"]
            assert began - NEAR_S <= created_at <= began + LATE_S, "told by the database's clock"
            assert WAIT_S - NEAR_S <= finished_at - began <= WAIT_S + LATE_S
            assert time.time() >= began + WAIT_S - NEAR_S
            for item in cluster.api.events(id):
                assert began - NEAR_S <= from_rfc3339(item["at"]) / SECOND <= time.time() + NEAR_S
    cluster.verdict(ignore=TIMES)
