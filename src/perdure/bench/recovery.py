"""kill -9 in the middle of many executions: how long until all go on, and what was lost or done twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from perdure.bench import flows
from perdure.bench.api_calls import call, get, put_flow, start_batch
from perdure.bench.figures import BenchFailed, Figure, RawLimit, Unit
from perdure.bench.http_load import Connection, connect
from perdure.bench.processes import ServerProcess
from perdure.bench.workbench import Workbench

_STEP_MS = 300
_KILL_AT_STEP = 2
"""When every execution has begun this step, the process is killed: some are further by then."""
_LOOK_EVERY_S = 0.005
_WITHIN_S = 30.0


class Mark(NamedTuple):
    """A step began: in which process, of which execution, when on the machine's monotonic clock."""

    pid: int
    execution: str
    step: int
    at_ns: int


class Ledger:
    """The file outside of the system to which every step writes when it begins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.marks: list[Mark] = []
        self._read = 0

    def read_on(self) -> list[Mark]:
        """All marks, with those that came since the last call; a line that is not whole yet is left for the next."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read += len(whole)
            for line in whole.decode().splitlines():
                pid, execution, step, at_ns = line.split()
                self.marks.append(Mark(int(pid), execution, int(step), int(at_ns)))
        return self.marks


async def after_kill(bench: Workbench) -> list[Figure]:
    """Kill the server while all its executions are at work, start it again on the same store, let them finish."""
    wanted = bench.sizes.recovered
    async with bench.place("recovery") as place:
        ledger = Ledger(place.home / "ledger")
        async with bench.serve(place) as server:
            await server.ready()
            ids = await _begin(server, wanted, ledger.path)
            await _until(lambda: _begun(ledger.read_on(), step=_KILL_AT_STEP) == wanted, "all executions at work")
            await server.kill()
        before = list(ledger.read_on())
        began_ns = time.monotonic_ns()
        async with bench.serve(place) as server:
            await server.ready()
            ready_s = (time.monotonic_ns() - began_ns) / 1e9
            await _until(
                lambda: _begun(ledger.read_on()[len(before) :]) == wanted, "all executions going on after the kill"
            )
            after = ledger.marks[len(before) :]
            going_on_s = (max(_first(after).values()) - began_ns) / 1e9
            connection = await connect(server.port)
            await _until_ended(connection, ids)
            await _check_completed(connection, ids)
            connection.close()
        marks = ledger.read_on()
    again = check_steps(ids, before, marks[len(before) :])
    return [
        Figure(
            name="all going on after kill -9",
            unit=Unit.SECONDS,
            value=going_on_s,
            budget=bench.budgets.recovery_s,
            raw=RawLimit("serve: ready, on this store", ready_s),
            note=f"{wanted} running executions; none lost, {again} steps in flight ran again, no acknowledged one",
            details={"executions": wanted, "steps_run_again": again, "ready_s": ready_s},
        )
    ]


async def _begin(server: ServerProcess, count: int, ledger: Path) -> list[str]:
    connection = await connect(server.port)
    await put_flow(connection, flows.LEDGER, flows.ledger())
    inputs: list[dict[str, Any]] = [{"ledger": str(ledger), "ms": _STEP_MS}] * count
    ids = await start_batch(connection, flows.LEDGER, inputs)
    connection.close()
    return ids


async def _until(holds: Any, what: str) -> None:
    until = time.monotonic() + _WITHIN_S
    while not holds():
        if time.monotonic() > until:
            raise BenchFailed(f"not within {_WITHIN_S:g} s: {what}")
        await asyncio.sleep(_LOOK_EVERY_S)


def _first(marks: Iterable[Mark]) -> dict[str, int]:
    """When each execution first left a mark."""
    first: dict[str, int] = {}
    for mark in marks:
        first.setdefault(mark.execution, mark.at_ns)
    return first


def _begun(marks: Iterable[Mark], *, step: int = 0) -> int:
    """How many executions have begun that step or a later one."""
    return len({mark.execution for mark in marks if mark.step >= step})


async def _until_ended(connection: Connection, ids: list[str]) -> None:
    until = time.monotonic() + _WITHIN_S
    for id_ in ids:
        while (await call(connection, get(f"/executions/{id_}")))["finished_at"] is None:
            if time.monotonic() > until:
                raise BenchFailed(f"execution {id_} did not end after the restart")
            await asyncio.sleep(_LOOK_EVERY_S)


async def _check_completed(connection: Connection, ids: list[str]) -> None:
    for id_ in ids:
        execution = await call(connection, get(f"/executions/{id_}"))
        if execution["status"] != "completed":
            raise BenchFailed(f"execution {id_} ended as {execution['status']}: {execution['error']}")


def check_steps(ids: list[str], before: list[Mark], after: list[Mark]) -> int:
    """How many steps ran twice.

    Only one that was in flight may: a step whose follower had begun before the kill was acknowledged
    as done, and must not begin again. Every step must have begun at least once.
    """
    furthest: dict[str, int] = {}
    for mark in before:
        furthest[mark.execution] = max(furthest.get(mark.execution, 0), mark.step)
    for mark in after:
        if mark.step < furthest.get(mark.execution, 0):
            raise BenchFailed(f"step {mark.step} of {mark.execution} was acknowledged, and ran again after the kill")
    times = Counter((mark.execution, mark.step) for mark in (*before, *after))
    for id_ in ids:
        for step in range(flows.LEDGER_STEPS):
            if not times[id_, step]:
                raise BenchFailed(f"step {step} of {id_} never ran, though the execution completed")
    if twice := [key for key, count in times.items() if count > 2]:
        raise BenchFailed(f"step {twice[0][1]} of {twice[0][0]} ran more than twice after one kill")
    return sum(count == 2 for count in times.values())
