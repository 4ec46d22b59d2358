"""How far a copy is, told in lines now and then, or by a bar."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from perdure.base.clock import SECOND
from perdure.base.manual_clock import ManualClock
from perdure.cli.transfer import TransferBar, TransferLines


def test_lines_come_every_few_seconds_with_rate_and_what_is_left() -> None:
    stream, clock = StringIO(), ManualClock()
    lines = TransferLines(stream, clock)
    lines.begin("rows", 30_000)
    for _ in range(10):
        clock.advance(SECOND)
        lines.advance(1_000, "events")
    lines.begin("comparing contents", 10 * 1024**2)
    clock.advance(5 * SECOND)
    lines.advance(5 * 1024**2, "contents")
    assert stream.getvalue().splitlines() == [
        "rows: 30,000",
        "rows: 5,000 of 30,000, 1,000/s, 25s left, at events",
        "rows: 10,000 of 30,000, 1,000/s, 20s left, at events",
        "comparing contents: 10.0 MiB",
        "comparing contents: 5.0 MiB of 10.0 MiB, 1.0 MiB/s, 5s left, at contents",
    ]


def test_a_terminal_shows_a_bar_for_each_phase() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=120, color_system=None)
    with TransferBar(console) as bar:
        bar.begin("rows", 2_000)
        bar.advance(1_500, "events")
        bar.begin("comparing rows", 2_000)
        bar.advance(2_000, "feed")
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "1,500 of 2,000" in shown
    assert "2,000 of 2,000" in shown
    assert "events" in shown
