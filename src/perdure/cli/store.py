"""`perdure store`: where executions are kept."""

from __future__ import annotations

import click

from perdure.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy={
        "migrate": ("perdure.cli.store_migrate:migrate", "Bring a store's tables up to date."),
        "copy": ("perdure.cli.store_copy:copy", "Copy a whole store to another place, and compare both."),
    },
)
def store() -> None:
    """Where executions are kept: bring it up to date, or take it to another place."""
