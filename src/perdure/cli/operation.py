"""`perdure operation`: one action on many executions."""

from __future__ import annotations

import click

from perdure.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy={
        "list": ("perdure.cli.operation_commands:list_", "List operations, newest first."),
        "show": ("perdure.cli.operation_commands:show", "Show how far one is, or follow it to its end."),
        "items": ("perdure.cli.operation_commands:items", "List what became of each execution."),
        "cancel": ("perdure.cli.operation_commands:cancel", "Do no more of one."),
    },
)
def operation() -> None:
    """What was asked for many executions at once: how far it is, and what became of each.

    They begin with `perdure execution cancel | retry | replay | tag | delete`, with many executions or a filter.
    """
