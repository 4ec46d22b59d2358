"""The process dies while a replay is committed: there is no replay then, or a whole one."""

from pathlib import Path

import pytest

from perdure.model.states import ExecutionStatus
from perdure.store.faults import EXIT_CODE
from perdure.store.sqlite.connection import integrity_problems
from perdure.store.sqlite.store import SqliteStore
from tests.store.programs import run_program
from tests.store.world import WORKSPACE, World

PROGRAM = """
import asyncio, pathlib, sys
from perdure.model.states import ExecutionStatus
from perdure.store.commands import StartExecutions
from perdure.store.recorder import Recorder
from perdure.store.sqlite.store import SqliteStore
from tests.store.conformance.test_replays import completed_run, original, replay, taken
from tests.store.world import World

async def main():
    store = SqliteStore(pathlib.Path(sys.argv[1]))
    world, recorder = World(store), Recorder(store)
    runs = [completed_run(world, "each", ordinal) for ordinal in range(600)]
    old = original(world, *runs)
    print("original", old.id.hex(), flush=True)
    for number in range(3):
        new = replay(world, old, *(taken(old, run) for run in runs), idempotency_key=str(number))
        ((started,),) = [await recorder.execute(StartExecutions(at=world.now, executions=[new]))]
        print("started", started.id.hex(), flush=True)

asyncio.run(main())
"""
BEFORE = 3
"""Commits of the worker's registration, of the original's start and of its end."""


@pytest.mark.parametrize("point", ["before_commit", "after_commit", "before_reply"])
@pytest.mark.parametrize("times", [1, 2])
async def test_a_replay_is_there_as_a_whole_or_not_at_all(tmp_path: Path, point: str, times: int) -> None:
    path = tmp_path / "perdure.db"
    before = 0 if point == "before_reply" else BEFORE
    died = run_program(PROGRAM, path, fault=f"{point}:{before + times}")
    assert died.returncode == EXIT_CODE, died.stderr
    lines = dict(line.split()[::-1] for line in died.stdout.splitlines())
    (source,) = [bytes.fromhex(id) for id, what in lines.items() if what == "original"]
    assert integrity_problems(path) == []
    store = SqliteStore(path)
    world = World(store)
    replays = await world.all(replay_of=source)
    assert len(replays) == (times - 1 if point == "before_commit" else times)
    assert {bytes.fromhex(id) for id, what in lines.items() if what == "started"} <= {one.id for one in replays}
    for record in replays:
        assert record.status is ExecutionStatus.QUEUED
        runs = await store.node_runs.recorded(WORKSPACE, record.id)
        assert {run.reused_from for run in runs} == {source}
        assert (len(runs), len(await world.events(record.id))) == (600, 602)
    claimed = world.claim("me")
    assert [len(one.node_runs) for one in claimed] == [600] * len(replays)
    await store.close()
