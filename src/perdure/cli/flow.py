"""`perdure flow`: definitions."""

from __future__ import annotations

import click

from perdure.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy={
        "list": ("perdure.cli.flow_reading:list_", "List flows."),
        "show": ("perdure.cli.flow_reading:show", "Show a flow's definition."),
        "validate": ("perdure.cli.flow_files:validate", "Check flow files, without a server."),
        "apply": ("perdure.cli.flow_changing:apply", "Put flow files on the server as new versions."),
        "delete": ("perdure.cli.flow_changing:delete", "Delete flows."),
        "graph": ("perdure.cli.flow_reading:graph", "Draw a flow's graph."),
    },
)
def flow() -> None:
    """Definitions: list, show, validate, apply, delete, graph."""
