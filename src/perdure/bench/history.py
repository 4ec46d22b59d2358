"""Lists, counts, statistics and searches over a long history, through the API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from perdure.base.clock import DAY, HOUR, SystemClock, to_rfc3339
from perdure.bench.api_calls import call, get
from perdure.bench.embedded import WORKSPACE
from perdure.bench.figures import BenchFailed, Budget, Figure, RawLimit, Spread, Unit, spread
from perdure.bench.http_load import Connection, connect, request_bytes
from perdure.bench.workbench import Workbench
from perdure.model.states import ExecutionStatus
from perdure.store.seeding import Drawing, reference_of

PAGE = 100
_WARM = 2
_LOOK_S = 0.5
_KEEP = ("--retention", "365d")
_FLOW, _RARE_FLOW = "team-7/flow-7", "team-7/flow-197"
_INFO = request_bytes("GET", "/system/info")
_TITLES = {
    "lists": "newest 100 by each filter", "counts": "exact counts", "stats": "statistics", "searches": "texts found",
}  # fmt: skip


async def over_http(bench: Workbench) -> list[Figure]:
    """One request at a time; each figure is the slowest of its queries' medians, all of them are in the details."""
    sizes = bench.sizes
    now = SystemClock().now()
    drawing = Drawing(workspace=WORKSPACE, executions=sizes.history, now=now)
    async with bench.place("history") as place:
        async with bench.serve(place, options=_KEEP) as server:
            await server.ready()
        began = time.perf_counter()
        await bench.probes.seed_history(
            place.store, drawing,
            told=lambda done: bench.say(f"writing a history: {done:,} of {sizes.history:,} executions"),
        )  # fmt: skip
        seeded_s = time.perf_counter() - began
        bare = await bench.probes.newest_latencies(place.store, rows=PAGE, rounds=sizes.history_rounds)
        raw_ms = spread(bare, scale=1e-3).p50
        async with bench.serve(place, options=_KEEP) as server:
            await server.ready()
            connection = await connect(server.port)
            await _check(connection, drawing)
            began = time.perf_counter()
            await _indexed(bench, connection)
            indexed_s = time.perf_counter() - began
            family = await _a_parent(connection)
            queries = {
                "lists": _lists(now, family), "counts": _counts(now), "stats": _stats(), "searches": _searches(drawing),
            }  # fmt: skip
            measured: dict[str, dict[str, Spread]] = {}
            for kind, requests in queries.items():
                measured[kind] = {}
                for name, request in requests.items():
                    bench.say(f"{kind} at {sizes.history:,} executions: {name}")
                    measured[kind][name] = await _time(connection, request, sizes.history_rounds)
            connection.close()
    raw = RawLimit("reading the newest 100 as bare rows, p50", raw_ms)
    made = {"executions": sizes.history, "seeded_s": seeded_s, "indexed_s": indexed_s}
    budgets = {"searches": bench.budgets.search_ms}
    return [
        _figure(f"{_TITLES[kind]}, p50", figures, budgets.get(kind, bench.budgets.history_ms), raw, made)
        for kind, figures in measured.items()
    ]


def _figure(name: str, found: Mapping[str, Spread], budget: Budget, raw: RawLimit, made: Mapping[str, float]) -> Figure:
    slowest, worst = max(found.items(), key=lambda item: item[1].p50)
    return Figure(
        name=name,
        unit=Unit.MILLISECONDS,
        value=worst.p50,
        budget=budget,
        raw=raw,
        note=f"at {made['executions']:,} executions; slowest of {len(found)}: {slowest}",
        details={**made, **{query: {"p50_ms": times.p50, "p99_ms": times.p99} for query, times in found.items()}},
    )


def _lists(now: int, parent: str) -> dict[str, bytes]:
    old, older = to_rfc3339(now - 10 * DAY), to_rfc3339(now - 11 * DAY)
    filters: dict[str, dict[str, Any]] = {
        "no filter": {},
        "status=completed": {"status": ExecutionStatus.COMPLETED},
        "status=cancelled (rare)": {"status": ExecutionStatus.CANCELLED},
        "status=running (none)": {"status": ExecutionStatus.RUNNING},
        "two statuses": {"status": f"{ExecutionStatus.FAILED},{ExecutionStatus.CANCELLED}"},
        "flow": {"flow": _FLOW},
        "flow (rare)": {"flow": _RARE_FLOW},
        "namespace": {"namespace": "team-3"},
        "tag": {"tag": "customer:c7"},
        "trigger": {"trigger": "schedule"},
        "trigger and id": {"trigger": "schedule:nightly-7"},
        "parent": {"parent": parent},
        "root": {"root": parent},
        "replay_of (none)": {"replay_of": parent},
        "worker (none)": {"worker": "nobody"},
        "created range": {"created_after": older, "created_before": old},
        "started range": {"started_after": older, "started_before": old},
        "finished range": {"finished_after": older, "finished_before": old},
        "min_duration": {"min_duration": "1m"},
        "max_duration": {"max_duration": "20ms"},
        "flow and status": {"flow": _FLOW, "status": ExecutionStatus.FAILED},
        "failed in the last hour": {"status": ExecutionStatus.FAILED, "finished_after": to_rfc3339(now - HOUR)},
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
        "flow and status": {"flow": _FLOW, "status": ExecutionStatus.FAILED},
        "trigger": {"trigger": "schedule"},
        "tag": {"tag": "customer:c7"},
        "last day": {"created_after": to_rfc3339(now - DAY)},
    }
    return {name: get("/executions", limit=1, count="exact", **query) for name, query in filters.items()}


def _stats() -> dict[str, bytes]:
    groups = ("status", "flow", "trigger", "day", "hour")
    return {f"by {group}": get("/executions/stats", group_by=group) for group in groups}


def _searches(drawing: Drawing) -> dict[str, bytes]:
    needles: dict[str, dict[str, Any]] = {
        "one in all": {"q": reference_of(drawing.executions // 2)},
        "none": {"q": "zzqqxx"},
        "frequent": {"q": "HTTP 503"},
        "three characters": {"q": "stu"},
        "in the input of a flow": {"input_contains": '"customer":"c7', "flow": _RARE_FLOW},
    }
    return {name: get("/executions", limit=PAGE, **query) for name, query in needles.items()}


async def _indexed(bench: Workbench, connection: Connection) -> None:
    """Wait until texts can be found through their index."""
    while (search := (await call(connection, _INFO))["search"])["status"] != "current":
        bench.say(f"indexing texts: {search['status']}, {search['waiting']:,} wait")
        await asyncio.sleep(_LOOK_S)


async def _check(connection: Connection, drawing: Drawing) -> None:
    """The history is all there, as the API counts it."""
    answer = await call(connection, get("/executions", limit=1, count="exact"))
    if answer["total"] != drawing.in_workspace:
        raise BenchFailed(f"{drawing.in_workspace} executions were written, the API counts {answer['total']}")


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
