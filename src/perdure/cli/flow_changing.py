"""`perdure flow apply | delete`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence

import click
import msgspec

from perdure.cli.completing import complete_flow
from perdure.cli.exits import ERROR, Exit
from perdure.cli.findings import print_findings
from perdure.cli.flow_files import FlowFile, read_flow_files
from perdure.cli.output import Column, format_option, note, print_list
from perdure.cli.session import server_command
from perdure.client.client import AsyncClient
from perdure.client.errors import ProblemError
from perdure.errors import CallerError, Problem
from perdure.flows.documents import parse_document
from perdure.wire.flows import MOST_FLOWS, FlowDocument

_PLACE = re.compile(r"/documents/(\d+)")
"""What the server calls a file."""


class Applied(msgspec.Struct):
    """`change` is new, changed or unchanged; `version` is null while it is not known."""

    flow: str
    version: int | None
    change: str
    path: str


COLUMNS = (
    Column("FLOW", lambda applied: applied.flow),
    Column("VERSION", lambda applied: "–" if applied.version is None else str(applied.version)),
    Column("CHANGE", lambda applied: applied.change),
    Column("FILE", lambda applied: applied.path),
)


@click.command()
@click.argument("paths", metavar="FILE...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Check all files on the server and say what would change.")
@format_option
@server_command
async def apply(*, client: AsyncClient, paths: Sequence[str], dry_run: bool, output: str) -> None:
    """Put flow files (a folder means all flows in it, - is standard input) on the server, each as its flow's latest
    version.

    The server takes all of them at once or none: when it refuses any, everything that is wrong with all of them is told.
    At most 1,000 files and 10 MiB are taken at a time.
    """
    found = read_flow_files(paths)
    if len(found.files) > MOST_FLOWS:
        raise click.UsageError(f"{found.counted()}; at most {MOST_FLOWS:,} are applied at once: name fewer")
    documents = [_document(file) for file in found.files]
    try:
        changes = await client.flows.put_batch(documents, dry_run=dry_run)
    except ProblemError as error:
        if not _tell_problems(found.files, error):
            raise
        note(f"{found.counted()}: {error}")
        raise Exit(ERROR) from None
    applied: list[Applied] = []
    for file, change in zip(found.files, changes, strict=True):
        print_findings(file.path, change.warnings, file.text, err=True, are_warnings=True)
        applied.append(Applied(change.flow, change.version, change.change, file.path))
    await print_list(_each(applied), COLUMNS, output, name=lambda one: one.flow, empty="nothing to apply")


@click.command()
@click.argument("flow_ids", metavar="FLOW...", nargs=-1, required=True, shell_complete=complete_flow)
@server_command
async def delete(*, client: AsyncClient, flow_ids: Sequence[str]) -> None:
    """Delete flows. Their versions stay for the executions that ran them."""
    bad = False
    for flow_id in flow_ids:
        try:
            await client.flows.delete(flow_id)
        except ProblemError as error:
            if len(flow_ids) == 1:
                raise
            note(f"{flow_id}: {error}")
            bad = True
        else:
            click.echo(f"{flow_id}  deleted")
    if bad:
        raise Exit(ERROR)


def _document(file: FlowFile) -> FlowDocument:
    """Raises Exit for what is no text, once that is told."""
    try:
        return FlowDocument(text=file.data.decode(), media_type=file.media_type)
    except UnicodeDecodeError:
        try:
            parse_document(file.data, media_type=file.media_type)
        except CallerError as error:
            print_findings(file.path, error.problems, file.text, err=True)
        note("nothing was applied")
        raise Exit(ERROR) from None


def _tell_problems(files: Sequence[FlowFile], error: ProblemError) -> bool:
    """Whether the server refused files; then everything that is wrong with them has been told, by file."""
    told: dict[int, list[Problem]] = {}
    for problem in error.errors:
        place = _PLACE.fullmatch(problem.pointer or "")
        if place is None:
            return False
        detail = _PLACE.sub(lambda other: files[int(other[1])].path, problem.detail)
        told.setdefault(int(place[1]), []).append(msgspec.structs.replace(problem, pointer=None, detail=detail))
    for index, problems in sorted(told.items()):
        print_findings(files[index].path, problems, files[index].text, err=True)
    return bool(told)


async def _each(applied: Sequence[Applied]) -> AsyncIterator[Applied]:
    for one in applied:
        yield one
