"""The tables of docs/reference/scale.md."""

from __future__ import annotations

from collections.abc import Mapping

from scripts.references.regions import Maker, table
from scripts.scale import scenarios
from scripts.scale.database import Costs
from scripts.scale.hints import COMMITS, traffic
from scripts.scale.model import predicted
from scripts.scale.rhythm import Rhythm
from scripts.scale.runs import Share

FEW = 2
SIZES = (10, 100, 1_000, 10_000)
PARTS = (0.01, 0.1, 0.5, 0.999)
OUTAGES_S = (5.0, 10.0, 20.0, 30.0)


def runs_table(runs: Mapping[str, Share]) -> str:
    head = ("", "transactions", "round trips", "rows written", "heap", "indexes", "WAL", "server's time")
    rows = (
        (
            name, f"{one.transactions:.2f}", f"{one.round_trips:.2f}", f"{one.rows:.1f}", _bytes(one.heap_bytes),
            _bytes(one.index_bytes), _bytes(one.wal_bytes), f"{one.server_us:,.0f} µs",
        )
        for name, one in runs.items()
    )  # fmt: skip
    return table(head, rows)


def costs_table(costs: Costs) -> str:
    """Measured beside what the simulation counts with."""
    used = Costs()
    rows = ((f"`{name}`", _us(getattr(costs, name)), _us(getattr(used, name))) for name in Costs._fields)
    return table(("transaction", "measured", "in the simulation"), rows)


def _model() -> str:
    head = ("execution", "transactions", "round trips", "rows written", "statements, with rows")
    rows = []
    for steps in (1, 2, 10):
        one = predicted(steps)
        names = ", ".join(f"`{name}` {one.calls[name]}× {one.rows[name]}" for name in sorted(one.calls))
        words = "step" if steps == 1 else "steps"
        rows.append((f"{steps} {words}", str(one.transactions), str(one.round_trips), str(one.rows_written), names))
    return table(head, rows)


def _pace() -> str:
    rhythm = Rhythm()
    columns = [rhythm.per_second(workers=workers, hinted=True) for workers in SIZES[1:]]
    columns.append(rhythm.per_second(workers=SIZES[2], hinted=False))
    rows = [(kind, *(f"{one[kind]:.3f}" for one in columns)) for kind in columns[0]]
    rows.append(("together", *(f"{sum(one.values()):.2f}" for one in columns)))
    heads = [f"one of {workers:,}" for workers in SIZES[1:]]
    return table(("transactions a second", *heads, f"one of {SIZES[2]:,}, `listen=false`"), rows)


def _idle() -> str:
    head = ("workers", "transactions a second", "cores, with hints", "transactions a second, `listen=false`", "cores")
    rows = []
    for workers in SIZES:
        hinted, polling = (scenarios.idle(workers=workers, hinted=one) for one in (True, False))
        rows.append(
            (
                f"{workers:,}", f"{hinted.transactions:,.0f}", f"{hinted.cores:.2f}", f"{polling.transactions:,.0f}",
                f"{polling.cores:.2f}",
            )
        )  # fmt: skip
    return table(head, rows)


def _hints() -> str:
    head = (
        "busy workers", "heard if all told all", "nobody follows", "somebody follows, at first", "then",
        "looks of a server", "a commit is read after, p50", "p99",
    )  # fmt: skip
    rows = []
    for workers in (FEW, *SIZES[:3]):
        alone, followed = (traffic(workers=workers, followers=followers) for followers in (0, 1))
        rows.append(
            (
                f"{workers:,}", f"{workers * (workers - 1) * COMMITS:,.0f}", f"{alone.later.heard:,.0f}",
                f"{followed.first.heard:,.0f}", f"{followed.later.heard:,.0f}", f"{followed.later.looks:,.0f}",
                _ms(followed.later.half), _ms(followed.later.most),
            )
        )  # fmt: skip
    return table(head, rows)


def _deaths() -> str:
    head = ("workers that die at once", "executions", "half goes on after", "99 %", "all", "workers wrongly given up")
    rows = []
    for part in PARTS:
        found = scenarios.deaths(part)
        seconds = [f"{value:.1f} s" for value in (found.half, found.most, found.all)]
        rows.append((f"{part * 100:g} %", f"{found.executions:,}", *seconds, str(found.doubled + found.fenced)))
    return table(head, rows)


def _outages() -> str:
    head = ("the database is away for", "workers that let go", "all goes on, after its return", "held by two at once")
    rows = []
    for seconds in OUTAGES_S:
        found = scenarios.outage(seconds)
        rows.append((f"{seconds:.0f} s", f"{found.let_go:.0%}", f"{found.all_running:.1f} s", str(found.doubled)))
    return table(head, rows)


def _waits() -> str:
    load, alone = scenarios.herd()
    flood, others = scenarios.fairness()
    rows = [
        (f"{scenarios.MANY:,} idle workers, 100 starts a second", _ms(alone.half), _ms(alone.most)),
        ("200 workers of 8 slots: a workspace that starts 20,000 at once", _ms(flood.half), _ms(flood.most)),
        ("nineteen others meanwhile, five a second each", _ms(others.half), _ms(others.most)),
    ]
    asked = f"With {scenarios.MANY:,} idle workers each of 100 starts a second is heard by all: {load.by_kind['claims']:,.0f} claims a second."
    return table(("from the call to the claim", "p50", "p99"), rows) + f"\n\n{asked}"


MAKERS: dict[str, Maker] = {"scale-model": _model, "scale-pace": _pace}
SIMULATED: dict[str, Maker] = {
    "scale-idle": _idle,
    "scale-hints": _hints,
    "scale-deaths": _deaths,
    "scale-outages": _outages,
    "scale-waits": _waits,
}
"""Each takes some seconds."""


def _bytes(count: float) -> str:
    return f"{count / 1024:.1f} KiB"


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:,.2f} µs" if seconds < 1e-5 else f"{seconds * 1e6:,.0f} µs"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms"
