"""Views of an execution while it runs: a picture that changes on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol, Self, TextIO

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from perdure.base.clock import Clock, SystemClock
from perdure.cli.lines import event_line
from perdure.cli.output import STYLES, on_one_line, short_duration
from perdure.cli.progress import NodeProgress, Progress, seconds_between
from perdure.model.states import NodeStatus
from perdure.wire.events import Event

SYMBOLS = {
    NodeStatus.COMPLETED: "✓",
    NodeStatus.FAILED: "✗",
    NodeStatus.TIMED_OUT: "✗",
    NodeStatus.ORPHANED: "✗",
    NodeStatus.CANCELLED: "■",
    NodeStatus.SKIPPED: "–",
    NodeStatus.RUNNING: "●",
    NodeStatus.RETRYING: "↻",
    NodeStatus.SUSPENDED: "‖",
}
NAME_CELLS = 28
BAR_CELLS = 22
NODES_SHOWN = 24
"""Beyond so many nodes, those that are over or not begun give way."""


class View(Protocol):
    """What shows an execution; a context manager around the time it is shown.

    Between `pause` and `resume` it leaves the terminal to others, and goes on to take note of events.
    """

    def show(self, event: Event) -> None: ...
    def say(self, message: str) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_view(progress: Progress, *, title: str, stream: TextIO) -> View:
    """The picture where `stream` is a terminal that can draw, else lines."""
    console = Console(file=stream, highlight=False)
    if stream.isatty() and not console.is_dumb_terminal:
        return LiveView(progress, title=title, console=console)
    return LineView(progress, stream=stream)


class LineView:
    """One line for each event; none at all where it is `quiet`."""

    def __init__(self, progress: Progress, *, stream: TextIO, quiet: bool = False) -> None:
        self._progress = progress
        self._stream = stream
        self._quiet = quiet
        self._held: list[str] | None = None

    def show(self, event: Event) -> None:
        self._progress.add(event)
        line = event_line(event, self._progress.foreach)
        if self._held is not None:
            self._held.append(line)
        elif not self._quiet:
            click.echo(line, file=self._stream)

    def say(self, message: str) -> None:
        click.echo(message, file=sys.stderr)

    def pause(self) -> None:
        self._held = []

    def resume(self) -> None:
        held, self._held = self._held or [], None
        for line in [] if self._quiet else held:
            click.echo(line, file=self._stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.flush()


class LiveView:
    """Nodes with their status, a bar for each foreach, elapsed times and the latest log lines, redrawn in place."""

    def __init__(self, progress: Progress, *, title: str, console: Console, clock: Clock | None = None) -> None:
        self._progress = progress
        self._title = title
        self._clock = clock or SystemClock()
        self._message = ""
        self._live = Live(console=console, get_renderable=self.picture, refresh_per_second=8, transient=False)

    def show(self, event: Event) -> None:
        self._message = ""
        self._progress.add(event)

    def say(self, message: str) -> None:
        self._message = message

    def pause(self) -> None:
        self._live.stop()

    def resume(self) -> None:
        self._live.start()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._message = ""
        self._live.stop()

    def picture(self) -> RenderableType:
        """The whole view as it stands now."""
        now = self._clock.now()
        progress = self._progress
        parts: list[RenderableType] = [self._headline(now), self._nodes(now)]
        if progress.lines:
            parts += [
                Text(event_line(event, self._progress.foreach), style="dim", no_wrap=True, overflow="ellipsis")
                for event in progress.lines
            ]
        if self._message:
            parts.append(Text(self._message, style="yellow"))
        return Group(*parts)

    def _headline(self, now: int) -> Text:
        progress = self._progress
        seconds = seconds_between(progress.started_at, progress.finished_at, now)
        line = Text(self._title, style="bold", no_wrap=True, overflow="ellipsis")
        line.append(f"  {progress.status}", style=STYLES.get(progress.status, ""))
        if seconds is not None:
            line.append(f"  {short_duration(seconds)}", style="dim")
        if progress.recoveries:
            line.append(f"  recovered {progress.recoveries}×", style="magenta")
        return line

    def _nodes(self, now: int) -> RenderableType:
        shown, hidden = self._shown_nodes()
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(width=1)
        table.add_column(width=min(max((len(node.id) for node in shown), default=0), NAME_CELLS), no_wrap=True)
        table.add_column(width=BAR_CELLS, no_wrap=True)
        table.add_column(width=6, justify="right", no_wrap=True)
        # What went wrong has the rest of the width, and gives way to all else.
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        for node in shown:
            seconds = seconds_between(node.started_at, node.finished_at, now)
            style = STYLES.get(node.status, "dim")
            table.add_row(
                Text(SYMBOLS.get(NodeStatus(node.status), "○") if node.runs else "○", style=style),
                Text(node.id),
                _state(node, style, is_over=self._progress.ended),
                Text("" if seconds is None else short_duration(seconds), style="dim"),
                Text(_trouble(node), style="yellow"),
            )
        return Group(table, Text(f"… and {hidden} more nodes", style="dim")) if hidden else table

    def _shown_nodes(self) -> tuple[list[NodeProgress], int]:
        nodes = list(self._progress.nodes.values())
        if len(nodes) <= NODES_SHOWN:
            return nodes, 0
        quiet = {NodeStatus.COMPLETED, NodeStatus.SKIPPED, "waiting"}
        ranked = sorted(nodes, key=lambda node: node.status in quiet)
        keep = {node.id for node in ranked[:NODES_SHOWN]}
        return [node for node in nodes if node.id in keep], len(nodes) - NODES_SHOWN


def _trouble(node: NodeProgress) -> str:
    if not node.message or node.status == NodeStatus.COMPLETED:
        return ""
    return on_one_line(node.message.splitlines()[0])


def _state(node: NodeProgress, style: str, *, is_over: bool) -> RenderableType:
    if is_over and not node.runs:
        return Text("not begun", style=style)
    if not node.is_foreach or not node.runs:
        again = f" (attempt {node.attempts})" if node.attempts > 1 and not node.is_foreach else ""
        return Text(node.status + again, style=style)
    total = node.items or len(node.runs)
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row(
        ProgressBar(total=total, completed=node.ended, width=12, complete_style=style, finished_style=style),
        Text(f"{node.ended}/{total if node.items is not None or node.ended == len(node.runs) else '?'}", style=style),
    )
    return grid
