"""Servers without workers, workers without servers: each does its part, and a client sees one perdure."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from perdure.client.client import Client
from perdure.model.states import ExecutionStatus
from tests.cluster.conftest import Begin
from tests.served import clean_environ, perdure

PATIENCE_S = 60
SHORT = "id: short\nnodes:\n  one: {shell: 'sleep 0.1; echo $WORKER'}\noutput: '${nodes.one.output.stdout}'\n"
PICKY = "id: picky\nrequires: [gpu]\nnodes:\n  one: {shell: 'echo $WORKER'}\noutput: '${nodes.one.output.stdout}'\n"


@pytest.fixture
def client(begin: Begin) -> Iterator[Client]:
    """Of a server that runs nothing itself."""
    with Client(begin("server", "serve", "--no-worker").url) as found:
        yield found


def test_two_workers_share_the_work_of_a_server_without_one(begin: Begin, client: Client) -> None:
    client.flows.put("short", SHORT)
    waiting = [client.executions.start("short") for _ in range(3)]
    assert {handle.refresh().status for handle in waiting} == {ExecutionStatus.QUEUED}
    assert waiting[0].why().summary == "No worker is running."
    workers = [begin(name, "worker", "--slots", "2") for name in ("a", "b")]
    handles = [*waiting, *(client.executions.start("short") for _ in range(20))]
    ran = Counter(str(handle.result(timeout=PATIENCE_S)).strip() for handle in handles)
    assert set(ran) == {"a", "b"}
    assert sum(ran.values()) == len(handles)
    seen = {worker.name: worker for worker in client.system.workers()}
    assert {name: (worker.status, worker.slots, worker.owned) for name, worker in seen.items()} == {
        "a": ("alive", 2, 0),
        "b": ("alive", 2, 0),
    }
    assert httpx2.get(f"{workers[0].url}/health/ready").json()["status"] == "ok"
    assert httpx2.get(f"{workers[0].url}/api/v1/executions").status_code == 404


def test_what_requires_a_tag_waits_for_a_worker_that_has_it(begin: Begin, client: Client) -> None:
    begin("plain", "worker")
    client.flows.put("picky", PICKY)
    handle = client.executions.start("picky")
    assert handle.why().summary == "No live worker with tag gpu serves the queue default."
    begin("strong", "worker", "--tags", "gpu,fast")
    assert str(handle.result(timeout=PATIENCE_S)).strip() == "strong"


def test_a_stream_at_a_server_is_whole_while_a_worker_elsewhere_writes_it(begin: Begin, client: Client) -> None:
    begin("a", "worker")
    lines = 300
    client.flows.put("talk", f"id: talk\nnodes:\n  one: {{shell: 'for i in $(seq {lines}); do echo $i; done'}}\n")
    handle = client.executions.start("talk")
    events = list(handle.events())
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    said = [event.data["message"] for event in events if event.type == "log" and event.data]
    assert said == [str(number) for number in range(1, lines + 1)]
    assert events[-1].type == "execution.completed"


def test_what_runs_elsewhere_is_cancelled_through_any_server(begin: Begin, client: Client) -> None:
    begin("a", "worker")
    client.flows.put("long", "id: long\nnodes:\n  one: {shell: 'echo up; exec sleep 600'}\n")
    handle = client.executions.start("long")
    assert next(line.message for line in handle.logs(follow=True)) == "up"
    handle.cancel(reason="enough")
    assert handle.wait(timeout=PATIENCE_S).status == ExecutionStatus.CANCELLED


def test_large_values_and_artifacts_need_no_common_folder(begin: Begin, client: Client) -> None:
    begin("a", "worker")
    size = 300_000
    client.flows.put(
        "large",
        "id: large\ninput: {text: {type: string}}\nnodes:\n"
        "  one: {shell: 'head -c 700000 /dev/zero > $PERDURE_ARTIFACTS/zeros'}\n"
        "  two: {transform: '${input.text}', needs: [one]}\noutput: '${nodes.two.output}'\n",
    )
    handle = client.executions.start("large", input={"text": "x" * size})
    assert handle.result(timeout=PATIENCE_S) == "x" * size
    (artifact,) = handle.artifacts()
    assert client.artifacts.read(artifact.id) == bytes(700_000)


def test_a_draining_worker_hands_over_what_waits_and_what_it_must_stop(begin: Begin, client: Client) -> None:
    client.flows.put(
        "waits", "id: waits\nnodes:\n  one: {shell: '[ $WORKER = b ]', retry: {attempts: 9, backoff: 4s}}\n"
    )
    client.flows.put("holds", "id: holds\nnodes:\n  one: {shell: 'echo up; [ $WORKER = b ] || exec sleep 600'}\n")
    first = begin("a", "worker", "--drain", "200ms", "--grace", "200ms")
    waits, holds = client.executions.start("waits"), client.executions.start("holds")
    assert next(line.message for line in holds.logs(follow=True)) == "up"
    assert next(event.type for event in waits.events() if event.type == "node.retrying")
    assert first.stop() == 0
    begin("b", "worker")
    assert {handle.wait(timeout=PATIENCE_S).status for handle in (waits, holds)} == {ExecutionStatus.COMPLETED}
    assert "execution.interrupted" in [event.type for event in holds.past_events()]


def test_a_worker_beside_a_store_of_one_process_is_refused_with_the_reason(tmp_path: Path) -> None:
    done = subprocess.run(
        perdure("worker"),
        check=False,
        cwd=tmp_path,
        env=clean_environ(tmp_path),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert "belongs to one process" in done.stderr
    assert "postgresql://" in done.stderr


def test_credentials_of_the_store_are_shown_nowhere(tmp_path: Path) -> None:
    url = "postgresql://anna:hunter22@127.0.0.1:1/nowhere?password=hunter22"
    for command in ("worker", "serve"):
        done = subprocess.run(
            perdure(command, "--store", url), check=False, cwd=tmp_path, env=clean_environ(tmp_path), capture_output=True, text=True,
            timeout=30,
        )  # fmt: skip
        assert done.returncode == 1
        assert "127.0.0.1:1" in done.stderr
        assert "hunter22" not in done.stdout + done.stderr
