"""Async functions in the engine's loop: cancellation that cannot be refused, and where their prints go."""

import asyncio
import gc
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from perdure.model.definition import Isolation
from perdure.nodes.interface import NodeFailed, NodeOrphaned
from tests.nodes.conftest import Nodes, RecordingSink, make_call, running_nodes

WORK = """
import asyncio, logging

async def forever():
    print("begun")
    try:
        await asyncio.Event().wait()
    finally:
        print("cleaned")

async def slow_cleanup():
    print("begun")
    try:
        await asyncio.Event().wait()
    finally:
        for _ in range(5):
            await asyncio.sleep(0)
        print("cleaned")

async def swallows_once():
    print("begun")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return "as if nothing had happened"

async def fails_in_cleanup():
    print("begun")
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError("cleanup")

async def refuses_cancel():
    print("begun")
    while True:
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            print("refused")

async def refuses_everything():
    print("begun")
    while True:
        try:
            await asyncio.sleep(0.001)
        except BaseException:
            print("refused")

async def own_timeout():
    try:
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()
    except TimeoutError:
        await asyncio.sleep(0)
        return "timed out inside"

async def own_group():
    async def bad():
        raise ValueError("in the group")
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(bad())
            await asyncio.Event().wait()
    except* ValueError:
        pass
    return "handled"

async def cancelled_inside():
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future

async def many(n):
    for i in range(n):
        print(i)
        await asyncio.sleep(0)

async def two_lines(name, turn, other):
    for i in range(3):
        print(name, i)
        logging.getLogger("x").warning("%s logs %d", name, i)
        await asyncio.sleep(0)

async def nothing():
    return None
"""


@pytest.fixture(autouse=True)
def work(nodes: Nodes) -> None:
    nodes.module("work", WORK)


async def stopped(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("function", ["forever", "slow_cleanup", "swallows_once", "fails_in_cleanup"])
async def test_a_cancelled_function_ends_as_cancelled_whatever_it_makes_of_it(nodes: Nodes, function: str) -> None:
    async with captured(nodes) as inner:
        task, sink = inner.start("python", f"work:{function}", grace_us=60_000_000)
        await sink.line("begun")
        await stopped(task)
        assert ("cleaned" in sink.lines) == (function in {"forever", "slow_cleanup"})


async def test_a_stop_can_be_hurried(nodes: Nodes) -> None:
    async with captured(nodes) as inner:
        sink = RecordingSink()
        call = make_call("work:refuses_cancel", sink=sink, grace_us=3_600_000_000)
        task = asyncio.create_task(inner.types["python"].run(call))
        await sink.line("begun")
        task.cancel()
        await sink.line("refused")
        call.grace_us = 1_000
        await stopped(task)


async def test_a_function_that_refuses_is_closed_after_its_grace(nodes: Nodes) -> None:
    async with captured(nodes) as inner:
        task, sink = inner.start("python", "work:refuses_cancel", grace_us=5_000)
        await sink.line("begun")
        await stopped(task)
        assert "refused" in sink.lines


async def test_a_function_that_refuses_even_to_be_closed_is_orphaned_and_runs_no_more(nodes: Nodes) -> None:
    async with captured(nodes) as inner:
        task, sink = inner.start("python", "work:refuses_everything", grace_us=5_000)
        await sink.line("begun")
        task.cancel()
        with pytest.raises(NodeOrphaned) as caught:
            await task
        assert caught.value.failure.code == "orphaned"
        before = len(sink.lines)
        gc.collect()
        await asyncio.sleep(0.01)
        assert len(sink.lines) == before


@pytest.mark.parametrize(("function", "output"), [("own_timeout", "timed out inside"), ("own_group", "handled")])
async def test_a_functions_own_timeouts_and_groups_are_no_cancellation(
    nodes: Nodes, function: str, output: str
) -> None:
    assert await nodes.run("python", f"work:{function}") == output


async def test_a_cancellation_that_nobody_asked_for_is_a_failure(nodes: Nodes) -> None:
    with pytest.raises(NodeFailed) as caught:
        await nodes.run("python", "work:cancelled_inside")
    assert caught.value.failure.error_types[0] == "CancelledError"


async def test_a_timeout_of_the_engine_around_an_attempt_still_works(nodes: Nodes) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await nodes.run("python", "work:refuses_cancel", grace_us=5_000)


def captured(nodes: Nodes) -> Any:
    """A runtime begun inside the test: pytest puts its own `sys.stdout` in place when the test begins."""
    return running_nodes(nodes.folder.parent)


async def test_prints_and_logs_go_to_their_own_attempt_in_their_order(
    nodes: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    async with captured(nodes) as inner:
        sinks = {name: RecordingSink() for name in "ab"}
        calls = [
            inner.run("python", "work:two_lines", with_={"name": name, "turn": 1, "other": 2}, sink=sink)
            for name, sink in sinks.items()
        ]
        await asyncio.gather(*calls)
        print("the engine's own")
        for name, sink in sinks.items():
            expected = []
            for i in range(3):
                expected += [("info", f"{name} {i}", "stdout"), ("warning", f"{name} logs {i}", None)]
            assert sink.logs == expected
    assert capsys.readouterr().out == "the engine's own\n"


async def test_the_engines_streams_are_put_back(tmp_path: Path) -> None:
    before = sys.stdout, sys.stderr
    async with running_nodes(tmp_path):
        assert sys.stdout is not before[0]
    assert (sys.stdout, sys.stderr) == before


async def test_whoever_prints_too_much_waits_until_it_is_taken(nodes: Nodes) -> None:
    async with captured(nodes) as inner:
        sink = RecordingSink()
        sink.gate.clear()
        task = asyncio.create_task(inner.types["python"].run(make_call("work:many", with_={"n": 5000}, sink=sink)))
        await sink.line("255")
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(sink.lines) < 300
        sink.gate.set()
        await task
        assert len(sink.lines) == 5000


async def test_a_line_without_an_end_is_told_when_the_function_ends(nodes: Nodes) -> None:
    nodes.module("part", "async def f():\n    print('a', end='')\n    print('b', end='')\n")
    async with captured(nodes) as inner:
        sink = RecordingSink()
        await inner.run("python", "part:f", sink=sink)
        assert sink.lines == ["ab"]


async def test_an_inline_call_costs_microseconds(nodes: Nodes) -> None:
    await nodes.run("python", "work:nothing")
    python = nodes.types["python"]
    calls = [make_call("work:nothing", isolation=Isolation.INLINE) for _ in range(2000)]
    begin = time.perf_counter()
    for call in calls:
        await python.run(call)
    # The budget is 15 µs on a quiet machine.
    assert (time.perf_counter() - begin) / len(calls) < 150e-6
