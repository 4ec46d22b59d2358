"""What each kind of transaction costs a real PostgreSQL, for the simulation: a core's seconds, measured one by one."""

from __future__ import annotations

from pathlib import Path

import asyncpg

from perdure.base.clock import HOUR
from perdure.base.ids import id_text, new_id
from perdure.engine.requests import StartRequest
from perdure.store.commands import (
    ClaimExecutions,
    FireTimers,
    FoldCounters,
    InterruptWorkers,
    RegisterWorker,
    RescueExecutions,
)
from perdure.store.records import WorkerRecord
from scripts.scale.database import Costs
from scripts.scale.measure import ONE_STEP, WORKSPACE, House, core_s, house

EXECUTIONS = 500
CLAIMED = 25
"""At a time."""
ALIVE = 1_000


async def measured_costs(url: str, home: Path) -> Costs:
    """On an empty store at that URL, by an engine that runs nothing itself."""
    async with house(url, home) as working:
        await working.finish(ONE_STEP)
        alone = (await working.run(ONE_STEP, executions=EXECUTIONS, in_flight=1)).server_s / EXECUTIONS
    # Workers that are only registered send no heartbeats, and are not to be taken for dead meanwhile.
    async with house(url, home, works=False, lease=HOUR) as own:
        now, execute = own.engine.clock.now, own.engine.recorder.execute
        worker = await _registered(own)
        claim = ClaimExecutions(at=now(), worker=worker, queues=None, limit=CLAIMED)
        empty = await own.cost(lambda: claim)
        timers = await own.cost(lambda: FireTimers(at=now()))
        fold = await own.cost(lambda: FoldCounters(at=now()))
        rescue = await own.cost(lambda: RescueExecutions(at=now(), lease=own.engine.settings.lease))

        async def start() -> None:
            for _ in range(EXECUTIONS):
                await own.engine.start_executions([StartRequest(workspace=WORKSPACE, flow=ONE_STEP, input={})])

        async def take() -> None:
            for _ in range(EXECUTIONS // CLAIMED):
                assert len(await execute(claim)) == CLAIMED

        async def interrupt() -> None:
            await execute(InterruptWorkers(at=now(), workers=(worker,)))

        async def register() -> None:
            for _ in range(ALIVE):
                await _registered(own)

        started = (await own.measure(start)).server_s / EXECUTIONS
        taken = (await own.measure(take)).server_s / EXECUTIONS
        interrupted = (await own.measure(interrupt)).server_s / EXECUTIONS
        registered = (await own.measure(register)).server_s / ALIVE
        crowded = await own.cost(lambda: RescueExecutions(at=now(), lease=own.engine.settings.lease * 1_000))
        return Costs(
            beat=await own.beat_cost(), claim=empty, claimed=taken - empty / CLAIMED, timers=timers, rescue=rescue,
            alive=(crowded - rescue) / ALIVE, interrupted=interrupted, fold=fold, start=started,
            end=alone - started, register=registered, connect=await _connect_cost(url),
        )  # fmt: skip


async def _registered(own: House) -> str:
    now, id_ = own.engine.clock.now(), id_text(new_id())
    worker = WorkerRecord(id=id_, number=0, name="measured", host="", pid=0, started_at=now, heartbeat_at=now)
    await own.engine.recorder.execute(RegisterWorker(at=now, worker=worker))
    return id_


async def _connect_cost(url: str) -> float:
    connection = await asyncpg.connect(url)
    try:
        return core_s([connection.get_server_pid()])
    finally:
        await connection.close()
