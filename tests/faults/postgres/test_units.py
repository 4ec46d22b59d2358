"""A fan-out whose items are spread over workers: any of them may die, and what comes out is as without."""

from __future__ import annotations

from collections import Counter

from tests.faults.harness.cluster import API_ONLY, WORKER, Cluster
from tests.faults.harness.waiting import until

ITEMS = 200


def _units_by_worker(cluster: Cluster) -> Counter[str]:
    rows = cluster.rows(
        "SELECT w.name, count(*) AS n FROM executions AS e JOIN workers AS w ON w.id = e.worker"
        " WHERE e.kind = 'unit' GROUP BY w.name"
    )
    return Counter({row["name"]: row["n"] for row in rows})


def test_two_workers_share_a_spread_foreach_and_one_of_them_dies(cluster: Cluster) -> None:
    server = cluster.member("server", *API_ONLY)
    workers = {name: cluster.member(name, *WORKER, "--slots", "40") for name in ("one", "two")}
    cluster.start(server, *workers.values())
    gate = cluster.gate("gate")
    id = cluster.api.start("faults/spread", {"items": [*range(ITEMS)], "gate": gate.name})["id"]
    until(lambda: len(_units_by_worker(cluster)) == 2, within_s=30, what="both workers make units")
    held = _units_by_worker(cluster)["one"]
    cluster.kill(workers["one"])
    until(
        lambda: set(_units_by_worker(cluster)) == {"two"}, within_s=30, what="the other one has what the dead one had"
    )
    gate.touch()
    ended = cluster.api.ended(id, within_s=120)
    assert (ended["status"], ended["output"]) == ("completed", [gate.name] * ITEMS)
    units = cluster.api.executions(kind="unit", parent=id)
    assert Counter(unit["status"] for unit in units) == {"completed": ITEMS}
    assert 0 < sum(unit["recoveries"] for unit in units) <= held + 40
    assert sorted(unit["trigger"]["context"]["ordinal"] for unit in units) == [*range(ITEMS)]
    assert len(cluster.api.executions()) == 1, "no list shows them"
    runs = cluster.api.nodes(id)
    assert {run["attempt"] for run in runs} == {1}, "an interrupted attempt is no try of its own"
    cluster.verdict()


def test_a_cancel_reaches_units_at_every_worker_also_at_one_that_dies(cluster: Cluster) -> None:
    server = cluster.member("server", *API_ONLY)
    workers = {name: cluster.member(name, *WORKER, "--slots", "20") for name in ("one", "two")}
    cluster.start(server, *workers.values())
    id = cluster.api.start("faults/spread", {"items": [*range(ITEMS)], "gate": "never"})["id"]
    until(lambda: len(_units_by_worker(cluster)) == 2, within_s=30, what="both workers make units")
    places = [run["unit"] for run in cluster.api.nodes(id) if run["unit"] is not None]
    assert {place["worker_name"] for place in places if place["status"] == "running"} <= set(workers)
    why = cluster.api.get(f"/executions/{id}/why")
    assert {cause["kind"] for cause in why["waiting_for"]} == {"unit"}
    cluster.kill(workers["one"])
    cluster.api.cancel(id, reason="enough")
    ended = cluster.api.ended(id)
    assert ended["status"] == "cancelled"
    units = cluster.api.executions(kind="unit", parent=id)
    assert {unit["status"] for unit in units} == {"cancelled"}
    assert max(unit["finished_at"] for unit in units) <= ended["finished_at"], "it waited until they were dead"
    cluster.verdict()
