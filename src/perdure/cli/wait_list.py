"""`perdure wait list`, and how waits look in a table."""

from __future__ import annotations

import click

from perdure.base.clock import SystemClock
from perdure.cli.completing import complete_flow
from perdure.cli.inputs import parse_moment
from perdure.cli.output import Column, age, format_option, print_list
from perdure.cli.session import server_command
from perdure.client.client import AsyncClient
from perdure.model.answer import OUTSIDE
from perdure.wire.waits import Wait

WAIT_COLUMNS = (
    Column("WAIT", lambda wait: wait.id),
    Column("KIND", lambda wait: wait.kind),
    Column("AGE", lambda wait: age(wait.created_at)),
    Column("EXPIRES", lambda wait: age(wait.due_at)),
    Column("WHO", lambda wait: who(wait)),  # noqa: PLW0108
    Column("WHAT", lambda wait: what(wait)),  # noqa: PLW0108
)
INBOX_COLUMNS = (
    Column("EXECUTION", lambda wait: wait.execution),
    Column("FLOW", lambda wait: wait.flow),
    *WAIT_COLUMNS,
)


@click.command("list")
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(OUTSIDE), help="May be given often; all but pauses without it."
)
@click.option("--flow", metavar="FLOW", shell_complete=complete_flow, help="Of one flow.")
@click.option("--approver", metavar="NAME", help="Only what this name may answer, as flows write it.")
@click.option("--mine", is_flag=True, help="Only what you may answer.")
@click.option("--due", metavar="TIME", help="Only what expires before a time (RFC 3339), or within the next (10m).")
@click.option("--limit", type=click.IntRange(1), metavar="N", default=100, show_default=True, help="At most so many.")
@format_option
@server_command
async def list_(
    *,
    client: AsyncClient,
    kinds: tuple[str, ...],
    flow: str | None,
    approver: str | None,
    mine: bool,
    due: str | None,
    limit: int,
    output: str,
) -> None:
    """List what waits for somebody to answer: the oldest first, or with --due the next one to expire."""
    if mine and approver is not None:
        raise click.UsageError("--mine and --approver exclude each other")
    waits = client.waits.list(
        kind=kinds,
        flow=flow,
        approver="me" if mine else approver,
        due_before=None if due is None else parse_moment(due, SystemClock(), option="--due"),
        limit=limit,
    )
    await print_list(waits, INBOX_COLUMNS, output, name=wait_address, empty="nothing waits for anybody")


def wait_address(wait: Wait) -> str:
    """Execution and wait, as `perdure execution respond EXECUTION --wait WAIT` takes them."""
    return f"{wait.execution} {wait.id}"


def who(wait: Wait) -> str:
    """Who may answer, or who paused it."""
    if wait.approvers is None:
        return wait.by or ""
    named = ", ".join(wait.approvers) or "anybody"
    return f"{named} ({wait.missing} more)" if (wait.quorum or 1) > 1 else named


def what(wait: Wait) -> str:
    """What is waited for, in a few words."""
    if wait.answered:
        return "answered; about to go on"
    text = wait.message or wait.reason or ""
    if wait.name is not None:
        return f"signal {wait.name}{': ' if text else ''}{text}"
    return " ".join(text.split()) or (wait.child or "")
