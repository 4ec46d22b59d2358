"""The process dies at each point of a commit: what was acknowledged is there, what was not is there as a whole or not."""

from pathlib import Path

import pytest

from perdure.model.states import ExecutionStatus
from perdure.store.faults import EXIT_CODE
from perdure.store.interface import ExecutionFilter, Page
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
from tests.store.programs import run_program
from tests.store.world import World

class Owner:
    def __init__(self, advance):
        self.advance, self.done = advance, asyncio.get_running_loop().create_future()
    def drain(self):
        return self.advance
    def committed(self, outcome):
        self.done.set_result(outcome)

async def main():
    store = SqliteStore(pathlib.Path(sys.argv[1]))
    world, recorder = World(store), Recorder(store)
    async def one():
        new = world.new(claim_by="w1", idempotency_key=world.id().hex(), limit=world.limit(100))
        ((started,),) = [await recorder.execute(StartExecutions(at=world.now, executions=[new]))]
        print("started", started.id.hex(), flush=True)
        owner = Owner(world.advancing(started, ExecutionStatus.COMPLETED, node_runs=[world.node_run()]))
        recorder.advance(owner)
        await owner.done
        print("ended", started.id.hex(), flush=True)
    async def many():
        while True:
            await one()
    await asyncio.gather(*(many() for _ in range(8)))

asyncio.run(main())
"""


@pytest.mark.parametrize("point", ["before_commit", "after_commit", "before_reply"])
@pytest.mark.parametrize("times", [1, 2, 13])
async def test_an_acknowledged_commit_survives(tmp_path: Path, point: str, times: int) -> None:
    path = tmp_path / "perdure.db"
    # The worker's registration is a commit too, which brings no event and is not the recorder's.
    registered = 0 if point == "before_reply" else 1
    died = run_program(PROGRAM, path, fault=f"{point}:{times + registered}")
    assert died.returncode == EXIT_CODE, died.stderr
    acknowledged = [line.split() for line in died.stdout.splitlines()]
    assert integrity_problems(path) == []
    store = SqliteStore(path)
    world = World(store)
    records = {one.id: one for one in await store.executions.list(WORKSPACE, ExecutionFilter(), Page(limit=100_000))}
    for what, id in acknowledged:
        record = records[bytes.fromhex(id)]
        assert what == "started" or record.status is ExecutionStatus.COMPLETED
    rows, _ = await store.executions.statistics(WORKSPACE, ExecutionFilter(), ["status"])
    counts = {row["status"]: row["count"] for row in rows}
    feed = await store.events.feed(WORKSPACE, {}, 100_000)
    assert [n for _, n, _ in feed] == list(range(1, len(feed) + 1))
    commits = times - 1 if point == "before_commit" else times
    assert len(feed) == commits
    for status in (ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED):
        found = [record for record in records.values() if record.status is status]
        assert counts.get(status, 0) == len(found)
        for record in found:
            assert len(await world.events(record.id)) == (2 if status is ExecutionStatus.RUNNING else 3)
            runs = await store.node_runs.list(WORKSPACE, record.id)
            assert len(runs) == (0 if status is ExecutionStatus.RUNNING else 1)
    interrupted = world.interrupt(all_but="me")
    assert len(interrupted) == counts.get(ExecutionStatus.RUNNING, 0)
    assert len(world.claim("me", limit=1000)) == len(interrupted)
    await store.close()
