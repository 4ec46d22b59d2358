"""`perdure flow validate | apply | delete`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from perdure import errors
from perdure.cli.completing import complete_flow
from perdure.cli.exits import ERROR, Exit
from perdure.cli.findings import print_findings
from perdure.cli.output import Column, format_option, note, print_json, print_list
from perdure.cli.session import server_command
from perdure.client.client import AsyncClient
from perdure.client.errors import BadRequest, FlowNotFound, InvalidFlow, ProblemError
from perdure.errors import CallerError, Problem
from perdure.flows.documents import media_type_of, parse_document
from perdure.flows.program import check_document
from perdure.nodes.registry import load_node_types
from perdure.nodes.runtime import NodeRuntime, RuntimeSettings

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "-"


class FlowFile(msgspec.Struct):
    """A definition as it was read. `path` is what the user named it."""

    path: str
    data: bytes
    media_type: str

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")


class Checked(msgspec.Struct):
    path: str
    valid: bool
    errors: list[Problem]


class Applied(msgspec.Struct):
    """`change` is created, changed or unchanged."""

    flow: str
    version: int
    change: str
    path: str


APPLIED_COLUMNS = (
    Column("FLOW", lambda applied: applied.flow),
    Column("VERSION", lambda applied: str(applied.version)),
    Column("CHANGE", lambda applied: applied.change),
    Column("FILE", lambda applied: applied.path),
)


@click.command()
@click.argument("paths", metavar="FILE...", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print the findings.")
def validate(paths: Sequence[str], output: str) -> None:
    """Check flow files (YAML or JSON; a folder means all in it; - is standard input) without a server.

    Prints path:line:column: code: message for everything that is wrong; exits with 1 when anything is.
    """
    # Schemas alone are asked of them, so the runtime is never started and the home never made.
    node_types = load_node_types(NodeRuntime(RuntimeSettings(home=".perdure")))
    checked = []
    for file in read_flow_files(paths):
        problems = check_document(file.data, media_type=file.media_type, node_types=node_types)
        checked.append(Checked(file.path, not problems, list(problems)))
        if output == "text":
            print_findings(file.path, problems, file.text)
    if output == "json":
        print_json(checked)
    bad = sum(not one.valid for one in checked)
    count = f"{len(checked)} file{'s' * (len(checked) != 1)}"
    note(f"{count}, {bad} with problems" if bad else f"{count}, no problems")
    if bad:
        raise Exit(ERROR)


@click.command()
@click.argument("paths", metavar="FILE...", nargs=-1, required=True)
@format_option
@server_command
async def apply(*, client: AsyncClient, paths: Sequence[str], output: str) -> None:
    """Put flow files (a folder means all in it, - is standard input) on the server, each as its flow's latest version."""
    applied: list[Applied] = []
    bad = False
    for file in read_flow_files(paths):
        try:
            applied.append(await _apply(client, file))
        except (InvalidFlow, CallerError) as error:
            problems = error.errors if isinstance(error, InvalidFlow) else error.problems
            print_findings(file.path, problems or (Problem(error.code, str(error)),), file.text, err=True)
            bad = True
        except ProblemError as error:
            if error.status >= 500 or error.status in {401, 403}:
                raise
            note(f"{file.path}: {error.code}: {error}")
            bad = True

    async def source() -> Any:
        for one in applied:
            yield one

    if applied or not bad:
        await print_list(source(), APPLIED_COLUMNS, output, name=lambda one: one.flow, empty="nothing to apply")
    if bad:
        raise Exit(ERROR)


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


def read_flow_files(paths: Sequence[str]) -> Iterator[FlowFile]:
    """The files that the arguments mean. Raises click.BadParameter for what cannot be read, or is no flow file."""
    for given in paths:
        if given == STDIN:
            data = sys.stdin.buffer.read()
            yield FlowFile("<stdin>", data, "application/json" if data.lstrip()[:1] == b"{" else "application/yaml")
            continue
        path = Path(given)
        found = sorted(inner for inner in path.rglob("*") if inner.suffix in SUFFIXES) if path.is_dir() else [path]
        if not found:
            raise click.BadParameter(f"there is no flow file in {given} ({', '.join(SUFFIXES)})", param_hint="FILE")
        for file in found:
            yield read_flow_file(file)


def read_flow_file(path: Path) -> FlowFile:
    """Raises click.BadParameter."""
    media_type = media_type_of(path.suffix)
    if media_type is None:
        raise click.BadParameter(f"{path} is no flow file; its name ends in {', '.join(SUFFIXES)}", param_hint="FILE")
    try:
        return FlowFile(str(path), path.read_bytes(), media_type)
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be read: {error.strerror}", param_hint="FILE") from None


async def _apply(client: AsyncClient, file: FlowFile) -> Applied:
    document = parse_document(file.data, media_type=file.media_type)
    flow_id = document.value.get("id") if isinstance(document.value, dict) else None
    if not isinstance(flow_id, str):
        problem = Problem("missing_field", "a flow needs an id, such as `id: reports/digest`", line=1, column=1)
        raise errors.InvalidFlow(problem.detail, problems=(problem,))
    try:
        before = await client.flows.get(flow_id)
    except (FlowNotFound, BadRequest):
        # A malformed id is told by the put, with everything else that is wrong.
        before = None
    flow = await client.flows.put(flow_id, file.data, media_type=file.media_type)
    change = "created" if before is None else "unchanged" if before.version == flow.version else "changed"
    return Applied(flow.id, flow.version, change, file.path)
