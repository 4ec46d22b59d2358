"""What is wrong with a file, as compilers tell it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

import click

from perdure.errors import Problem

SHOWN_WIDTH = 120


def finding_lines(
    path: str, problems: Iterable[Problem], source: str | None = None, *, are_warnings: bool = False
) -> Iterator[str]:
    """`path:line:column: code: message` for each (`warning: ` before the code); with `source` the line and a caret."""
    kind = "warning: " if are_warnings else ""
    lines = None if source is None else source.splitlines()
    for problem in problems:
        place = f"{path}:{problem.line}:{problem.column or 1}" if problem.line is not None else path
        pointer = f" (at {problem.pointer})" if problem.line is None and problem.pointer else ""
        yield f"{place}: {kind}{problem.code}: {problem.detail}{pointer}"
        if lines is not None and problem.line is not None and problem.line <= len(lines):
            yield from _excerpt(lines, problem.line, problem.column or 1)


def print_findings(
    path: str, problems: Sequence[Problem], source: str, *, err: bool = False, are_warnings: bool = False
) -> None:
    """The findings, with the source on a terminal."""
    stream = sys.stderr if err else sys.stdout
    for line in finding_lines(path, problems, source if stream.isatty() else None, are_warnings=are_warnings):
        click.echo(line, err=err)


def _excerpt(lines: Sequence[str], line: int, column: int) -> Iterator[str]:
    text = lines[line - 1].expandtabs(1)
    start = max(column - SHOWN_WIDTH + 20, 0)
    number = str(line)
    yield f"  {number} | {text[start : start + SHOWN_WIDTH]}"
    yield f"  {' ' * len(number)} | {' ' * (column - 1 - start)}^"
