"""Faults 3 and 21: the commit is done and its reply is lost; calls come twice, or late."""

import socket
import threading
from contextlib import suppress
from random import Random
from urllib.parse import urlsplit

import pytest

from tests.faults.harness.api import API, Lost, Refused
from tests.faults.harness.proxy import Proxy, Repeater, ReplyLost, Upstream, status_of
from tests.faults.harness.scene import Scene


def test_a_start_whose_reply_was_lost_is_found_again_by_its_key(scene: Scene) -> None:
    lost = ReplyLost(count=10)
    with Proxy(lambda: scene.server.url, lost) as proxy, scene.new_api(proxy.url) as api:
        for number in range(10):
            with pytest.raises(Lost):
                api.start("faults/one", key=f"order-{number}")
        again = [api.start("faults/one", key=f"order-{number}") for number in range(10)]
    assert {status_of(reply) for reply in lost.replies} <= {200, 202}
    for execution, reply in zip(again, lost.replies, strict=True):
        assert execution["id"].encode() in reply, "the same key leads to the same execution"
        assert execution["replayed"]
    facts = scene.verdict()
    assert len(facts.executions) == 10
    assert len(scene.effects.lines(kind="begin")) == 10


def test_clients_that_hang_up_leave_whole_executions_or_none(scene: Scene) -> None:
    parts = urlsplit(scene.server.url)
    body = b'{"flow": "faults/chain", "idempotency_key": "hung-up-%d"}'
    for number in range(60):
        content = body % number
        head = f"POST {API}/executions HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        request = f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
        with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
            # Within the head, within the body, or behind it: nobody waits for the answer.
            connection.sendall(request[: len(request) - (0, 0, 10, 100)[number % 4]])
    for number in range(60):
        scene.api.start("faults/chain", key=f"hung-up-{number}")
    facts = scene.verdict()
    assert len(facts.executions) == 60


def test_the_same_key_with_another_body_is_refused(scene: Scene) -> None:
    first = scene.api.start("faults/limited", {"key": "a"}, key="order")
    with pytest.raises(Refused) as refused:
        scene.api.start("faults/limited", {"key": "b"}, key="order")
    assert (refused.value.status, refused.value.problem["code"]) == (409, "idempotency_conflict")
    scene.server.kill()
    scene.server.start()
    with pytest.raises(Refused) as refused:
        scene.api.start("faults/limited", {"key": "b"}, key="order")
    assert refused.value.status == 409
    assert scene.api.start("faults/limited", {"key": "a"}, key="order")["id"] == first["id"]
    scene.verdict()


def test_many_clients_with_one_key_get_one_execution(scene: Scene) -> None:
    found: list[str] = []
    barrier = threading.Barrier(20)

    def ask() -> None:
        with scene.new_api() as api:
            barrier.wait()
            found.extend(api.start("faults/one", key="only")["id"] for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 100
    assert len(set(found)) == 1
    scene.verdict()
    assert len(scene.effects.lines(kind="begin")) == 1


def test_repeated_and_reordered_calls_change_nothing(scene: Scene) -> None:
    repeater = Repeater(times=3)
    gate = scene.gate("gate")
    with Proxy(lambda: scene.server.url, repeater) as proxy, scene.new_api(proxy.url) as api:
        done = [api.start("faults/chain", key=f"chain-{number}", wait_s=20)["id"] for number in range(5)]
        held = [api.start("faults/hold-inline", {"gate": gate.name}, key=f"hold-{n}")["id"] for n in range(5)]
        for id in held:
            with suppress(Refused):  # the reply that comes through may be that of a repetition
                api.cancel(id)
    assert {scene.api.ended(id)["status"] for id in held} == {"cancelled"}
    assert {status_of(reply) for reply in repeater.replies} <= {200, 202, 409}

    late = repeater.requests * 2
    Random(21).shuffle(late)
    upstream = Upstream(lambda: scene.server.url)
    for request in late:
        reply = upstream.call(request)
        assert status_of(reply) in {200, 202, 409}, reply
        if b"/cancel" in request:
            assert status_of(reply) == 409, "it has ended"
    assert {scene.api.execution(id)["status"] for id in done} == {"completed"}
    facts = scene.verdict()
    assert set(facts.executions) == {*done, *held}


def test_a_cancel_that_overtakes_its_start_finds_nothing(scene: Scene) -> None:
    with pytest.raises(Refused) as refused:
        scene.api.cancel("01936b1e-5f3a-7c2d-9b1a-0c6a8f3e2d71")
    assert refused.value.status == 404
    scene.verdict()


def test_a_duplicate_that_is_refused_leaves_the_first_alone(scene: Scene) -> None:
    """apache/airflow#69336: a losing duplicate's failure killed the healthy run."""
    gate = scene.gate("gate")
    first = scene.api.start("faults/reject", {"gate": gate.name})["id"]
    for _ in range(20):
        with pytest.raises(Refused) as refused:
            scene.api.start("faults/reject", {"gate": gate.name})
        assert (refused.value.status, refused.value.problem["code"]) == (409, "concurrency_limit_reached")
    gate.touch()
    assert scene.api.ended(first)["status"] == "completed"
    assert scene.api.start("faults/reject", {"gate": gate.name}, wait_s=20)["status"] == "completed"
    facts = scene.verdict()
    assert len(facts.executions) == 2
