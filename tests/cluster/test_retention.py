"""Several workers on one PostgreSQL: one of them deletes, sweeps and drops for all, and another when that one is gone."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

from perdure.base.clock import SECOND
from perdure.engine.loops.loop import Loop
from perdure.engine.precedence import Precedence
from perdure.engine.retention import parse_retention
from perdure.store.commands import InterruptWorkers
from perdure.store.interface import ExecutionFilter
from perdure.store.postgres.connection import MIGRATING, connect
from perdure.store.postgres.url import parse_url
from tests.cluster.engines import shared_engine
from tests.engine.opened import WORKSPACE, Bench
from tests.store.databases import fresh_url

LARGE = "id: {}\nnodes:\n  a: {{transform: '${{input.text}}'}}\n"
_AGE = (
    "UPDATE blob_contents SET put_at = put_at - 172800000000",
    "UPDATE blob_chunks SET put_at = put_at - 172800000000",
)


def _engine(url: str, home: Path, *, claim: bool = True) -> AbstractAsyncContextManager[Bench]:
    retention = parse_retention("0s,kept=forever")
    return shared_engine(url, home, lease=30 * SECOND, claim=claim, retention=retention)


def _loop(bench: Bench, name: str) -> Loop:
    return next(loop for loop in bench.engine.loops if loop.name == name)


async def _count(bench: Bench) -> int:
    return await bench.engine.store.executions.count(WORKSPACE, ExecutionFilter())


def _precedence(bench: Bench) -> Precedence:
    engine = bench.engine
    return Precedence(store=engine.store, clock=engine.clock, lease=30 * SECOND, worker=lambda: engine.worker_id)


async def test_two_workers_share_retention_and_sweeping(tmp_path: Path) -> None:
    url = fresh_url()
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(_engine(url, tmp_path / name)) for name in ("a", "b")]
        for flow in ("large", "kept/large"):
            await first.put(LARGE.format(flow))
        kept = await second.run("kept/large", {"text": "0" * 100_000})
        for n in range(4):
            await (first, second)[n % 2].run("large", {"text": str(n) * 100_000})
        connection = await connect(parse_url(url), MIGRATING, name="perdure test")
        try:
            for sql in _AGE:
                await connection.execute(sql)
        finally:
            connection.terminate()
        await asyncio.gather(*[_loop(one, "expirer").turn() for one in (first, second)])
        await asyncio.gather(*[_loop(one, "sweeper").turn() for one in (first, second)])
        assert await _count(first) == 1
        table = first.engine.artifacts
        left = await table.old(b"", age_s=0)
        assert [await table.exists(sha256) for sha256 in left] == [True] * len(left)
        assert await first.output(kept.id) == {"a": "0" * 100_000}
        # "000…" as the input, as what the node gave, and as the output, whose JSON differ.
        payload = await first.payload(kept.id)
        assert {payload.input.blob, payload.output.blob if payload.output else None} <= set(left)
        assert len(left) <= 3


async def test_the_oldest_worker_that_claims_goes_first_and_then_the_next(tmp_path: Path) -> None:
    url = fresh_url()
    async with AsyncExitStack() as stack:
        runs = await stack.enter_async_context(_engine(url, tmp_path / "run", claim=False))
        first = await stack.enter_async_context(_engine(url, tmp_path / "a"))
        last = await stack.enter_async_context(_engine(url, tmp_path / "b"))
        everybody = [_precedence(bench) for bench in (runs, first, last)]
        assert [await one.is_first() for one in everybody] == [False, True, False]
        # Taken for dead, it comes back under another id, as the youngest.
        lost = first.engine.worker_id
        command = InterruptWorkers(at=first.engine.clock.now(), workers=(lost,))
        await last.engine.recorder.execute(command)
        assert [await one.is_first() for one in everybody] == [False, False, True]
