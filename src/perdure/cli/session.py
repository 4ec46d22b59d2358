"""Commands that talk to a server: their options, and how they run."""

from __future__ import annotations

import functools
import os
from collections.abc import Awaitable, Callable
from typing import Any

import click
import msgspec

from perdure.cli.event_loop import run_loop
from perdure.client.client import AsyncClient
from perdure.client.local import running_server_url
from perdure.client.profiles import Target, resolve_target
from perdure.client.retries import RetryPolicy

# Someone waits at the terminal: a server that is not there is told at once.
_RETRIES = RetryPolicy(connect_attempts=1)


class Session(msgspec.Struct, frozen=True):
    """The server that a command talks to."""

    target: Target

    def client(self) -> AsyncClient:
        """Close it, or use it as a context manager. Raises UsageError for a target that no request can be sent to."""
        target = self.target
        try:
            return AsyncClient(
                target.url, token=target.token, workspace=target.workspace, retries=_RETRIES, trigger="cli"
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from None


def server_command(function: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Make an async function a command's body: it gets a `client`, and the command the options to choose its server."""

    @server_options
    @functools.wraps(function)
    def command(
        *, url: str | None, token: str | None, workspace: str | None, profile: str | None, **options: Any
    ) -> None:
        session = open_session(url=url, token=token, workspace=workspace, profile=profile)

        async def run() -> None:
            async with session.client() as client:
                await function(client=client, **options)

        run_loop(run())

    return command


def server_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose a server: `url`, `token`, `workspace`, `profile`."""
    for option in (
        click.option("--profile", metavar="NAME", help="A server from your configuration file.  [PERDURE_PROFILE]"),
        click.option("--workspace", metavar="NAME", help="The workspace to work in.  [PERDURE_WORKSPACE]"),
        click.option(
            "--token", metavar="TOKEN", help="What to prove yourself with.  [PERDURE_TOKEN, PERDURE_TOKEN_FILE]"
        ),
        click.option("--url", metavar="URL", help="The server's address.  [PERDURE_URL]"),
    ):
        function = option(function)
    return function


def open_session(
    *, url: str | None = None, token: str | None = None, workspace: str | None = None, profile: str | None = None
) -> Session:
    """Raises ProfileError."""
    target = resolve_target(
        os.environ,
        url=url,
        token=token,
        workspace=workspace,
        profile=profile,
        local_url=running_server_url(os.environ),
    )
    return Session(target)
