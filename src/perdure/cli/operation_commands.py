"""`perdure operation list | show | items | cancel`."""

from __future__ import annotations

import click

from perdure.cli.execution.many import ask_and_wait, exit_as_done, operation_card
from perdure.cli.output import Column, age, format_option, print_list, print_one
from perdure.cli.session import server_command
from perdure.client.client import AsyncClient
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
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@format_option
@server_command
async def list_(*, client: AsyncClient, limit: int, output: str) -> None:
    """List operations, newest first. They are kept for a week after their end."""
    await print_list(client.operations.list(limit=limit), LIST_COLUMNS, output, name=_id, empty="no operations")


@click.command()
@click.argument("operation_id", metavar="OPERATION")
@click.option("--wait", "waits", is_flag=True, help="Follow it to its end; exit with 1 unless all succeeded.")
@format_option
@server_command
async def show(*, client: AsyncClient, operation_id: str, waits: bool, output: str) -> None:
    """Show OPERATION: what was asked for, and how far it is."""
    found = await client.operations.get(operation_id)
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
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="At most so many.")
@format_option
@server_command
async def items(*, client: AsyncClient, operation_id: str, outcome: str | None, limit: int, output: str) -> None:
    """List what became of each execution of OPERATION."""
    source = client.operations.items(operation_id, outcome=outcome, limit=limit)
    await print_list(source, ITEM_COLUMNS, output, name=_execution, empty="no such items")


@click.command()
@click.argument("operation_id", metavar="OPERATION")
@format_option
@server_command
async def cancel(*, client: AsyncClient, operation_id: str, output: str) -> None:
    """Do no more of OPERATION; what was done stays."""
    print_one(await client.operations.cancel(operation_id), output, name=_id, card=operation_card)


def _id(one: Operation) -> str:
    return one.id


def _execution(item: OperationItem) -> str:
    return item.execution
