"""`perdure token`: access."""

from __future__ import annotations

import click

from perdure.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy={
        "create": ("perdure.cli.token_commands:create", "Create a token; it is shown this once."),
        "list": ("perdure.cli.token_commands:list_", "List tokens, without their secrets."),
        "revoke": ("perdure.cli.token_commands:revoke", "Revoke a token."),
    },
)
def token() -> None:
    """Access: create, list, revoke tokens.

    Without a running server these work on the local store.
    """
