"""An answer is taken at one server, followed at another, and any of them (or the database) dies in between."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from tests.faults.harness.answering import FLOWS, Heard, asleep
from tests.faults.harness.cluster import API_ONLY, SERVER, Cluster, Member
from tests.faults.harness.server import ServerDied

FAULT_EXIT = 86


@pytest.mark.parametrize("point", ["before_commit", "after_commit", "before_reply"])
def test_a_server_that_dies_at_a_commit_point_keeps_an_answer_or_none(cluster: Cluster, point: str) -> None:
    mortal, other = cluster.member("mortal", *API_ONLY), cluster.member("other", *SERVER)
    cluster.start(other)
    asked = [(flow, id) for flow in FLOWS for id in asleep(cluster.api, flow, 3)]
    heard = Heard()
    for nth in (2, 3, 5):
        with cluster.harming("killed"):
            assert answer_until_it_dies(cluster, mortal, f"{point}:{nth}", asked, heard) == FAULT_EXIT
    heard.check(cluster.api, asked)
    cluster.verdict()


def answer_until_it_dies(
    cluster: Cluster, member: Member, fault: str, asked: list[tuple[str, str]], heard: Heard
) -> int:  # fmt: skip
    """The server's exit status; `heard` gets what was told."""
    try:
        member.server.start(fault=fault)
    except ServerDied as died:
        return died.status
    with cluster.new_api(member) as api:
        for flow, id in asked:
            heard.say(api, flow, id, fault)
        # Answers that come second commit nothing: what is started does.
        while member.server.running:
            api.request("POST", "/api/v1/executions", json={"flow": "faults/one"})
    return member.server.died()


def test_two_servers_take_answers_while_all_around_them_dies(cluster: Cluster) -> None:
    """Each is answered at both at once; one of the two counts, and whoever was told so was told the truth."""
    one, two = (cluster.member(name, *SERVER) for name in ("one", "two"))
    cluster.start(one, two)
    asked = [(flow, id) for flow in FLOWS for id in asleep(cluster.api, flow, 12)]
    Random(5).shuffle(asked)
    heard = Heard()

    def say(of: tuple[str, str], member: Member) -> None:
        with cluster.new_api(member) as api:
            heard.say(api, *of, str(id(member)))

    for turn, kill in enumerate((lambda: cluster.kill(one), lambda: cluster.kill(two), cluster.crash_database)):
        part = asked[turn * 12 : turn * 12 + 12]
        with ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(say, of, member) for of in part for member in (one, two)]
            answers[turn].result()
            kill()
            for answer in answers:
                answer.result()
        for member in (one, two):
            member.server.revive()
    heard.check(cluster.api, asked)
    cluster.verdict()
