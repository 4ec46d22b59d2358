"""Names that the shell completes, asked of the server; whatever goes wrong, nothing is offered."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import click
from click.shell_completion import CompletionItem

from perdure.cli.event_loop import run_loop
from perdure.cli.session import open_session
from perdure.client.errors import ClientError

OFFERED = 50
PATIENCE_S = 2.0


def complete_flow(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Flow ids that begin so, with what they are for."""
    return _asked(_flows(ctx, incomplete))


def complete_execution(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of the newest executions that begin so, with their flow and status."""
    return _asked(_executions(ctx, incomplete))


async def _flows(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    async with open_session(**_server_of(ctx)).client() as client:
        return [
            CompletionItem(flow.id, help=flow.description)
            async for flow in client.flows.list()
            if flow.id.startswith(incomplete) or flow.name.startswith(incomplete)
        ][:OFFERED]


async def _executions(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    async with open_session(**_server_of(ctx)).client() as client:
        return [
            CompletionItem(execution.id, help=f"{execution.flow} {execution.status}")
            async for execution in client.executions.list(limit=OFFERED)
            if execution.id.startswith(incomplete)
        ]


def _server_of(ctx: click.Context) -> dict[str, str | None]:
    return {name: ctx.params.get(name) for name in ("url", "token", "workspace", "profile")}


def _asked(question: Coroutine[Any, Any, list[CompletionItem]]) -> list[CompletionItem]:
    async def answer() -> list[CompletionItem]:
        async with asyncio.timeout(PATIENCE_S):
            return await question

    try:
        return run_loop(answer())
    except (ClientError, TimeoutError, OSError, ValueError, click.UsageError):
        return []
