"""`perdure execution export`: many executions as one file, or one as a fixture."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import click
from click.core import ParameterSource

from perdure.cli.drafts import opened_whole
from perdure.cli.execution.filtering import filter_options
from perdure.cli.execution.fixtures import export_fixture
from perdure.cli.output import note, size
from perdure.cli.session import server_command
from perdure.cli.transfer import open_transfer
from perdure.client.client import AsyncClient
from perdure.client.errors import ClientError
from perdure.client.filters import TextFilters
from perdure.model.states import ExecutionKind

_OTHER_LINES = {"ndjson": 0, "csv": 1, "json": 2}
"""The line of names; those of the brackets."""
_UNCOUNTED = frozenset({
    "q", "input_contains", "output_contains", "min_duration", "max_duration", "started_after", "started_before",
    "finished_after", "finished_before",
})  # fmt: skip
"""Filters whose matches nobody can count without looking through all that there is."""
_OF_A_FIXTURE = frozenset({"execution_id", "fixture", "url", "token", "workspace", "profile"})


@click.command()
@click.argument("execution_id", metavar="[EXECUTION]", required=False)
@click.option("--format", type=click.Choice(["ndjson", "csv", "json", "parquet"]), default="ndjson", show_default=True,
              help="How executions are written.")  # fmt: skip
@click.option("--fields", metavar="NAMES", help="Only these fields, set apart by commas; the id is always there.")
@click.option(
    "--to",
    "file",
    metavar="FILE",
    default="-",
    help="Where to write them (a file is there once it is whole); `-`, the default, is standard output.",
)
@click.option("--oldest-first", is_flag=True, help="In the order of their creation.")
@click.option(
    "--as-fixture", "fixture", metavar="FILE", help="Write the one EXECUTION as a fixture; `-` is standard output."
)
@filter_options
@server_command
async def export(
    *,
    client: AsyncClient,
    execution_id: str | None,
    format: str,
    fields: str | None,
    file: str,
    oldest_first: bool,
    fixture: str | None,
    filters: TextFilters,
) -> None:
    """Write all executions that fit, with their values, as NDJSON, CSV, JSON or Parquet; however many, in little memory.

    With --as-fixture, write EXECUTION alone: definition, input, and every node's result, answers to waits among them. From
    it `perdure run --fixture FILE` runs the flow again without the side effects of its nodes, and so does a test
    (perdure.testing.run_fixture).
    """
    if (execution_id is None) is not (fixture is None):
        raise click.UsageError("one EXECUTION is written as a fixture: give both it and --as-fixture FILE, or neither")
    if execution_id is not None and fixture is not None:
        _refuse_beside_fixture()
        await export_fixture(client, execution_id, fixture)
        return
    if format == "parquet" and file == "-" and sys.stdout.isatty():
        raise click.UsageError("Parquet is nothing to read: name a file with --to, or lead it elsewhere")
    total = await client.executions.count(**_counted(filters)) if _is_soon_counted(filters) else 0
    names = [name.strip() for name in fields.split(",")] if fields else []
    pieces: Any = client.executions.export(format=format, fields=names, oldest_first=oldest_first, **filters)
    async with aclosing(pieces):
        # A file that is there keeps what it holds until it holds all that the server gives.
        pieces = await _begun(pieces)
        try:
            with _opened(file) as target:
                if format == "parquet":
                    written = await _write_whole(pieces, target)
                else:
                    # On a terminal, a bar would stand between the lines.
                    shown = None if file == "-" and sys.stdout.isatty() else sys.stderr
                    count = await _write_lines(pieces, target, total, others=_OTHER_LINES[format], shown=shown)
                    written = f"{count:,} executions"
                target.flush()
        except ClientError:
            note("what was written is not all" if file == "-" else f"the export was cut off: {file} was not written")
            raise
    note(written + ("" if file == "-" else f" in {file}"))


def _refuse_beside_fixture() -> None:
    """Raises UsageError for options that choose or form many executions."""
    context = click.get_current_context()
    for option in context.command.params:
        is_given = context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
        if is_given and option.name not in _OF_A_FIXTURE:
            raise click.UsageError(
                f"{option.opts[-1]} is for many executions; --as-fixture writes the one EXECUTION as it is"
            )


def _is_soon_counted(filters: TextFilters) -> bool:
    return not _UNCOUNTED & filters.keys() and filters.get("kind", ExecutionKind.FLOW) == ExecutionKind.FLOW


def _counted(filters: TextFilters) -> Any:
    return {name: value for name, value in filters.items() if name not in _UNCOUNTED}


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdout.buffer
        return
    with opened_whole(Path(file), option="--to") as target:
        yield target


async def _begun(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same, of which the first has come. Raises what the server says instead."""
    first = await anext(pieces, b"")

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return whole()


async def _write_lines(
    pieces: AsyncIterator[bytes], target: BinaryIO, total: int, *, others: int, shown: TextIO | None
) -> int:
    """How many executions were written: each format has one a line, and so many lines of other things."""
    written = -others
    with nullcontext() if shown is None else open_transfer(shown) as bar:
        if bar is not None:
            bar.begin("executions", total)
        async for piece in pieces:
            target.write(piece)
            before = max(written, 0)
            written += piece.count(b"\n")
            if bar is not None:
                bar.advance(max(written, 0) - before, "")
    return max(written, 0)


async def _write_whole(pieces: AsyncIterator[bytes], target: BinaryIO) -> str:
    """How much was written of a format that has no lines."""
    written = 0
    async for piece in pieces:
        written += target.write(piece)
    return size(written)
