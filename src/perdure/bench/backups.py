"""A backup of a store that is worked on: how fast it is, and what it costs those who work."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from perdure.base.clock import SystemClock
from perdure.bench import flows
from perdure.bench.api_calls import call, put_flow, start_request
from perdure.bench.embedded import WORKSPACE
from perdure.bench.figures import BenchFailed, Figure, RawLimit, Unit
from perdure.bench.http_load import Load, connect, make_load
from perdure.bench.workbench import Place, Workbench
from perdure.store.backups.manifest import DATABASE
from perdure.store.seeding import Drawing

_WAIT_S = 30
_WINDOW_S = 0.25
"""The load during a backup comes in pieces of this length: it may go on for so long behind its end."""
_BLOCK = 1024 * 1024
_MB = 1e6


class Taken(msgspec.Struct):
    """What `perdure store backup -o json` tells."""

    executions: int
    size_bytes: int
    seconds: float


class Backup(NamedTuple):
    """`load_per_s`: what the server did meanwhile; `copy_s`: copying the backup's database file, to the disk."""

    taken: Taken
    load_per_s: float
    copy_s: float


async def under_load(bench: Workbench) -> list[Figure]:
    """`perdure store backup` in a process of its own, while a server answers one-step executions as fast as it can."""
    sizes = bench.sizes
    drawing = Drawing(workspace=WORKSPACE, executions=sizes.backed_up, now=SystemClock().now())
    async with bench.place("backup") as place:
        async with bench.serve(place) as server:
            await server.ready()
        await bench.probes.seed_history(
            place.store, drawing,
            told=lambda done: bench.say(f"writing a history: {done:,} of {sizes.backed_up:,} executions"),
        )  # fmt: skip
        async with bench.serve(place, options=("--retention", "365d")) as server:
            await server.ready()
            connection = await connect(server.port)
            await put_flow(connection, flows.ONE_STEP, flows.one_step())
            request = start_request(flows.ONE_STEP, wait_s=_WAIT_S)
            await call(connection, request)
            connection.close()
            load = partial(make_load, server.port, request, expect=b'"status":"completed"', in_flight=sizes.in_flight)
            bench.say("the load alone")
            alone = await load(seconds=sizes.load_s)
            bench.say("the load, and the backup beside it")
            found = await _measure(bench, place, load)
    megabytes = found.taken.size_bytes / _MB
    share = found.load_per_s / alone.per_second
    return [
        Figure(
            name="backup of a store under load",
            unit=Unit.MEGABYTES_PER_SECOND,
            value=megabytes / found.taken.seconds,
            budget=bench.budgets.backup_mb_per_s,
            raw=RawLimit("copying the backup's database file, fsync'd", megabytes / found.copy_s),
            note=(
                f"{found.taken.executions:,} executions, {megabytes:,.0f} MB in {found.taken.seconds:.1f} s; the server did "
                f"{found.load_per_s:,.0f} executions/s meanwhile, {share:.0%} of what it does alone"
            ),
            details={
                "backup_s": found.taken.seconds,
                "copy_s": found.copy_s,
                "megabytes": megabytes,
                "executions": found.taken.executions,
                "load_per_s": found.load_per_s,
                "load_alone_per_s": alone.per_second,
            },
        )
    ]


async def _measure(bench: Workbench, place: Place, load: Callable[..., Awaitable[Load]]) -> Backup:
    with bench.folder("backups") as folder:
        to = folder / "backup"
        backup = asyncio.create_task(_back_up(place, to), name="backup")
        answers, began = 0, time.perf_counter()
        while not backup.done():
            answers += (await load(seconds=_WINDOW_S)).answers
        load_per_s = answers / (time.perf_counter() - began)
        taken = await backup
        return Backup(taken, load_per_s, await asyncio.to_thread(_copy, to / DATABASE, folder / "copy"))


async def _back_up(place: Place, to: Path) -> Taken:
    """Raises BenchFailed with what the command said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "perdure", "store", "backup", str(to), "-o", "json",
        "--home", str(place.home), "--store", place.store,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise BenchFailed(
            f"the backup ended with exit status {process.returncode}: {err.decode(errors='replace')[-500:]}"
        )
    return msgspec.json.decode(out, type=Taken)


def _copy(source: Path, target: Path) -> float:
    """Seconds of reading the file and writing it elsewhere, to the disk."""
    began = time.perf_counter()
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(_BLOCK):
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
    return time.perf_counter() - began
