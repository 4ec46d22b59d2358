"""`perdure execution tag | delete`."""

from __future__ import annotations

import click

from perdure.cli.execution.naming import execution_argument, named_execution
from perdure.cli.execution.reading import execution_card
from perdure.cli.exits import ERROR, Exit
from perdure.cli.inputs import parse_tags
from perdure.cli.output import format_option, note, print_one
from perdure.cli.session import server_command
from perdure.client.client import AsyncClient
from perdure.client.errors import ProblemError


@click.command()
@execution_argument
@click.argument("tags", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--remove", "removed", multiple=True, metavar="KEY", help="A tag that is to go; may be given again.")
@format_option
@server_command
async def tag(
    *, client: AsyncClient, execution_id: str, tags: tuple[str, ...], removed: tuple[str, ...], output: str
) -> None:
    """Set tags of EXECUTION, and remove some, whether it goes on or has ended.

    \b
    perdure execution tag - case=4711 owner=ada
    perdure execution tag 17 --remove owner
    """
    if not tags and not removed:
        raise click.UsageError("name a tag to set, KEY=VALUE, or one to remove, --remove KEY")
    wanted = parse_tags(tags)
    handle = await named_execution(client, execution_id)
    record = await handle.tag(wanted, remove=removed)
    print_one(record, output, name=lambda one: one.id, card=execution_card)


@click.command()
@click.argument("execution_ids", metavar="EXECUTION...", nargs=-1, required=True)
@server_command
async def delete(*, client: AsyncClient, execution_ids: tuple[str, ...]) -> None:
    """Delete executions that have ended, for good, each with all that it started.

    Replays of them stay whole. One that goes on is refused; cancel it before.
    """
    bad = False
    for given in execution_ids:
        try:
            handle = await named_execution(client, given)
            await handle.delete()
        except ProblemError as error:
            if len(execution_ids) == 1:
                raise
            note(f"{given}: {error}")
            bad = True
        else:
            click.echo(f"{handle.id}  deleted")
    if bad:
        raise Exit(ERROR)
