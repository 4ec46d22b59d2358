"""`perdure store`: where executions are kept."""

from __future__ import annotations

import click

from perdure.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy={
        "migrate": ("perdure.cli.store_migrate:migrate", "Bring a store's tables up to date."),
        "copy": ("perdure.cli.store_copy:copy", "Copy a whole store to another place, and compare both."),
        "backup": ("perdure.cli.store_backup:backup", "Back up a store, also while servers use it."),
        "restore": ("perdure.cli.store_restore:restore", "Make a store from a backup."),
        "compact": ("perdure.cli.store_compact:compact", "Give back the space that deleted executions have left."),
        "check": ("perdure.cli.store_check:check", "Look for damage and contradictions in a store."),
    },
)
def store() -> None:
    """Where executions are kept: bring it up to date, back it up, look it through, or take it to another place."""
