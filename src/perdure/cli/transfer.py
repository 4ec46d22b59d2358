"""How far a copy is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from perdure.base.clock import SECOND, Clock, SystemClock
from perdure.cli.output import short_duration, size
from perdure.store.copying.interface import Watcher

LINE_EVERY_US = 5 * SECOND
_CONTENTS = "contents"


@contextmanager
def open_transfer(stream: TextIO) -> Iterator[Watcher]:
    """The bar where `stream` is a terminal that can draw, else a line now and then."""
    console = Console(file=stream, highlight=False)
    if stream.isatty() and not console.is_dumb_terminal:
        with TransferBar(console) as bar:
            yield bar
    else:
        yield TransferLines(stream, SystemClock())


class TransferLines:
    """`perdure.store.copying.interface.Watcher`: a line for each phase, and one every few seconds of it."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._phase = ""
        self._total = self._done = 0
        self._began = self._told = 0

    def begin(self, phase: str, total: int) -> None:
        self._phase, self._total, self._done = phase, total, 0
        self._began = self._told = self._clock.monotonic()
        self._write(f"{phase}: {_amount(phase, total)}")

    def advance(self, count: int, what: str) -> None:
        self._done += count
        now = self._clock.monotonic()
        if now - self._told < LINE_EVERY_US:
            return
        self._told = now
        rate = self._done / ((now - self._began) / SECOND)
        left = short_duration(max(self._total - self._done, 0) / rate) if rate else "–"
        done = f"{_amount(self._phase, self._done)} of {_amount(self._phase, self._total)}"
        self._write(f"{self._phase}: {done}, {_amount(self._phase, int(rate))}/s, {left} left, at {what}")

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class TransferBar:
    """`perdure.store.copying.interface.Watcher`: a bar for each phase; a context manager around the time it is shown."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<18}"), BarColumn(24), _Amounts(), TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[what]}", style="dim"), console=console,
        )  # fmt: skip
        self._task: TaskID | None = None

    def __enter__(self) -> TransferBar:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def begin(self, phase: str, total: int) -> None:
        self._task = self._progress.add_task(phase, total=total, what="")

    def advance(self, count: int, what: str) -> None:
        assert self._task is not None
        self._progress.update(self._task, advance=count, what=what)


class _Amounts(TextColumn):
    """`1,200 of 5,000, 300/s`."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        phase = task.description
        rate = f", {_amount(phase, int(task.speed))}/s" if task.speed else ""
        return Text(f"{_amount(phase, int(task.completed))} of {_amount(phase, int(task.total or 0))}{rate}")


def _amount(phase: str, count: int) -> str:
    """Bytes where the phase is one of contents, else a number of what it is named for."""
    return size(count) if phase.endswith(_CONTENTS) else f"{count:,}"
