"""What goes to stdout: the same data as a table, JSON, JSON lines, YAML or bare names."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import click
import msgspec
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from perdure.base.clock import SECOND, Clock, SystemClock, from_rfc3339
from perdure.base.durations import format_duration
from perdure.model.states import ExecutionStatus, NodeStatus

T = TypeVar("T")
FORMATS = ("table", "json", "jsonl", "yaml", "name")
STYLES: Mapping[str, str] = {
    ExecutionStatus.COMPLETED: "green",
    ExecutionStatus.FAILED: "red",
    ExecutionStatus.ABANDONED: "red",
    ExecutionStatus.TIMED_OUT: "yellow",
    ExecutionStatus.CANCELLED: "yellow",
    ExecutionStatus.CANCELLING: "yellow",
    ExecutionStatus.INTERRUPTED: "magenta",
    ExecutionStatus.RUNNING: "cyan",
    ExecutionStatus.SUSPENDED: "blue",
    NodeStatus.ORPHANED: "red",
    NodeStatus.RETRYING: "yellow",
    NodeStatus.SKIPPED: "dim",
}
"""How a status looks on a terminal."""
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}
"""What a terminal would obey; texts come from flows, callers and those who answer."""
_ON_ONE_LINE = {**_CONTROLS, **dict.fromkeys(map(ord, "\t\n\r"), " ")}


class Column(NamedTuple):
    """`status` columns are coloured on a terminal."""

    title: str
    value: Callable[[Any], str]
    is_status: bool = False


def format_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`-o table|json|jsonl|yaml|name`, as `output`."""
    option = click.option(
        "-o", "--output", type=click.Choice(FORMATS), default="table", help="How to print what is found."
    )
    return option(function)


def plain(value: Any) -> Any:
    """The JSON data of a typed value."""
    return msgspec.to_builtins(value)


def print_json(value: Any, *, indent: int = 2) -> None:
    """One JSON document, readable; `indent` 0 puts it on one line."""
    text = msgspec.json.encode(value)
    click.echo(msgspec.json.format(text, indent=indent) if indent else text)


async def print_list(
    source: AsyncIterator[T], columns: Sequence[Column], output: str, *, name: Callable[[T], str], empty: str
) -> None:
    """A list in the wanted format. JSON lines and names are printed as they come; `empty` is said on stderr."""
    entries: list[T] = []
    async for entry in source:
        if output in {"jsonl", "name"}:
            print_entry(entry, output, name=name)
        else:
            entries.append(entry)
    if output == "json":
        print_json(entries)
    elif output == "yaml":
        print_yaml(plain(entries))
    elif output == "table" and entries:
        print_table(entries, columns)
    elif output == "table":
        click.echo(empty, err=True)


def print_entry(entry: T, output: str, *, name: Callable[[T], str]) -> None:
    """One entry of a stream, as a JSON line or its name."""
    if output == "name":
        click.echo(name(entry))
    else:
        print_json(entry, indent=0)


def print_one(entry: T, output: str, *, name: Callable[[T], str], card: Callable[[T], Mapping[str, str]]) -> None:
    """One object in the wanted format; a table of one is a card of `title: value` lines."""
    if output == "table":
        print_card(card(entry))
    elif output == "yaml":
        print_yaml(plain(entry))
    elif output == "json":
        print_json(entry)
    else:
        print_entry(entry, output, name=name)


def print_yaml(value: Any) -> None:
    click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)


def print_card(lines: Mapping[str, str]) -> None:
    width = max(map(len, lines), default=0) + 2
    for title, value in lines.items():
        first, *more = [line.translate(_CONTROLS) for line in value.splitlines()] or [""]
        click.echo(f"{title + ':':<{width}}{first}".rstrip())
        for line in more:
            click.echo(" " * width + line)


def print_table(entries: Iterable[Any], columns: Sequence[Column]) -> None:
    """Aligned columns; on a terminal with colours and cut to its width, else whole and plain."""
    rows = [[on_one_line(column.value(entry)) for column in columns] for entry in entries]
    if not sys.stdout.isatty():
        widths = [max(len(cell) for cell in cells) for cells in zip(*rows, [c.title for c in columns], strict=True)]
        for row in [[column.title for column in columns], *rows]:
            print_row(row, widths)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, column in enumerate(columns):
        # What a person copies, the first column, is never cut.
        table.add_column(column.title, no_wrap=True, overflow="fold" if index == 0 else "ellipsis")
    for row in rows:
        styled = [
            Text(cell, style=STYLES.get(cell, "") if column.is_status else "")
            for cell, column in zip(row, columns, strict=True)
        ]
        table.add_row(*styled)
    Console(highlight=False).print(table)


def print_row(cells: Sequence[str], widths: Sequence[int]) -> None:
    """One plain line of a table."""
    shown = map(on_one_line, cells)
    click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(shown, widths, strict=True)).rstrip())


def on_one_line(text: str) -> str:
    """The same as one line, in which a terminal finds nothing to obey."""
    return text.translate(_ON_ONE_LINE)


def age(at: str | None, clock: Clock | None = None) -> str:
    """How long ago a time was, in its largest unit: `12s`, `3m`, `2h`, `5d`; `in 3m` for one to come."""
    if at is None:
        return "–"
    micros = (clock or SystemClock()).now() - from_rfc3339(at)
    text = short_duration(max(abs(micros) // SECOND, 1))
    return text if micros >= 0 else f"in {text}"


def short_duration(seconds: float) -> str:
    """`850ms`, `12s`, `3m12s`, `2h5m`, `5d3h`: two units at most."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds < 10 and seconds != int(seconds) else f"{seconds:.0f}s"
    step = 1 if seconds < 3600 else 60 if seconds < 86400 else 3600
    return format_duration(int(seconds // step * step) * SECOND)


def duration(ms: float | None) -> str:
    """A `duration_ms` of the API."""
    return "–" if ms is None else short_duration(ms / 1000)


def size(count: int) -> str:
    """Bytes in binary units: `512 B`, `1.4 MiB`."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def one_line(value: Any, limit: int = 200) -> str:
    """A JSON value on one line, cut to `limit` characters."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def note(message: str) -> None:
    """Say something beside the data."""
    click.echo(message.translate(_CONTROLS), err=True)
