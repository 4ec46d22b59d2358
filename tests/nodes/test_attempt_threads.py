"""Threads that async functions ask the loop for: known to their attempt, and apart from the engine's own."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from perdure.nodes.attempt_threads import LIMIT, AttemptThreads
from perdure.nodes.interface import NodeOrphaned
from tests.nodes.conftest import Nodes

WORK = """
import asyncio, threading
release = threading.Event()
begun = threading.Semaphore(0)
def wait():
    begun.release()
    release.wait()
async def one():
    print("begun")
    await asyncio.to_thread(wait)
async def many(n):
    print("begun")
    await asyncio.gather(*(asyncio.to_thread(wait) for _ in range(n)))
async def open_gate():
    release.set()
async def close_gate():
    release.clear()
async def all_begun(n):
    for _ in range(n):
        while not begun.acquire(blocking=False):
            await asyncio.sleep(0)
"""


@pytest.fixture(autouse=True)
async def work(nodes: Nodes) -> AsyncIterator[None]:
    asyncio.get_running_loop().set_default_executor(AttemptThreads())
    nodes.module("waiting", WORK)
    await nodes.run("python", "waiting:close_gate")
    yield
    await nodes.run("python", "waiting:open_gate")


async def test_threads_of_nodes_do_not_hold_up_the_engines_own(nodes: Nodes) -> None:
    task, _ = nodes.start("python", "waiting:many", with_={"n": LIMIT + 10})
    await nodes.run("python", "waiting:all_begun", with_={"n": LIMIT})
    assert await asyncio.to_thread(lambda: "done") == "done"
    await nodes.run("python", "waiting:open_gate")
    await task


async def test_an_attempt_whose_thread_does_not_end_is_orphaned_until_it_does(nodes: Nodes) -> None:
    task, _ = nodes.start("python", "waiting:many", with_={"n": LIMIT + 10}, grace_us=5_000)
    await nodes.run("python", "waiting:all_begun", with_={"n": LIMIT})
    task.cancel()
    with pytest.raises(NodeOrphaned) as caught:
        await task
    assert "asyncio.to_thread" in caught.value.failure.message
    lives = caught.value.lives
    assert lives is not None
    assert lives()
    await nodes.run("python", "waiting:open_gate")
    for _ in range(1_000_000):
        if not lives():
            break
        await asyncio.sleep(0)
    assert not lives()


async def test_an_attempt_whose_thread_ends_within_the_grace_is_cancelled(nodes: Nodes) -> None:
    task, _ = nodes.start("python", "waiting:one", grace_us=60_000_000)
    await nodes.run("python", "waiting:all_begun", with_={"n": 1})
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    await nodes.run("python", "waiting:open_gate")
    with pytest.raises(asyncio.CancelledError):
        await task
