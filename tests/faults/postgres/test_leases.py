"""Faults 5, 6, 7, 8: workers that stood still, came back under the same name, or were declared dead by two at once."""

import json
from datetime import UTC, datetime

import pytest

from tests.faults.harness.cluster import API_ONLY, LEASE_S, LETS_GO, SERVER, TAKEN_OVER_S, WORKER, Cluster, Member
from tests.faults.harness.processes import Process, alive
from tests.faults.harness.stalls import Stalls
from tests.faults.harness.waiting import now_us, until

FENCED_EXIT = 75
"""What a process ends itself with when it finds that its lease is over."""


def the_owner(cluster: Cluster, execution: str) -> Member:
    name = until(lambda: cluster.owner(execution), within_s=TAKEN_OVER_S, what="somebody owns it")
    return cluster.members[name]


def owned_by_other(cluster: Cluster, execution: str, name: str) -> str:
    def look() -> str | None:
        found = cluster.owner(execution)
        return found if found != name else None

    return until(look, within_s=TAKEN_OVER_S, what=f"another than {name} owns {execution}")


def test_a_machine_that_stood_still_past_its_lease_has_lost_what_it_owned(cluster: Cluster) -> None:
    """Fault 5. What it had begun is stopped when it goes on; what it writes is refused; it works on as somebody else."""
    server = cluster.member("server", *API_ONLY)
    workers = [cluster.member(name, *WORKER) for name in ("one", "two")]
    cluster.start(server, *workers)
    gate = cluster.gate("gate")
    id = cluster.api.start("faults/ticking", {"gate": gate.name, "ledger": cluster.ledger})["id"]
    cluster.begun(id, times=3)
    zombie = the_owner(cluster, id)
    with cluster.harming("frozen"), zombie.server.frozen(wholly=True):
        owned_by_other(cluster, id, zombie.server.environment["PERDURE_WORKER_NAME"])
        cluster.begun(id, times=6)
    until(lambda: zombie.server.revive() or back_again(cluster, zombie), within_s=TAKEN_OVER_S, what="it is back")
    gate.touch()
    ended = cluster.api.ended(id)
    assert (ended["status"], ended["recoveries"]) == ("completed", 1)
    cluster.verdict()


def test_a_worker_that_stands_still_alone_takes_its_nodes_with_it(cluster: Cluster) -> None:
    """Fault 5, for the worker's own process: its node processes go on, until others are about to have their work."""
    server = cluster.member("server", *API_ONLY)
    workers = [cluster.member(name, *WORKER) for name in ("one", "two")]
    cluster.start(server, *workers)
    gate = cluster.gate("gate")
    id = cluster.api.start("faults/ticking", {"gate": gate.name, "ledger": cluster.ledger})["id"]
    first = cluster.begun(id, times=3)
    zombie = the_owner(cluster, id)
    beside = [Process(one.pid, one.started) for one in first if one.node in {"process", "shell"}]
    with cluster.harming("frozen"), zombie.server.frozen():
        owned_by_other(cluster, id, zombie.server.environment["PERDURE_WORKER_NAME"])
        assert not alive(beside), "nobody has it before they are dead"
        second = cluster.begun(id, times=6)
    until(lambda: zombie.server.revive() or back_again(cluster, zombie), within_s=TAKEN_OVER_S, what="it is back")
    gate.touch()
    ended = cluster.api.ended(id)
    assert (ended["status"], ended["recoveries"]) == ("completed", 1)
    assert {run["attempt"] for run in cluster.api.nodes(id)} == {1}, "what was killed with its lease has not failed"
    taken_at = min(one.at for one in second if one.epoch > 1)
    effects = cluster.effects.lines(execution=id)
    assert not [one for one in effects if one.epoch == 1 and one.at > taken_at and one.node in {"process", "shell"}]
    cluster.verdict()


def back_again(cluster: Cluster, member: Member) -> bool:
    """Whether a worker of that name lives beside the one that was declared dead."""
    name = member.server.environment["PERDURE_WORKER_NAME"]
    told = cluster.rows("SELECT stopped_at FROM workers WHERE name = $1 ORDER BY number", name)
    return len(told) > 1 and told[0]["stopped_at"] is not None and told[-1]["stopped_at"] is None


def test_a_frozen_server_is_no_reason_for_two_to_claim(cluster: Cluster) -> None:
    """Fault 6. Thirty executions go over to the others, each to one of them."""
    frozen = cluster.member("frozen", *SERVER)
    cluster.start(frozen)
    gate = cluster.gate("gate")
    ids = [cluster.api.start("faults/hold-inline", {"gate": gate.name})["id"] for _ in range(30)]
    cluster.begun(*ids)
    others = [cluster.member("server", *SERVER), cluster.member("worker", *WORKER)]
    cluster.start(*others)
    with cluster.harming("frozen"), frozen.server.frozen(wholly=True):
        cluster.begun(*ids, times=2)
        gate.touch()
        with cluster.new_api(others[0]) as api:
            assert {api.ended(id)["status"] for id in ids} == {"completed"}
    assert {id: effects_begun(cluster, id) for id in ids} == dict.fromkeys(ids, 2)
    until(lambda: frozen.server.revive() or back_again(cluster, frozen), within_s=TAKEN_OVER_S, what="it is back")
    facts = cluster.verdict()
    assert {row["recoveries"] for row in facts.executions.values()} == {1}


def effects_begun(cluster: Cluster, id: str) -> int:
    return len([one for one in cluster.effects.lines(kind="begin", execution=id) if one.node == "hold"])


@pytest.mark.parametrize("role", [WORKER, SERVER], ids=["worker", "server"])
def test_the_same_name_does_not_make_the_same_worker(cluster: Cluster, role: tuple[str, ...]) -> None:
    """Fault 7. Who starts under a name that lives, or lived, inherits nothing: the old lease has to run out."""
    server = cluster.member("server", *API_ONLY)
    old = cluster.member("worker", *role)
    cluster.start(server, old)
    gate = cluster.gate("gate")
    id = cluster.api.start("faults/hold-inline", {"gate": gate.name})["id"]
    [first] = cluster.begun(id)
    successor = cluster.member("successor", *role)
    successor.server.environment["PERDURE_WORKER_NAME"] = "worker"
    with cluster.harming("frozen"), old.server.frozen(wholly=True):
        cluster.start(successor)
        [_, second] = cluster.begun(id, times=2)
    assert second.at - first.at > (LEASE_S - 1) * 1e6, "no sooner than the lease of the old one has ended"
    until(lambda: not old.server.running or back_again(cluster, old), within_s=TAKEN_OVER_S, what="the old one knows")
    gate.touch()
    assert cluster.api.ended(id)["status"] == "completed"
    workers = cluster.rows("SELECT id FROM workers WHERE name = 'worker'")
    assert len({row["id"] for row in workers}) >= 2
    if not old.server.running:
        assert old.server.died() == FENCED_EXIT
    cluster.verdict()


def test_rescuers_and_fresh_starts_do_not_collide(cluster: Cluster) -> None:
    """Fault 8. Two servers find the same dead worker while others start and claim: each execution is taken over once."""
    front = cluster.member("front", *API_ONLY)
    victim = cluster.member("victim", *WORKER)
    cluster.start(front, victim)
    gate = cluster.gate("gate")
    ids = [cluster.api.start("faults/hold-inline", {"gate": gate.name})["id"] for _ in range(60)]
    cluster.begun(*ids)
    servers = [cluster.member(name, *SERVER) for name in ("one", "two")]
    cluster.start(*servers)
    cluster.kill(victim)
    with cluster.new_api(servers[0]) as one, cluster.new_api(servers[1]) as two:
        fresh = [api.start("faults/chain", key=f"fresh-{n}")["id"] for n in range(100) for api in (one, two)]
    cluster.begun(*ids, times=2)
    gate.touch()
    assert {cluster.api.ended(id)["status"] for id in ids} == {"completed"}
    facts = cluster.verdict()
    assert len(set(fresh)) == 100
    for id in ids:
        told = [type for chunk in facts.chunks[id] for type in chunk.types]
        assert told.count("execution.interrupted") == facts.executions[id]["recoveries"] == 1
        assert effects_begun(cluster, id) == 2


def test_rescue_does_not_need_the_row_of_the_worker_that_died(cluster: Cluster) -> None:
    """procrastinate#1518: the worker's row was pruned first, and its job became invisible."""
    server = cluster.member("server", *API_ONLY)
    victim = cluster.member("victim", *WORKER)
    cluster.start(server, victim)
    gate = cluster.gate("gate")
    id = cluster.api.start("faults/hold-inline", {"gate": gate.name})["id"]
    cluster.begun(id)
    cluster.kill(victim)
    cluster.execute("DELETE FROM workers WHERE name = 'victim'")
    cluster.start(cluster.member("other", *WORKER))
    cluster.begun(id, times=2)
    gate.touch()
    assert cluster.api.ended(id)["status"] == "completed"
    cluster.verdict()


def test_a_worker_that_drains_claims_nothing_more(cluster: Cluster) -> None:
    """dbos-transact-py#804: a draining process with the same id claimed again, then died."""
    server = cluster.member("server", *API_ONLY)
    leaving = cluster.member("leaving", *WORKER)
    leaving.server.environment |= {"PERDURE_SLOTS": "3", "PERDURE_DRAIN": "20s"}
    cluster.start(server, leaving)
    gate = cluster.gate("gate")
    held = [cluster.api.start("faults/hold-only", {"gate": gate.name})["id"] for _ in range(3)]
    cluster.begun(*held)
    waiting = [cluster.api.start("faults/one")["id"] for _ in range(20)]
    leaving.server.terminate()
    until(lambda: "draining" in leaving.server.log_text(), within_s=20, what="it drains")
    gate.touch()
    assert {cluster.api.ended(id)["status"] for id in held} == {"completed"}
    assert leaving.server.died(within_s=30) == 0
    assert {cluster.api.execution(id)["status"] for id in waiting} == {"queued"}
    cluster.start(cluster.member("other", *WORKER))
    assert {cluster.api.ended(id)["status"] for id in waiting} == {"completed"}
    cluster.verdict()


def test_what_was_cancelled_while_it_waited_is_never_begun(cluster: Cluster) -> None:
    """dbos-transact-py#742: a stale list of pending ones was executed after ownership was cleared."""
    servers = [cluster.member(name, *API_ONLY) for name in ("one", "two")]
    worker = cluster.member("worker", *WORKER)
    worker.server.environment["PERDURE_SLOTS"] = "2"
    cluster.start(*servers, worker)
    gate = cluster.gate("gate")
    held = [cluster.api.start("faults/hold-inline", {"gate": gate.name})["id"] for _ in range(2)]
    cluster.begun(*held)
    waiting = [cluster.api.start("faults/hold-inline", {"gate": gate.name})["id"] for _ in range(20)]
    with cluster.new_api(servers[1]) as api:
        assert {api.cancel(id)["status"] for id in waiting[::2]} == {"cancelled"}
    gate.touch()
    assert {cluster.api.ended(id)["status"] for id in [*held, *waiting[1::2]]} == {"completed"}
    assert not {effect.execution for effect in cluster.effects.lines()} & set(waiting[::2])
    cluster.verdict()


def test_a_dead_run_does_not_keep_its_slot(cluster: Cluster) -> None:
    """kestra#14356, infrahub#9856: a dead run held its concurrency slot for ever."""
    server = cluster.member("server", *API_ONLY)
    workers = [cluster.member(name, *WORKER) for name in ("one", "two")]
    cluster.start(server, *workers)
    gate = cluster.gate("gate")
    first = cluster.api.start("faults/serial", {"gate": gate.name})["id"]
    cluster.begun(first)
    second, third = (cluster.api.start("faults/serial", {"gate": gate.name})["id"] for _ in range(2))
    cluster.kill(the_owner(cluster, first))
    cluster.begun(first, times=2)
    assert cluster.api.cancel(first)["status"] in {"cancelling", "cancelled"}
    cluster.begun(second)
    assert not cluster.effects.lines(execution=third)
    gate.touch()
    assert {cluster.api.ended(id)["status"] for id in (second, third)} == {"completed"}
    assert cluster.api.ended(first)["status"] == "cancelled"
    cluster.verdict()


def tell_of_a_lost_lease(member: Member, at: int) -> None:
    told = datetime.fromtimestamp(at / 1e6, UTC)
    with member.server.log.open("a") as log:
        log.write(json.dumps({"event": LETS_GO, "timestamp": told.isoformat()}) + "\n")


def test_a_lease_that_is_lost_without_a_cause_is_a_finding(cluster: Cluster) -> None:
    """The harness itself: what was neither done to a worker nor comes from a stall of the machine is no excuse."""
    member = cluster.member("one", *SERVER)
    cluster.start(member)
    tell_of_a_lost_lease(member, now_us() - 3_600_000_000)
    with pytest.raises(AssertionError, match="L: one lost its lease without a cause"):
        cluster.verdict()


def test_a_lease_that_is_lost_by_what_was_done_is_none(cluster: Cluster) -> None:
    member = cluster.member("one", *SERVER)
    cluster.start(member)
    cluster.api.start("faults/one", wait_s=20)
    member.link.cut()
    tell_of_a_lost_lease(member, now_us())
    cluster.verdict()


def test_what_the_machine_suffered_counts_where_it_was() -> None:
    stalls = Stalls()
    stalls.note(0, 149_000, runnable=2)
    assert stalls.stalled(0, 1_000_000) == 0
    stalls.note(1_000_000, 1_650_000, runnable=6)
    assert stalls.stalled(0, 2_000_000) == 600_000
    assert stalls.stalled(1_500_000, 9_000_000) == 150_000
    assert (stalls.runnable(0, 2_000_000), stalls.runnable(1_000_000, 2_000_000)) == (4, 6)
    assert stalls.runnable(5_000_000, 6_000_000) == 0
