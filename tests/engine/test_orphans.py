"""What cannot be stopped is counted for as long as it lives, so that the process can be renewed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

from perdure.base.clock import SystemClock
from perdure.model.states import ExecutionStatus, NodeStatus
from tests.engine.opened import opened

_STUBBORN = """
import asyncio, os, time

def stay(release):
    while True:
        try:
            while not os.path.exists(release):
                time.sleep(0.01)
            return
        except BaseException:
            pass

def announce(begun, release):
    open(begun, "w").close()
    stay(release)

async def swallow():
    while True:
        try:
            await asyncio.Event().wait()
        except BaseException:
            pass
"""


async def test_a_thread_that_cannot_be_stopped_is_an_orphan_until_it_ends(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(_STUBBORN)
    release = tmp_path / "release"
    flow = (
        "id: stubborn\nnodes:\n"
        f"  stay: {{python: 'stubborn:stay', with: {{release: '{release}'}}, isolation: thread, timeout: 200ms}}\n"
    )
    async with opened(tmp_path, SystemClock(), grace=100_000, flow_folders=[tmp_path]) as bench:
        orphans, heard = bench.engine.orphans, asyncio.Event()
        orphans.on_orphan = heard.set
        await bench.put(flow)
        record = await bench.run("stubborn")
        assert record.status is ExecutionStatus.FAILED
        run = await bench.engine.store.node_runs.get("default", record.id, "stay", 0)
        assert run is not None
        assert run.status is NodeStatus.ORPHANED
        assert heard.is_set()
        assert [(orphan.node, orphan.attempt) for orphan in orphans.living()] == [("stay", 1)]
        assert bench.engine.describe()["orphans"]["living"] == 1
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "perdure-node"]
        release.touch()
        await asyncio.to_thread(thread.join)
        assert bench.engine.describe()["orphans"] == {"living": 0, "oldest_seconds": None}


async def test_a_coroutine_that_refuses_to_end_is_an_orphan_for_good(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(_STUBBORN)
    flow = "id: stubborn\nnodes:\n  swallow: {python: 'stubborn:swallow', timeout: 200ms}\n"
    async with opened(tmp_path, SystemClock(), grace=100_000, flow_folders=[tmp_path]) as bench:
        await bench.put(flow)
        record = await bench.run("stubborn")
        assert record.status is ExecutionStatus.FAILED
        assert len(bench.engine.orphans) == 1


_LEFT_BEHIND = """
import asyncio, sys
from pathlib import Path
from perdure.base.clock import SystemClock
from tests.engine.opened import opened

async def main(home):
    async with opened(home, SystemClock(), grace=100_000, flow_folders=[home]) as bench:
        await bench.put("{id: stubborn, nodes: {swallow: {python: 'stubborn:swallow', timeout: 200ms}}}")
        await bench.run("stubborn")
        print(len(bench.engine.orphans))

asyncio.run(main(Path(sys.argv[1])))
"""


def test_a_coroutine_that_refuses_to_end_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(_STUBBORN)
    command = [sys.executable, "-c", _LEFT_BEHIND, str(tmp_path)]
    root = Path(__file__).parents[2]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "1\n"


async def test_what_outlives_a_forced_end_of_ownership_is_counted_too(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(_STUBBORN)
    begun, release = tmp_path / "begun", tmp_path / "release"
    os.mkfifo(begun)
    flow = (
        "id: stubborn\nnodes:\n"
        f"  stay: {{python: 'stubborn:announce', with: {{begun: '{begun}', release: '{release}'}}, isolation: thread}}\n"
    )
    async with opened(tmp_path, SystemClock(), grace=100_000, flow_folders=[tmp_path]) as bench:
        heard = asyncio.Event()
        bench.engine.orphans.on_orphan = heard.set
        await bench.put(flow)
        await bench.start("stubborn")
        await asyncio.to_thread(begun.read_text)
        await bench.engine.owners.leave_all()
        async with asyncio.timeout(20):
            await heard.wait()
        assert len(bench.engine.orphans) == 1
        release.touch()
