"""`perdure flow apply | delete`."""

from __future__ import annotations

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
from perdure.client.errors import ClientError, FlowNotFound, ProblemError
from perdure.errors import Problem
from perdure.flows.folder import doubles
from perdure.wire.flows import FlowDetail

NEW, CHANGED, UNCHANGED = "new", "changed", "unchanged"


class Planned(msgspec.Struct):
    """What the server thinks of a file. `before` is the flow as it has it; None for one that it does not know."""

    file: FlowFile
    problems: list[Problem]
    warnings: list[Problem] = []
    flow: str = ""
    content_hash: str | None = None
    before: FlowDetail | None = None

    @property
    def change(self) -> str:
        if self.before is None:
            return NEW
        return UNCHANGED if self.before.content_hash == self.content_hash else CHANGED


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

    The server checks all of them first; when it refuses any, everything that is wrong is told and none is put.
    """
    found = read_flow_files(paths)
    plans = [await _plan(client, file) for file in found.files]
    for path, problem in doubles({plan.file.path: plan.flow for plan in plans if plan.flow}).items():
        next(plan for plan in plans if plan.file.path == path).problems.append(problem)
    for plan in plans:
        print_findings(plan.file.path, plan.problems, plan.file.text, err=True)
        print_findings(plan.file.path, plan.warnings, plan.file.text, err=True, are_warnings=True)
    if bad := sum(bool(plan.problems) for plan in plans):
        note(f"{found.counted()}, {bad} with problems: nothing was applied")
        raise Exit(ERROR)
    applied: list[Applied] = []
    for plan in plans:
        try:
            applied.append(await _carry_out(client, plan, dry_run=dry_run))
        except ClientError:
            done = ", ".join(one.flow for one in applied) or "none"
            note(f"{plan.file.path} was not taken although it is valid; applied before it: {done}")
            raise
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


async def _plan(client: AsyncClient, file: FlowFile) -> Planned:
    try:
        checked = await client.flows.validate(file.data, media_type=file.media_type)
    except ProblemError as error:
        if error.status >= 500 or error.status in {401, 403}:
            raise
        return Planned(file, [*error.errors] or [Problem(error.code, str(error))])
    if checked.flow is None:
        return Planned(file, checked.errors)
    plan = Planned(file, checked.errors, checked.warnings, checked.flow, checked.content_hash)
    try:
        plan.before = await client.flows.get(plan.flow)
    except FlowNotFound:
        return plan
    if plan.before.source is not None:
        detail = f"the flow {plan.flow} is managed by the server's folder {plan.before.source}: change its file there"
        plan.problems.append(Problem("flow_managed", detail))
    return plan


async def _carry_out(client: AsyncClient, plan: Planned, *, dry_run: bool) -> Applied:
    if plan.before is not None and plan.change == UNCHANGED:
        version: int | None = plan.before.version
    elif dry_run:
        version = None
    else:
        version = (await client.flows.put(plan.flow, plan.file.data, media_type=plan.file.media_type)).version
    return Applied(plan.flow, version, plan.change, plan.file.path)


async def _each(applied: Sequence[Applied]) -> AsyncIterator[Applied]:
    for one in applied:
        yield one
