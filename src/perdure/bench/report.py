"""How a run is shown: a table for people, JSON for programs, and what goes on meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from perdure.bench.figures import Failure, Figure, Unit, Verdict
from perdure.bench.machine import Machine

_STYLES = {Verdict.AIM: "green", Verdict.OK: "green", Verdict.UNDER: "red"}
_PLAIN_WIDTH = 200
"""Characters, where no terminal says how many there are."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    machine: Machine
    sizes: dict[str, Any]
    figures: list[Figure]
    failures: list[Failure]


class Steps:
    """Says on one line of a terminal, or on a line each, which bench runs and what it does."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._done = 0
        self._name = ""
        self._status = console.status("") if console.is_terminal else None

    def begin(self, name: str) -> None:
        self._done += 1
        self._name = name
        if self._status is None:
            self._console.print(f"[{self._done}/{self._total}] {name}", markup=False)
        else:
            self._status.start()
            self.say("")

    def say(self, what: str) -> None:
        if self._status is not None:
            self._status.update(Text(f"{self._done}/{self._total} {self._name}" + (f": {what}" if what else "")))

    def stop(self) -> None:
        if self._status is not None:
            self._status.stop()


@contextmanager
def progress(stream: TextIO, total: int) -> Iterator[Steps]:
    """Shown on `stream` until the context ends."""
    steps = Steps(Console(file=stream, highlight=False), total)
    try:
        yield steps
    finally:
        steps.stop()


def figure_data(figure: Figure) -> dict[str, Any]:
    """The figure with what is derived from it."""
    return {**msgspec.to_builtins(figure), "verdict": figure.verdict, "ratio": figure.ratio}


def print_json(report: Report) -> None:
    """One JSON document on stdout."""
    data = {
        "machine": report.machine,
        "sizes": report.sizes,
        "figures": [figure_data(figure) for figure in report.figures],
        "failures": report.failures,
    }
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n")
    sys.stdout.buffer.flush()


def print_report(report: Report) -> None:
    """A table and the machine on stdout; what went wrong on stderr."""
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console = Console(file=sys.stdout, highlight=False, width=_PLAIN_WIDTH)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("what", no_wrap=True)
    for title in ("measured", "must", "aim"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("raw limit", justify="right", no_wrap=True)
    table.add_column("ratio", justify="right", no_wrap=True)
    for figure in report.figures:
        table.add_row(*_cells(figure))
    console.print(table)
    console.print("\nHow it was measured", style="bold")
    for figure in report.figures:
        console.print(Text(f"  {figure.name}: {_how(figure)}", style="dim"))
        for line in _parts(figure):
            console.print(Text(f"    {line}", style="dim"))
    facts = report.machine
    console.print(
        f"\n{facts.cpu}, {facts.cores} cores, {facts.memory_mb or '?'} MB; {facts.system}; {facts.python}; "
        f"{facts.database}; {facts.file_system}; load {facts.load_average}",
        markup=False,
    )
    wrong = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    for failure in report.failures:
        wrong.print(Text(f"{failure.bench} went wrong: {failure.message}", style="bold red"))


def _cells(figure: Figure) -> tuple[Text | str, ...]:
    unit, verdict, budget = figure.unit, figure.verdict, figure.budget
    p99 = figure.details.get("p99_ms")
    name = figure.name if p99 is None else f"{figure.name} (p99 {number(p99)} ms)"
    return (
        name,
        f"{number(figure.value)} {unit}",
        "" if budget is None else number(budget.must),
        "" if budget is None else number(budget.aim),
        "" if verdict is None else Text(verdict, style=_STYLES[verdict]),
        "" if figure.raw is None else f"{number(figure.raw.value)} {unit}",
        "" if figure.ratio is None else _ratio(figure.ratio, unit),
    )


def _how(figure: Figure) -> str:
    return figure.note if figure.raw is None else f"{figure.note}; raw limit: {figure.raw.what}"


def _parts(figure: Figure) -> Iterator[str]:
    """A line for each of the queries whose slowest the figure is."""
    for name, times in figure.details.items():
        if isinstance(times, dict):
            yield f"{name}: p50 {number(times['p50_ms'])} ms, p99 {number(times['p99_ms'])} ms"


def _ratio(ratio: float, unit: Unit) -> str:
    return f"{ratio:.0%}" if unit.more_is_better else f"{ratio:.1f}×"


def number(value: float) -> str:
    """Three figures or so: `12,345`, `123`, `12.3`, `0.123`."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
