"""`perdure events`: what happens in all executions, or in some, while it happens."""

from __future__ import annotations

import asyncio

import click

from perdure.cli.completing import complete_flow
from perdure.cli.exits import INTERRUPTED, Exit
from perdure.cli.lines import event_line
from perdure.cli.output import note, print_json
from perdure.cli.session import server_command
from perdure.client.client import AsyncClient
from perdure.client.errors import ClientError
from perdure.wire.live import BEGINS_NOW, Reset, Subscribe


class _CursorRefused(ClientError):
    """The server has no place for the cursor that `--after` gives."""


LINES = ("text", "jsonl")


@click.command()
@click.option("--execution", "executions", multiple=True, metavar="EXECUTION", help="Of one, by id or number; its whole story, up to its end. May be given often.")  # fmt: skip
@click.option("--flow", "flows", multiple=True, metavar="FLOW", shell_complete=complete_flow, help="Of one flow's executions. May be given often.")  # fmt: skip
@click.option("--namespace", metavar="NAME", help="Of one namespace's executions.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only these types (node.failed, log, …).")
@click.option("--logs", is_flag=True, help="With what the nodes print and log.")
@click.option("--after", metavar="CURSOR", help="Behind an event's cursor (-o jsonl prints it), or `start` for all that is kept.")  # fmt: skip
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="End after so many.")
@click.option("-o", "--output", type=click.Choice(LINES), default="text", help="How to print the events.")
@server_command
async def events(
    *,
    client: AsyncClient,
    executions: tuple[str, ...],
    flows: tuple[str, ...],
    namespace: str | None,
    types: tuple[str, ...],
    logs: bool,
    after: str | None,
    limit: int | None,
    output: str,
) -> None:
    """Print the events of all executions from now on, each one once, also when the connection breaks."""
    if executions and flows:
        raise click.UsageError("--execution and --flow exclude each other")
    if after not in {None, "start"} and len(executions or flows) > 1:
        raise click.UsageError("a cursor belongs to one subscription: name one flow or execution with --after")
    named: list[tuple[str | None, str | None]] = [
        *((one, None) for one in executions),
        *((None, one) for one in flows),
    ] or [(None, None)]
    wanted = [
        Subscribe(
            id=str(at), execution=execution, flow=flow, namespace=namespace, types=list(types), logs=logs, after=after
        )
        for at, (execution, flow) in enumerate(named)
    ]
    cursor, printed = after, 0

    def say_reset(reset: Reset) -> None:
        # Coming back after a break, what is missing is told; what was asked for is refused where it cannot be.
        if cursor == after is not None and reset.reason in BEGINS_NOW:
            raise _CursorRefused(reset.reason)
        note(f"events were missed: {reset.reason}")

    try:
        async for _, event in client.system.live(wanted, on_reconnect=_say_reconnect, on_reset=say_reset):
            cursor = event.cursor
            if output == "jsonl":
                print_json(event, indent=0)
            else:
                click.echo(f"{event.execution}  {event.flow}  {event_line(event)}")
            printed += 1
            if printed == limit:
                break
    except _CursorRefused as refused:
        raise click.BadParameter(f"{after!r}: {refused}", param_hint="--after") from None
    except asyncio.CancelledError:
        if len(wanted) == 1 and cursor is not None:
            note(f"\nDetached. Go on with the same command and: --after {cursor}")
        raise Exit(INTERRUPTED) from None


def _say_reconnect(broke: ClientError | None) -> None:
    note(f"connection lost{'' if broke is None else f' ({broke})'}; trying again …")
