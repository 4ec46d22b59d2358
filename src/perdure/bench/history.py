"""Lists, counts and statistics over a long history, through the API."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from perdure.base.clock import DAY, SystemClock, to_rfc3339
from perdure.bench.api_calls import call, get
from perdure.bench.embedded import WORKSPACE
from perdure.bench.figures import BenchFailed, Figure, RawLimit, Spread, Unit, spread
from perdure.bench.http_load import Connection, connect
from perdure.bench.workbench import Workbench
from perdure.model.states import ExecutionStatus

PAGE = 100
_WARM = 2


async def over_http(bench: Workbench) -> list[Figure]:
    """One request at a time; each figure is the slowest of its queries' medians, all of them are in the details."""
    sizes = bench.sizes
    now = SystemClock().now()
    async with bench.place("history") as place:
        async with bench.serve(place) as server:
            await server.ready()
        began = time.perf_counter()
        await bench.probes.seed_history(
            place.store, workspace=WORKSPACE, executions=sizes.history, now=now,
            told=lambda done: bench.say(f"writing a history: {done:,} of {sizes.history:,} executions"),
        )  # fmt: skip
        seeded_s = time.perf_counter() - began
        bare = await bench.probes.newest_latencies(place.store, rows=PAGE, rounds=sizes.history_rounds)
        raw_ms = spread(bare, scale=1e-3).p50
        async with bench.serve(place) as server:
            await server.ready()
            connection = await connect(server.port)
            await _check(connection, sizes.history)
            family = await _a_parent(connection)
            queries = {"lists": _lists(now, family), "counts": _counts(now), "stats": _stats()}
            measured: dict[str, dict[str, Spread]] = {}
            for kind, requests in queries.items():
                measured[kind] = {}
                for name, request in requests.items():
                    bench.say(f"{kind} at {sizes.history:,} executions: {name}")
                    measured[kind][name] = await _time(connection, request, sizes.history_rounds)
            connection.close()
    raw = RawLimit("reading the newest 100 as bare rows, p50", raw_ms)
    titles = {"lists": "newest 100 by each filter", "counts": "exact counts", "stats": "statistics"}
    return [_figure(bench, f"{titles[kind]}, p50", figures, raw, seeded_s) for kind, figures in measured.items()]


def _figure(bench: Workbench, name: str, found: Mapping[str, Spread], raw: RawLimit, seeded_s: float) -> Figure:
    executions = bench.sizes.history
    slowest, worst = max(found.items(), key=lambda item: item[1].p50)
    return Figure(
        name=name,
        unit=Unit.MILLISECONDS,
        value=worst.p50,
        budget=bench.budgets.history_ms,
        raw=raw,
        note=f"at {executions:,} executions; slowest of {len(found)}: {slowest}",
        details={
            "executions": executions,
            "seeded_s": seeded_s,
            **{query: {"p50_ms": times.p50, "p99_ms": times.p99} for query, times in found.items()},
        },
    )


def _lists(now: int, parent: str) -> dict[str, bytes]:
    old, older = to_rfc3339(now - 10 * DAY), to_rfc3339(now - 11 * DAY)
    filters: dict[str, dict[str, Any]] = {
        "no filter": {},
        "status=completed": {"status": ExecutionStatus.COMPLETED},
        "status=cancelled (rare)": {"status": ExecutionStatus.CANCELLED},
        "status=running (none)": {"status": ExecutionStatus.RUNNING},
        "two statuses": {"status": f"{ExecutionStatus.FAILED},{ExecutionStatus.CANCELLED}"},
        "flow": {"flow": "bench/flow-7"},
        "namespace": {"namespace": "bench"},
        "tag": {"tag": "customer:c7"},
        "trigger": {"trigger": "schedule"},
        "parent": {"parent": parent},
        "created range": {"created_after": older, "created_before": old},
        "flow and status": {"flow": "bench/flow-7", "status": ExecutionStatus.FAILED},
        "tag and status": {"tag": "customer:c7", "status": ExecutionStatus.COMPLETED},
        "status in a created range": {
            "status": ExecutionStatus.CANCELLED,
            "created_after": older,
            "created_before": old,
        },
    }
    return {name: get("/executions", limit=PAGE, count="none", **query) for name, query in filters.items()}


def _counts(now: int) -> dict[str, bytes]:
    filters: dict[str, dict[str, Any]] = {
        "all": {},
        "status=completed": {"status": ExecutionStatus.COMPLETED},
        "flow and status": {"flow": "bench/flow-7", "status": ExecutionStatus.FAILED},
        "trigger": {"trigger": "schedule"},
        "tag": {"tag": "customer:c7"},
        "last day": {"created_after": to_rfc3339(now - DAY)},
    }
    return {name: get("/executions", limit=1, count="exact", **query) for name, query in filters.items()}


def _stats() -> dict[str, bytes]:
    groups = ("status", "flow", "trigger", "day", "hour")
    return {f"by {group}": get("/executions/stats", group_by=group) for group in groups}


async def _check(connection: Connection, executions: int) -> None:
    """The history is all there, as the API counts it."""
    answer = await call(connection, get("/executions", limit=1, count="exact"))
    if answer["total"] != executions:
        raise BenchFailed(f"{executions} executions were written, the API counts {answer['total']}")


async def _a_parent(connection: Connection) -> str:
    answer = await call(connection, get("/executions", limit=PAGE, trigger="flow"))
    parent: str = answer["data"][0]["parent"]
    return parent


async def _time(connection: Connection, request: bytes, rounds: int) -> Spread:
    times = []
    for _ in range(rounds + _WARM):
        began = time.perf_counter()
        answer = await connection.request(request)
        times.append(time.perf_counter() - began)
        if answer.status != 200:
            raise BenchFailed(f"HTTP {answer.status} to {request.split(b' HTTP')[0]!r}: {answer.body[:500]!r}")
    return spread(times[_WARM:], scale=1e3)
