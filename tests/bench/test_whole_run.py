"""Every bench, run for real with the smallest sizes: it measures, finds nothing wrong, and leaves nothing behind."""

import asyncio
import math
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
import uvloop

from perdure.bench import budgets
from perdure.bench.figures import Budget, Failure, Figure, RawLimit, Unit
from perdure.bench.machine import Machine
from perdure.bench.main import BENCHES, SHARED, measure
from perdure.bench.process_tree import ProcessTree
from perdure.bench.report import Report, print_json, print_report
from perdure.bench.sizes import Sizes

TINY = Sizes(
    probe_s=0.05,
    load_s=0.1,
    in_flight=4,
    chains_in_flight=4,
    fan_out=20,
    fan_out_rounds=1,
    latencies=5,
    history=2_000,
    history_rounds=2,
    backed_up=500,
    event_rounds=150,
    streamed_executions=2,
    subscribers=6,
    stream_s=0.5,
    starts=1,
    idle_s=0.2,
    settling_s=0.1,
    recovered=4,
    backlog=40,
    worker_rounds=1,
)
"""Enough to show that a bench works; its figures mean nothing."""


def test_all_benches_measure_and_leave_nothing_behind(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = set(ProcessTree(os.getpid()).pids())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(measure((), sizes=TINY, home=tmp_path))

    assert report.failures == []
    assert len(report.figures) >= len(BENCHES.keys() - SHARED)
    for figure in report.figures:
        assert figure.budget is not None
        assert math.isfinite(figure.value)
        assert figure.value >= 0
        assert figure.raw is None or figure.raw.value > 0
    assert list(tmp_path.iterdir()) == []
    assert set(ProcessTree(os.getpid()).pids()) <= before
    assert capfd.readouterr().out == ""


def report_of(*figures: Figure, failures: Sequence[Failure] = ()) -> Report:
    facts = Machine(
        system="Linux", cpu="a cpu", cores=2, memory_mb=4_000, python="CPython 3.11", database="SQLite 3.54.1",
        file_system="ext4", load_average=0.5,
    )  # fmt: skip
    return Report(machine=facts, sizes={"history": 7}, figures=list(figures), failures=list(failures))


SLOW = Figure(
    name="steps", unit=Unit.PER_SECOND, value=1_000, budget=Budget(2_000, 3_000), raw=RawLimit("bare steps", 4_000)
)


def test_a_report_is_json_on_stdout_alone(capfd: pytest.CaptureFixture[str]) -> None:
    print_json(report_of(SLOW))

    said = capfd.readouterr()
    [figure] = msgspec.json.decode(said.out)["figures"]
    assert (figure["value"], figure["verdict"], figure["ratio"]) == (1_000, "under", 0.25)
    assert figure["raw"] == {"what": "bare steps", "value": 4_000}
    assert said.err == ""


def test_a_table_goes_to_stdout_and_what_went_wrong_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    print_report(report_of(SLOW, failures=[Failure("recovery", "BenchFailed: lost one")]))

    said = capfd.readouterr()
    assert said.err == "recovery went wrong: BenchFailed: lost one\n"
    for text in ("steps", "1,000 1/s", "2,000", "3,000", "under", "25%", "bare steps", "SQLite 3.54.1"):
        assert text in said.out


def test_a_figure_of_many_queries_tells_the_times_of_each(capfd: pytest.CaptureFixture[str]) -> None:
    details = {"executions": 7, "by flow": {"p50_ms": 1.25, "p99_ms": 4.5}, "by tag": {"p50_ms": 0.5, "p99_ms": 123.4}}
    print_report(report_of(Figure(name="newest", unit=Unit.MILLISECONDS, value=1.25, details=details)))

    said = capfd.readouterr().out
    assert "    by flow: p50 1.25 ms, p99 4.5 ms\n    by tag: p50 0.5 ms, p99 123 ms\n" in said


def test_every_budget_is_held_by_a_figure() -> None:
    sources = "".join(path.read_text() for path in Path(budgets.__file__).parent.glob("*.py"))

    assert [name for name in budgets.Budgets.__struct_fields__ if f"bench.budgets.{name}" not in sources] == []
