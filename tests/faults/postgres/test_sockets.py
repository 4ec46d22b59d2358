"""A WebSocket's place holds at every server of a cluster; one that is not kept any more is told so."""

from __future__ import annotations

from contextlib import closing
from functools import partial

from tests.faults.harness.cluster import SERVER, Cluster, Member
from tests.faults.harness.live import Reader, gaps
from tests.faults.harness.load import Load
from tests.faults.harness.waiting import until

FORGET = "DELETE FROM feed AS f USING writers AS w WHERE w.number = f.writer AND f.n < w.n"
"""What the feed's housekeeping does with what is older than it keeps."""


def reads_at(reader: Reader, member: Member) -> bool:
    return bool(reader.wait_connected()["url"] == member.url)


def test_a_socket_is_taken_up_at_another_server_without_gap_or_double(cluster: Cluster) -> None:
    one, two = (cluster.member(name, *SERVER) for name in ("one", "two"))
    cluster.start(one, two)
    with closing(
        Reader(cluster.place / "reader", "ws", [one.url, two.url], namespace="faults", logs=True)
    ) as reader:  # fmt: skip
        reader.wait_connected()
        urls = [lambda: one.url, lambda: two.url]
        loads = [
            Load(url, cluster.acknowledgements, seed=seed, threads=2, ledger=cluster.ledger)
            for seed, url in enumerate(urls)
        ]
        try:
            for times, member in enumerate((one, two, one), 2):
                loads[0].wait_for(loads[0].started + 10)
                until(partial(reads_at, reader, member), within_s=60, what="it reads there")
                cluster.kill(member)
                reader.wait_connected(times)
                member.server.start()
        finally:
            for load in loads:
                load.stop()
        cluster.settle()
        facts = cluster.facts()
        until(lambda: not gaps(reader, facts), within_s=30, what=f"it has read all: {gaps(reader, facts)[:3]}")
        assert {note["url"] for note in reader.notes("connected")} == {one.url, two.url}
        assert not reader.notes("reset")
    cluster.verdict()


def test_a_place_that_is_not_kept_any_more_is_told_so_at_any_server(cluster: Cluster) -> None:
    one, two = (cluster.member(name, *SERVER) for name in ("one", "two"))
    cluster.start(one, two)
    with closing(Reader(cluster.place / "reader", "ws", [one.url, two.url], namespace="faults")) as reader:
        reader.wait_connected()
        with cluster.new_api(two) as api:
            api.start("faults/chain", wait_s=20)
            until(reader.events, within_s=20, what="it reads")
            with reader.stopped():
                cluster.kill(one)
                for _ in range(5):
                    api.start("faults/chain", wait_s=20)
                cluster.execute(FORGET)
            until(lambda: reader.notes("reset"), within_s=30, what="it is told")
            later = api.start("faults/chain", wait_s=20)["id"]
            until(lambda: not gaps(reader, cluster.facts(), later), within_s=20, what="it goes on from now")
    cluster.verdict(ignore=["S: the feed of writer", "S: chunk"])
