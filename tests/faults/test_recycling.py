"""What cannot be stopped ends with the process, which replaces itself: the same pid, the same address, nothing lost."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.faults.harness.api import Lost
from tests.faults.harness.ledger import Boot
from tests.faults.harness.processes import alive, usage
from tests.faults.harness.scene import Scene
from tests.faults.harness.server import PERDURE
from tests.faults.harness.waiting import now_us, until


@pytest.fixture
def recycling(stage: Scene) -> Scene:
    """A server that replaces itself soon; not started yet."""
    stage.server.environment |= {
        "PERDURE_GRACE": "200ms", "PERDURE_DRAIN": "300ms", "PERDURE_RECYCLE_AFTER": "1s", "PERDURE_RECYCLE_PAUSE": "1s",
    }  # fmt: skip
    return stage


def info(scene: Scene) -> dict[str, Any]:
    answer: dict[str, Any] = scene.api.request("GET", "/system/info").json()
    return answer


def recycled(scene: Scene, times: int = 1) -> dict[str, Any]:
    """What the server says of itself, once it has replaced itself so often."""

    def renewed() -> dict[str, Any] | None:
        assert scene.server.running, scene.server.log_text()[-4000:]
        try:
            found = info(scene)
        except Lost:
            return None
        return found if found["recycles"] >= times else None

    return until(renewed, within_s=30, what="the server has replaced itself")


def orphan(scene: Scene) -> str:
    """An execution whose thread goes on for ever after it was cancelled."""
    id: str = scene.api.start("faults/stubborn-thread", {"gate": "never"})["id"]
    until(lambda: scene.effects.lines(execution=id), within_s=20, what="it runs")
    scene.api.cancel(id)
    assert scene.api.ended(id, within_s=20)["status"] == "cancelled"
    [run] = scene.api.nodes(id)
    assert run["status"] == "orphaned"
    return id


@contextmanager
def callers(scene: Scene) -> Iterator[list[Exception]]:
    """Somebody who connects anew again and again meanwhile; what went wrong with that."""
    url, over, failures = scene.server.url, threading.Event(), list[Exception]()

    def call() -> None:
        while not over.is_set():
            try:
                httpx2.get(f"{url}/health/live", timeout=20)
            except httpx2.TransportError as error:
                failures.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield failures
    finally:
        over.set()
        thread.join()


def test_the_process_is_replaced_and_everything_goes_on(recycling: Scene) -> None:
    recycling.server.start()
    gate = recycling.gate("gate")
    before, pid, url = info(recycling), recycling.server.pid, recycling.server.url
    held = recycling.api.start("faults/hold", {"gate": gate.name})["id"]
    until(lambda: recycling.effects.lines(execution=held, kind="begin"), within_s=20, what="it holds")
    supervised, used = recycling.server.processes(), usage(pid)
    with callers(recycling) as failures:
        stuck = orphan(recycling)
        assert info(recycling)["engine"]["orphans"]["living"] == 1
        after = recycled(recycling)
        recycling.boots.append(Boot(at=now_us()))
    assert not [error for error in failures if isinstance(error, httpx2.ConnectError)], "a connection was refused"
    assert (after["pid"], after["url"]) == (pid, url)
    assert after["engine"]["worker"] != before["engine"]["worker"]
    assert after["engine"]["orphans"]["living"] == 0
    assert recycling.api.start("faults/sync", wait_s=30)["status"] == "completed"
    gate.touch()
    assert recycling.api.ended(held)["status"] == "completed", "what was handed back goes on"
    felt = len(recycling.effects.lines(execution=stuck))
    assert not alive(supervised), "what belonged to the old image"
    used_after = usage(pid)
    # One more pool process may be there; what the old image had open would be twice as much.
    assert used_after.descriptors <= used.descriptors + 15, (used, used_after)
    assert used_after.children <= used.children + 2, (used, used_after)
    assert len(recycling.effects.lines(execution=stuck)) == felt, "the thread is gone"
    assert "PERDURE_HANDOVER" not in Path(f"/proc/{recycling.server.processes()[0].pid}/environ").read_text()
    orphan(recycling)
    recycled(recycling, times=2)
    recycling.verdict()


def test_it_does_not_replace_itself_again_too_soon(recycling: Scene) -> None:
    recycling.server.environment["PERDURE_RECYCLE_PAUSE"] = "1h"
    recycling.server.start()
    orphan(recycling)
    recycled(recycling)
    orphan(recycling)
    until(lambda: '"replaces_in_s": 35' in recycling.server.log_text(), within_s=10, what="it is told when")
    found = info(recycling)
    assert (found["recycles"], found["engine"]["orphans"]["living"]) == (1, 1)
    metrics = recycling.api.request("GET", "/metrics").text
    assert "perdure_recycles_total 1" in metrics
    assert "perdure_orphans 1" in metrics
    recycling.verdict()


def test_a_sigterm_meanwhile_means_the_end(recycling: Scene) -> None:
    recycling.server.environment["PERDURE_DRAIN"] = "60s"
    recycling.server.start()
    gate = recycling.gate("gate")
    held = recycling.api.start("faults/hold", {"gate": gate.name})["id"]
    until(lambda: recycling.effects.lines(execution=held, kind="begin"), within_s=20, what="it holds")
    orphan(recycling)
    until(lambda: '"event": "draining"' in recycling.server.log_text(), within_s=20, what="it drains")
    recycling.server.terminate()
    until(lambda: recycling.api.request("GET", "/health/ready").status_code == 503, within_s=5, what="it still drains")
    gate.touch()
    assert recycling.server.died(within_s=30) == 0
    recycling.server.start()
    assert recycling.api.ended(held)["status"] == "completed"
    recycling.verdict()


LEFT_BEHIND = {
    "thread": ("deaf", "isolation: thread, timeout: 300ms", 5),
    "executor": ("deaf_in_executor", "timeout: 300ms", 5),
    "task": ("leaves_a_task", "timeout: 10s", 0),
    "own": ("leaves_a_thread", "timeout: 10s", 0),
}
"""By flow: a function, how it is run, and the exit code of `perdure run`."""


def test_a_run_in_the_foreground_ends_whatever_its_nodes_left_behind(tmp_path: Path) -> None:
    (tmp_path / "left.py").write_text(_LEFT)
    running = {}
    for name, (function, how, _) in LEFT_BEHIND.items():
        flow = tmp_path / f"{name}.yaml"
        flow.write_text(f"id: {name}\nnodes:\n  a: {{python: 'left:{function}', {how}}}\noutput: over\n")
        argv = [str(PERDURE), "run", str(flow), "--home", str(tmp_path / name), "--grace", "100ms", "-q"]
        running[name] = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for name, (_, _, code) in LEFT_BEHIND.items():
        try:
            out, err = running[name].communicate(timeout=60)
        finally:
            running[name].kill()
        assert running[name].returncode == code, (name, err)
        assert out == ("" if code else '"over"\n'), (name, err)


_LEFT = """
import asyncio, threading, time

def deaf():
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            pass

async def deaf_in_executor():
    await asyncio.to_thread(deaf)

kept = []

async def leaves_a_task():
    async def refuses():
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                pass
    kept.append(asyncio.create_task(refuses()))
    await asyncio.sleep(0)

async def leaves_a_thread():
    threading.Thread(target=deaf, daemon=False).start()
"""
