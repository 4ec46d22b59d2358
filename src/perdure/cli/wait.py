"""`perdure wait`: the inbox."""

from __future__ import annotations

import click

from perdure.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy={"list": ("perdure.cli.wait_list:list_", "List what waits for somebody to answer.")},
)
def wait() -> None:
    """The inbox: what waits for somebody to answer, in all executions.

    Answer with `perdure execution approve | reject | respond | signal`.
    """
