"""What an engine has started does not outlive the moment until which it may be believed to live."""

import asyncio
import os
import signal

import pytest

from perdure.base.clock import boot_time
from perdure.nodes.interface import NodeFailed
from tests.nodes.conftest import Nodes, RecordingSink, gone, is_running

FOREVER = "(setsid sleep 1000 & echo daemon=$!); echo pid=$$; exec sleep 1000"
WORK = """
import os, time
def busy():
    print("pid=%d" % os.getpid(), flush=True)
    time.sleep(1000)
def answer(): return 42
"""


async def pid_in(sink: RecordingSink, name: str = "pid") -> int:
    return int(await sink.line(f"{name}="))


async def test_all_of_it_is_killed_when_the_moment_comes(nodes: Nodes) -> None:
    nodes.module("work", WORK)
    shell, shell_sink = nodes.start("shell", FOREVER)
    python, python_sink = nodes.start("python", "work:busy")
    pids = [await pid_in(shell_sink), await pid_in(shell_sink, "daemon"), await pid_in(python_sink)]
    nodes.runtime.let_run_until(boot_time())
    for task in (shell, python):
        with pytest.raises(NodeFailed):
            await task
    assert not any(map(is_running, pids))


async def test_what_begins_afterwards_is_told_a_moment_of_its_own(nodes: Nodes) -> None:
    nodes.module("work", WORK)
    assert await nodes.run("python", "work:answer") == 42
    task, sink = nodes.start("shell", FOREVER)
    await pid_in(sink)
    nodes.runtime.let_run_until(boot_time())
    with pytest.raises(NodeFailed):
        await task
    # Idle ones are killed too; it may take a moment to hear of that.
    nodes.runtime.pool.recycle()
    nodes.runtime.let_run_until(boot_time() + 3600)
    assert await nodes.run("python", "work:answer") == 42


async def test_the_last_word_counts(nodes: Nodes) -> None:
    first = boot_time() + 0.2
    nodes.runtime.let_run_until(first)
    nodes.runtime.let_run_until(first + 3600)
    output = await nodes.run("shell", "sleep 0.4; echo done")
    assert boot_time() > first
    assert output["stdout"] == "done\n"


async def test_the_last_of_very_many_words_counts(nodes: Nodes) -> None:
    supervisor = nodes.runtime.supervision.pid
    assert supervisor is not None
    task, sink = nodes.start("shell", "echo ready=1; sleep 0.2; echo done")
    await sink.line("ready=")
    os.kill(supervisor, signal.SIGSTOP)
    for _ in range(1_000):
        nodes.runtime.let_run_until(boot_time())
    nodes.runtime.let_run_until(boot_time() + 3600)
    os.kill(supervisor, signal.SIGCONT)
    assert (await task)["stdout"].endswith("done\n")


async def test_a_supervisor_that_was_started_anew_knows_the_moment(nodes: Nodes) -> None:
    first = nodes.runtime.supervision.pid
    assert first is not None
    nodes.runtime.let_run_until(boot_time() + 1)
    os.kill(first, signal.SIGKILL)
    # A dying one could still be asked, in vain.
    await gone(first)
    task, _ = nodes.start("shell", FOREVER)
    async with asyncio.timeout(20):
        with pytest.raises(NodeFailed):
            await task
    assert nodes.runtime.supervision.restarts == 1
