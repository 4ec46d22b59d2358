"""Functions in threads of the engine: they can be asked to end, not made to."""

import asyncio
import gc
import threading

import pytest

from perdure.model.definition import Isolation
from perdure.nodes.interface import NodeOrphaned
from tests.nodes.conftest import Nodes, RecordingSink, running_nodes

WORK = """
import threading, time, asyncio
release = threading.Event()
def polite():
    print("begun")
    while True:
        time.sleep(0.001)
def deaf():
    print("begun")
    release.wait()
    print("too late")
def stops():
    raise StopIteration(3)
def chatty(n):
    for i in range(n):
        print(i)
"""


@pytest.fixture(autouse=True)
def work(nodes: Nodes) -> None:
    nodes.module("threaded", WORK)


async def test_a_thread_that_runs_python_is_ended(nodes: Nodes) -> None:
    async with running_nodes(nodes.folder.parent) as inner:
        task, sink = inner.start("python", "threaded:polite", isolation=Isolation.THREAD, grace_us=60_000_000)
        await sink.line("begun")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_thread_that_waits_in_c_is_reported_as_orphaned_and_no_longer_heard(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_nodes(nodes.folder.parent) as inner:
        task, sink = inner.start("python", "threaded:deaf", isolation=Isolation.THREAD, grace_us=5_000)
        await sink.line("begun")
        task.cancel()
        with pytest.raises(NodeOrphaned) as caught:
            await task
        assert "isolation: process" in caught.value.failure.message
        left = [thread for thread in threading.enumerate() if thread.name == "perdure-node"]
        await inner.run("python", "threaded:release.set", isolation=Isolation.THREAD)
        for thread in left:
            await asyncio.to_thread(thread.join)
        assert sink.lines == ["begun"]
    del task, caught
    gc.collect()
    assert caplog.messages == [], "nor does the loop complain that nobody asked for its result"


async def test_stop_iteration_does_not_break_the_loop(nodes: Nodes) -> None:
    failure = await nodes.failure("python", "threaded:stops", isolation=Isolation.THREAD)
    assert "StopIteration" in failure.message


async def test_a_thread_that_prints_too_much_waits_until_it_is_taken(nodes: Nodes) -> None:
    async with running_nodes(nodes.folder.parent) as inner:
        sink = RecordingSink()
        sink.gate.clear()
        call = inner.run("python", "threaded:chatty", with_={"n": 2000}, isolation=Isolation.THREAD, sink=sink)
        task = asyncio.create_task(call)
        await sink.line("255")
        assert len(sink.lines) < 300
        sink.gate.set()
        await task
        assert len(sink.lines) == 2000


async def test_the_number_of_threads_is_bounded(nodes: Nodes) -> None:
    nodes.module(
        "gate", "import threading\ngate = threading.Event()\ndef wait():\n    print('begun')\n    gate.wait()\n"
    )
    async with running_nodes(nodes.folder.parent, threads=2) as inner:
        started = [inner.start("python", "gate:wait", isolation=Isolation.THREAD) for _ in range(4)]
        for _, sink in started[:2]:
            await sink.line("begun")
        assert not any(sink.lines for _, sink in started[2:])
        assert inner.runtime.describe()["threads"] == {"limit": 2, "running": 2}
        open_gate = "import gate\ndef set(): gate.gate.set()\n"
        inner.module("opener", open_gate)
        inner.runtime.thread_slots.resize(3)
        await inner.run("python", "gate:gate.set", isolation=Isolation.INLINE)
        await asyncio.gather(*(task for task, _ in started))
