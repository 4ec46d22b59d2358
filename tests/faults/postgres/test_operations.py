"""The process that carries out an operation dies, and another one goes on with it behind its lease."""

from __future__ import annotations

from tests.faults.harness.cluster import LEASE_S, Cluster
from tests.faults.harness.operating import ask, over, require_done_once
from tests.faults.harness.waiting import until
from tests.faults.test_operations import COUNT, REPLAYING, TAGGING


def test_another_process_takes_over_and_does_the_rest_once(cluster: Cluster) -> None:
    first, second = (cluster.member(name) for name in ("first", "second"))
    cluster.start(first, second)
    ids = [cluster.api.start_surely("faults/nap", {"duration": "1ms"}, key=f"nap-{n}")["id"] for n in range(COUNT)]
    for id in ids:
        cluster.api.ended(id)
    with cluster.new_api(first) as api:
        tagging, replaying = ask(api, TAGGING, "tag"), ask(api, REPLAYING, "replay")
        until(lambda: api.get(f"/operations/{replaying['id']}")["succeeded"] > 0, within_s=30, what="it has begun")
    cluster.kill(first)
    with cluster.new_api(second) as api:
        done = [over(api, one["id"], within_s=10 * LEASE_S + 30) for one in (tagging, replaying)]
        require_done_once(api, ids, tagging=done[0], replaying=done[1])
    cluster.verdict(within_s=90)
