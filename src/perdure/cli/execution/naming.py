"""Which execution a command means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from perdure.cli.completing import complete_execution
from perdure.client.client import AsyncClient
from perdure.client.execution import AsyncExecutionHandle

NEWEST = "-"


def execution_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """EXECUTION: an id, a number, or `-` for the newest one."""
    return click.argument("execution_id", metavar="EXECUTION", shell_complete=complete_execution)(function)


async def named_execution(client: AsyncClient, given: str) -> AsyncExecutionHandle:
    """The execution by its id or number, or the newest one of all. Raises ExecutionNotFound."""
    if given != NEWEST:
        return await client.executions.handle(given)
    async for newest in client.executions.list(limit=1):
        return await client.executions.handle(newest.id)
    raise click.UsageError("there is no execution yet; start one with `perdure execution start FLOW`")
