"""`perdure execution watch | logs | events`: following an execution while it runs."""

from __future__ import annotations

import asyncio
import sys
from typing import TextIO

import click

from perdure.base.clock import SystemClock
from perdure.cli.execution.naming import execution_argument, named_execution
from perdure.cli.exits import INTERRUPTED, Exit
from perdure.cli.failures import exit_of
from perdure.cli.inputs import parse_moment
from perdure.cli.lines import event_line, log_line
from perdure.cli.live import View, open_view
from perdure.cli.output import note, print_json
from perdure.cli.progress import Progress
from perdure.cli.session import server_command
from perdure.client.client import AsyncClient
from perdure.client.errors import ClientError
from perdure.client.execution import AsyncExecutionHandle

LINES = ("text", "jsonl")


@click.command()
@execution_argument
@server_command
async def watch(*, client: AsyncClient, execution_id: str) -> None:
    """Follow EXECUTION until it ends, and exit as it ended. Ctrl-C detaches: the execution goes on."""
    handle = await named_execution(client, execution_id)
    try:
        await follow(handle, stream=sys.stdout)
    except asyncio.CancelledError:
        say_how_to_resume(handle.id)
        raise Exit(INTERRUPTED) from None
    _tell_end(handle)
    if code := exit_of(handle.status):
        raise Exit(code)


@click.command()
@execution_argument
@click.option("-f", "--follow", "follows", is_flag=True, help="Go on until the execution has ended.")
@click.option("--since", metavar="TIME", help="From a time (RFC 3339), or from so long ago (10m), on.")
@click.option("--level", type=click.Choice(["debug", "info", "warning", "error"]), help="The lowest level to print.")
@click.option("--node", metavar="NODE", help="One node's lines only.")
@click.option("-q", "--text", "q", metavar="TEXT", help="Only lines with this text, whatever its case.")
@click.option("-o", "--output", type=click.Choice(LINES), default="text", help="How to print the lines.")
@server_command
async def logs(
    *,
    client: AsyncClient,
    execution_id: str,
    follows: bool,
    since: str | None,
    level: str | None,
    node: str | None,
    q: str | None,
    output: str,
) -> None:
    """Print what the nodes of EXECUTION printed and logged."""
    handle = await named_execution(client, execution_id)
    foreach = await _foreach_nodes(handle)
    moment = None if since is None else parse_moment(since, SystemClock(), ago=True, option="--since")
    lines = handle.logs(
        follow=follows,
        since=None if moment is None else moment.isoformat(),
        level=level,
        node=node,
        q=q,
        on_reconnect=_say_reconnect,
    )
    try:
        async for line in lines:
            if output == "jsonl":
                print_json(line, indent=0)
            else:
                click.echo(log_line(line, foreach))
    except asyncio.CancelledError:
        note(f"\nDetached. Go on with: perdure execution logs -f {handle.id}")
        raise Exit(INTERRUPTED) from None


@click.command()
@execution_argument
@click.option("-f", "--follow", "follows", is_flag=True, help="Go on until the execution has ended.")
@click.option("--after", type=click.IntRange(0), default=0, metavar="SEQ", help="Begin behind this event.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only these types (node.failed, log, …).")
@click.option("-o", "--output", type=click.Choice(LINES), default="text", help="How to print the events.")
@server_command
async def events(
    *,
    client: AsyncClient,
    execution_id: str,
    follows: bool,
    after: int,
    types: tuple[str, ...],
    output: str,
) -> None:
    """Print the events of EXECUTION, in order."""
    handle = await named_execution(client, execution_id)
    seen = after
    foreach = await _foreach_nodes(handle)
    source = (
        handle.events(after=after, types=types, on_reconnect=_say_reconnect)
        if follows
        else handle.past_events(after=after, types=types)
    )
    try:
        async for event in source:
            seen = event.seq
            if output == "jsonl":
                print_json(event, indent=0)
            else:
                click.echo(event_line(event, foreach))
    except asyncio.CancelledError:
        note(f"\nDetached. Go on with: perdure execution events -f --after {seen} {handle.id}")
        raise Exit(INTERRUPTED) from None


async def follow(handle: AsyncExecutionHandle, *, stream: TextIO) -> Progress:
    """Show an execution on `stream` until it has ended; then the handle's record is the final one."""
    graph = await handle.graph()
    progress = Progress([*graph.nodes])
    with open_view(progress, title=f"{handle.record.flow}  {handle.id}", stream=stream) as view:
        await show_events(handle, view)
    await handle.refresh()
    return progress


async def show_events(handle: AsyncExecutionHandle, view: View) -> None:
    """Feed a view with all events of an execution, until it has ended."""

    def say(broke: ClientError | None) -> None:
        view.say(f"connection lost{'' if broke is None else f' ({broke})'}; trying again …")

    async for event in handle.events(on_reconnect=say):
        view.show(event)


def say_how_to_resume(execution_id: str) -> None:
    note(f"\nDetached; the execution goes on. Watch it again with: perdure execution watch {execution_id}")


def _say_reconnect(broke: ClientError | None) -> None:
    note(f"connection lost{'' if broke is None else f' ({broke})'}; trying again …")


async def _foreach_nodes(handle: AsyncExecutionHandle) -> frozenset[str]:
    return frozenset(node.id for node in (await handle.graph()).nodes if node.foreach)


def _tell_end(handle: AsyncExecutionHandle) -> None:
    error = handle.record.error
    if error is not None:
        place = f" in {error.node}" if error.node else ""
        note(f"{handle.status}{place}: {error.code}: {error.message}")
        note(f"Look into it with: perdure execution show {handle.id}")
