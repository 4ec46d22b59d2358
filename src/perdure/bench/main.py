"""`perdure bench`: choose, run one after the other, show.

A bench is a tool, not a test: a slow machine makes no error. Only what is wrong does, an execution
that did not complete or an event that was lost.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import uvloop

from perdure.bench import backups, chains, fan_out, footprint, history, latency, one_step, recovery, streams, workers
from perdure.bench.figures import Failure, Figure
from perdure.bench.machine import machine
from perdure.bench.processes import allow_many_sockets
from perdure.bench.report import Report, print_json, print_report, progress
from perdure.bench.sizes import FULL, QUICK, Sizes
from perdure.bench.workbench import Workbench, workbench
from perdure.serving import spare_the_collector

Bench = Callable[[Workbench], Awaitable[list[Figure]]]

BENCHES: dict[str, Bench] = {
    "one-step": one_step.in_process,
    "one-step-http": one_step.over_http,
    "chain": chains.in_process,
    "fan-out": fan_out.in_process,
    "latency": latency.in_process,
    "latency-http": latency.over_http,
    "history": history.over_http,
    "events": streams.one_reader,
    "events-shared": streams.from_another_process,
    "subscribers": streams.many_readers,
    "ready": footprint.starting,
    "idle": footprint.idling,
    "recovery": recovery.after_kill,
    "backup": backups.under_load,
    "workers": workers.second_process,
}
"""In the order of the budgets; the names are those that the command takes."""

SHARED = frozenset({"events-shared", "workers"})
"""Those that need a store on which several processes work."""


def run(
    names: Sequence[str] = (),
    *,
    store: str | None = None,
    as_json: bool = False,
    quick: bool = False,
    home: Path | None = None,
) -> int:
    """Measure the named benches, or all; the exit code: 0, or 1 when something is wrong.

    Args:
        names: keys of `BENCHES`.
        store: the URL of a PostgreSQL database in which there is no store; None measures SQLite.
        as_json: the report as JSON on stdout, instead of a table.
        quick: less than a minute, with less to measure.
        home: a folder on the disk to be measured; everything in it that was made here is removed.

    Raises:
        InvalidSettings: the URL is no database's, or a store lives there.
        StoreUnavailable, StoreIncompatible: it cannot be used.
    """
    sizes = QUICK if quick else FULL
    allow_many_sockets()
    # Engines in this process are measured as they run in a server's.
    spare_the_collector()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(measure(names, store=store, sizes=sizes, home=Path.cwd() if home is None else home))
    if as_json:
        print_json(report)
    else:
        print_report(report)
    return 1 if report.failures else 0


async def measure(names: Sequence[str], *, store: str | None = None, sizes: Sizes, home: Path) -> Report:
    """Run the benches one after the other. Raises KeyError for a name that is none, and as `workbench`."""
    everything = [name for name in BENCHES if store is not None or name not in SHARED]
    chosen = {name: BENCHES[name] for name in (names or everything)}
    figures: list[Figure] = []
    failures: list[Failure] = []
    with progress(sys.stderr, len(chosen)) as steps:
        async with workbench(home, store=store, sizes=sizes, say=steps.say) as bench:
            for name, bench_ in chosen.items():
                steps.begin(name)
                try:
                    figures += await bench_(bench)
                except Exception as error:
                    # What was measured before is not thrown away.
                    failures.append(Failure(name, f"{type(error).__name__}: {error}"))
                gc.collect()
            facts = machine(home, database=bench.probes.about)
    return Report(machine=facts, sizes=msgspec.to_builtins(sizes), figures=figures, failures=failures)
