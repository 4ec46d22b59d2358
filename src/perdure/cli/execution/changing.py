"""`perdure execution cancel | tag | delete`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import click

from perdure.cli.completing import complete_execution
from perdure.cli.execution.many import Chosen, act_on_many, exit_as_done, many_options
from perdure.cli.execution.naming import named_execution
from perdure.cli.execution.reading import execution_card
from perdure.cli.inputs import parse_tags
from perdure.cli.output import format_option, print_one
from perdure.cli.session import server_command
from perdure.client.client import AsyncClient
from perdure.wire.executions import Execution

WAITED_FOR_AT_ONCE = 20


def _executions_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("execution_ids", metavar="[EXECUTION]...", nargs=-1, shell_complete=complete_execution)(
        function
    )


@click.command()
@_executions_argument
@click.option("--reason", help="Why; it is kept with the execution.")
@click.option("--force", is_flag=True, help="Give running attempts no grace, and clean nothing up.")
@click.option("--wait", "waits", is_flag=True, help="Return when they are really over.")
@many_options
@format_option
@server_command
async def cancel(
    *, client: AsyncClient, chosen: Chosen, reason: str | None, force: bool, waits: bool, output: str
) -> None:
    """Cancel executions, with their children. What runs is stopped for certain before it is called cancelled.

    \b
    perdure execution cancel 17 --reason "not today"
    perdure execution cancel --flow reports/digest --status running --status suspended --dry-run
    """
    if chosen.single is not None and not chosen.dry_run:
        handle = await named_execution(client, chosen.single)
        await handle.cancel(reason=reason, force=force)
        if waits:
            await handle.wait()
        _print(handle.record, output, done=handle.status)
        return
    arguments = ({} if reason is None else {"reason": reason}) | ({"force": True} if force else {})
    operation = await act_on_many(client, "cancel", chosen, arguments=arguments, output=output)
    if operation is not None and waits:
        await _ends(client, operation.id)
    exit_as_done(operation)


@click.command()
@click.argument("words", metavar="[EXECUTION]... [KEY=VALUE]...", nargs=-1)
@click.option("--remove", "removed", multiple=True, metavar="KEY", help="A tag that is to go; may be given again.")
@many_options
@format_option
@server_command
async def tag(*, client: AsyncClient, chosen: Chosen, removed: tuple[str, ...], output: str) -> None:
    """Set tags of executions, and remove some, whether they go on or have ended.

    \b
    perdure execution tag - case=4711 owner=ada
    perdure execution tag 17 18 --remove owner
    perdure execution tag --flow import --status failed case=4711
    """
    pairs = tuple(word for word in chosen.words if "=" in word)
    if not pairs and not removed:
        raise click.UsageError("write key=value for a tag to set, or --remove KEY for one that is to go")
    wanted = parse_tags(pairs)
    if chosen.single is not None and not chosen.dry_run:
        handle = await named_execution(client, chosen.single)
        print_one(await handle.tag(wanted, remove=removed), output, name=_id, card=execution_card)
        return
    arguments = {"set": wanted, "remove": list(removed)}
    exit_as_done(await act_on_many(client, "tag", chosen, arguments=arguments, output=output))


@click.command()
@_executions_argument
@many_options
@format_option
@server_command
async def delete(*, client: AsyncClient, chosen: Chosen, output: str) -> None:
    """Delete executions that have ended, for good, each with all that it started.

    Replays of them stay whole. One that goes on is refused; cancel it before.

    \b
    perdure execution delete 17
    perdure execution delete --tag env=test --finished-before 7d --yes
    """
    if chosen.single is not None and not chosen.dry_run:
        handle = await named_execution(client, chosen.single)
        await handle.delete()
        _print(handle.record, output, done="deleted")
        return
    exit_as_done(await act_on_many(client, "delete", chosen, arguments={}, output=output))


async def _ends(client: AsyncClient, operation_id: str) -> None:
    """Wait for the ends of what an operation cancelled, some at a time."""
    gate = asyncio.Semaphore(WAITED_FOR_AT_ONCE)

    async def end(id: str) -> None:
        async with gate:
            await (await client.executions.handle(id)).wait()

    items = client.operations.items(operation_id, outcome="succeeded")
    batch: list[str] = []
    async for item in items:
        batch.append(item.execution)
        if len(batch) == 50 * WAITED_FOR_AT_ONCE:
            await asyncio.gather(*map(end, batch))
            batch = []
    await asyncio.gather(*map(end, batch))


def _print(record: Execution, output: str, *, done: str) -> None:
    if output == "table":
        click.echo(f"{record.id}  {done}")
    else:
        print_one(record, output, name=_id, card=execution_card)


def _id(record: Execution) -> str:
    return record.id
