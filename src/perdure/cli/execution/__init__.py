"""`perdure execution`: runs of flows."""

from __future__ import annotations

import click

from perdure.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy={
        "start": ("perdure.cli.execution.starting:start", "Start an execution of a flow."),
        "list": ("perdure.cli.execution.reading:list_", "List executions, newest first."),
        "show": ("perdure.cli.execution.reading:show", "Show one execution with its nodes and values."),
        "watch": ("perdure.cli.execution.following:watch", "Follow an execution until it ends."),
        "logs": ("perdure.cli.execution.following:logs", "Print what its nodes printed and logged."),
        "events": ("perdure.cli.execution.following:events", "Print its events, or follow them."),
        "wait": ("perdure.cli.execution.starting:wait", "Wait for its end; exit as it ended."),
        "cancel": ("perdure.cli.execution.starting:cancel", "Cancel executions."),
        "nodes": ("perdure.cli.execution.reading:nodes", "List its node runs."),
        "why": ("perdure.cli.execution.reading:why", "Say what it is waiting for, or who holds it up."),
        "artifacts": ("perdure.cli.execution.reading:artifacts", "List, or fetch, the files it published."),
    },
)
def execution() -> None:
    """Runs of flows: start, watch, look into, cancel.

    An execution is named by its id or its number; `-` names the newest one.
    """
