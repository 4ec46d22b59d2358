"""`perdure operation list | show | items | cancel`."""

from __future__ import annotations

import click

from perdure.base.clock import SystemClock
from perdure.cli.execution.many import ask_and_wait, exit_as_done, operation_card
from perdure.cli.execution.naming import NEWEST
from perdure.cli.inputs import parse_moment
from perdure.cli.output import Column, age, format_option, print_list, print_one
from perdure.cli.session import server_command
from perdure.client.client import AsyncClient
from perdure.model.operation import Action, OperationStatus
from perdure.wire.operations import Operation, OperationItem

LIST_COLUMNS = (
    Column("ID", lambda one: one.id),
    Column("ACTION", lambda one: one.action),
    Column("STATUS", lambda one: one.status, is_status=True),
    Column("AGE", lambda one: age(one.created_at)),
    Column("TOTAL", lambda one: f"{one.total:,}"),
    Column("SUCCEEDED", lambda one: f"{one.succeeded:,}"),
    Column("REFUSED", lambda one: f"{one.refused:,}"),
    Column("BY", lambda one: one.by),
)
ITEM_COLUMNS = (
    Column("NO", lambda item: str(item.n)),
    Column("EXECUTION", lambda item: item.execution),
    Column("OUTCOME", lambda item: item.outcome, is_status=True),
    Column("WHY", lambda item: item.detail or ""),
    Column("REPLAY", lambda item: item.replay or ""),
)


@click.command("list")
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice([*map(str, OperationStatus)]), help="May be given often."
)
@click.option("--action", "actions", multiple=True, type=click.Choice([*map(str, Action)]), help="May be given often.")
@click.option("--after", metavar="TIME", help="Created after a time (RFC 3339), or within the last (10m).")
@click.option("--before", metavar="TIME", help="Created before a time, or so long ago.")
@click.option("--limit", type=click.IntRange(1), metavar="N", default=20, show_default=True, help="At most so many.")
@format_option
@server_command
async def list_(
    *,
    client: AsyncClient,
    statuses: tuple[str, ...],
    actions: tuple[str, ...],
    after: str | None,
    before: str | None,
    limit: int,
    output: str,
) -> None:
    """List operations, newest first. They are kept for a week after their end."""
    clock = SystemClock()
    source = client.operations.list(
        status=statuses or None,
        action=actions or None,
        created_after=None if after is None else parse_moment(after, clock, ago=True, option="--after"),
        created_before=None if before is None else parse_moment(before, clock, ago=True, option="--before"),
        limit=limit,
    )
    await print_list(source, LIST_COLUMNS, output, name=_id, empty="no operations")


@click.command()
@click.argument("operation_id", metavar="OPERATION")
@click.option("--wait", "waits", is_flag=True, help="Follow it to its end; exit with 1 unless all succeeded.")
@format_option
@server_command
async def show(*, client: AsyncClient, operation_id: str, waits: bool, output: str) -> None:
    """Show OPERATION (an id, or `-` for the newest one): what was asked for, and how far it is."""
    found = await client.operations.get(await _named(client, operation_id))
    if waits:
        found = await ask_and_wait(client, found)
    print_one(found, output, name=_id, card=operation_card)
    if waits:
        exit_as_done(found)


@click.command()
@click.argument("operation_id", metavar="OPERATION")
@click.option(
    "--outcome", type=click.Choice(["waiting", "asked", "succeeded", "refused", "skipped"]), help="Only these."
)
@click.option("--limit", type=click.IntRange(1), metavar="N", default=1000, show_default=True, help="At most so many.")
@format_option
@server_command
async def items(*, client: AsyncClient, operation_id: str, outcome: str | None, limit: int, output: str) -> None:
    """List what became of each execution of OPERATION (an id, or `-` for the newest one)."""
    source = client.operations.items(await _named(client, operation_id), outcome=outcome, limit=limit)
    await print_list(source, ITEM_COLUMNS, output, name=_execution, empty="no such items")


@click.command()
@click.argument("operation_id", metavar="OPERATION")
@format_option
@server_command
async def cancel(*, client: AsyncClient, operation_id: str, output: str) -> None:
    """Do no more of OPERATION (an id, or `-` for the newest one); what was done stays."""
    found = await client.operations.cancel(await _named(client, operation_id))
    print_one(found, output, name=_id, card=operation_card)


async def _named(client: AsyncClient, given: str) -> str:
    """Its id. Raises click.UsageError where the newest one is meant and there is none."""
    if given != NEWEST:
        return given
    async for newest in client.operations.list(limit=1):
        return newest.id
    raise click.UsageError("there is no operation yet, or none any more")


def _id(one: Operation) -> str:
    return one.id


def _execution(item: OperationItem) -> str:
    return item.execution
