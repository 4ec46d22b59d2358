"""`perdure execution start | wait`."""

from __future__ import annotations

import asyncio
import sys

import click

from perdure.base.clock import SystemClock
from perdure.cli.completing import complete_flow
from perdure.cli.execution.following import follow, say_how_to_resume
from perdure.cli.execution.naming import execution_argument, named_execution
from perdure.cli.execution.reading import execution_card
from perdure.cli.exits import ERROR, INTERRUPTED, STOPPED, Exit
from perdure.cli.failures import exit_of
from perdure.cli.inputs import parse_inputs, parse_moment, parse_seconds, parse_tags
from perdure.cli.output import format_option, note, print_one
from perdure.cli.session import server_command
from perdure.client.client import AsyncClient
from perdure.client.errors import FlowNotFound, WaitTimedOut
from perdure.client.execution import AsyncExecutionHandle
from perdure.wire.executions import Execution


@click.command()
@click.argument("flow", shell_complete=complete_flow)
@click.option("-i", "--input", "inputs", multiple=True, metavar="KEY=VALUE|KEY=@FILE|FILE|-",
              help="A value (JSON where it parses, else text), a value from a file, or the whole input as JSON.")  # fmt: skip
@click.option("--version", type=click.IntRange(1), metavar="N", help="The flow's version; the latest when left out.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag to find it by.")
@click.option("--idempotency-key", metavar="KEY", help="The same key and input within 24 h give the same execution.")
@click.option("--start-at", metavar="TIME", help="Not before: a time (RFC 3339) or a duration from now (10m).")
@click.option("--priority", type=click.IntRange(0, 9), metavar="N", help="Higher goes first; 5 is usual.")
@click.option("--queue", metavar="NAME", help="The queue to wait in.")
@click.option("--timeout", metavar="DURATION", help="How long it may take in all, waiting included (10m).")
@click.option(
    "--wait", "waits", is_flag=True, help="Follow it to its end on stderr, print it then, and exit as it ended."
)
@format_option
@server_command
async def start(
    *,
    client: AsyncClient,
    flow: str,
    inputs: tuple[str, ...],
    version: int | None,
    tags: tuple[str, ...],
    idempotency_key: str | None,
    start_at: str | None,
    priority: int | None,
    queue: str | None,
    timeout: str | None,
    waits: bool,
    output: str,
) -> None:
    """Start an execution of FLOW (namespace/name, or a bare name in `default`).

    \b
    perdure execution start reports/digest -i urls='["https://example.org"]' --wait
    perdure execution start import -i rows=@rows.json -i dry_run=true
    """
    try:
        handle = await client.executions.start(
            flow,
            input=parse_inputs(inputs),
            version=version,
            tags=parse_tags(tags),
            idempotency_key=idempotency_key,
            start_at=None if start_at is None else parse_moment(start_at, SystemClock(), option="--start-at"),
            priority=priority,
            queue=queue,
            timeout=parse_seconds(timeout, option="--timeout"),
        )
    except FlowNotFound as missing:
        note(f"error: {missing}\n`perdure flow list` shows what there is")
        raise Exit(ERROR) from None
    await show_started(handle, waits=waits, output=output)


async def show_started(handle: AsyncExecutionHandle, *, waits: bool, output: str) -> None:
    """Print what was started, with a hint; or (`waits`) follow it to its end, print that, and exit as it ended."""
    if not waits:
        _print(handle.record, output)
        note(f"follow it with: perdure execution watch {handle.id}")
        return
    try:
        await follow(handle, stream=sys.stderr)
    except asyncio.CancelledError:
        say_how_to_resume(handle.id)
        raise Exit(INTERRUPTED) from None
    _print(handle.record, output)
    _exit_as_ended(handle)


@click.command()
@execution_argument
@click.option("--timeout", metavar="DURATION", help="Give up after so long (30s, 10m); it goes on all the same.")
@format_option
@server_command
async def wait(*, client: AsyncClient, execution_id: str, timeout: str | None, output: str) -> None:
    """Wait until EXECUTION has ended, print it, and exit as it ended: 0 completed, 3 cancelled, timed out or not
    ended in time, 5 failed."""
    handle = await named_execution(client, execution_id)
    try:
        await handle.wait(parse_seconds(timeout, option="--timeout"))
    except WaitTimedOut as late:
        note(f"{late}\nWait on with: perdure execution wait {handle.id}")
        raise Exit(STOPPED) from None
    except asyncio.CancelledError:
        say_how_to_resume(handle.id)
        raise Exit(INTERRUPTED) from None
    _print(handle.record, output)
    _exit_as_ended(handle)


def _print(record: Execution, output: str) -> None:
    print_one(record, output, name=lambda execution: execution.id, card=execution_card)


def _exit_as_ended(handle: AsyncExecutionHandle) -> None:
    if code := exit_of(handle.status):
        raise Exit(code)
