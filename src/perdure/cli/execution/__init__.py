"""`perdure execution`: runs of flows."""

from __future__ import annotations

import click

from perdure.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy={
        "start": ("perdure.cli.execution.starting:start", "Start an execution of a flow."),
        "list": ("perdure.cli.execution.reading:list_", "List executions, newest first."),
        "stats": ("perdure.cli.execution.counting:stats", "Count executions by status, flow, hour, …"),
        "show": ("perdure.cli.execution.reading:show", "Show one execution with its nodes and values."),
        "watch": ("perdure.cli.execution.following:watch", "Follow an execution until it ends."),
        "logs": ("perdure.cli.execution.following:logs", "Print what its nodes printed and logged."),
        "events": ("perdure.cli.execution.following:events", "Print its events, or follow them."),
        "wait": ("perdure.cli.execution.starting:wait", "Wait for its end; exit as it ended."),
        "cancel": ("perdure.cli.execution.changing:cancel", "Cancel executions."),
        "tag": ("perdure.cli.execution.changing:tag", "Set and remove tags."),
        "delete": ("perdure.cli.execution.changing:delete", "Delete executions that have ended."),
        "waits": ("perdure.cli.execution.answering:waits", "List what it waits for."),
        "respond": ("perdure.cli.execution.answering:respond", "Answer what it asks."),
        "approve": ("perdure.cli.execution.answering:approve", "Approve what it waits for."),
        "reject": ("perdure.cli.execution.answering:reject", "Reject it, or refuse to answer."),
        "signal": ("perdure.cli.execution.answering:signal", "Send it a signal."),
        "pause": ("perdure.cli.execution.answering:pause", "Begin nothing new in it."),
        "resume": ("perdure.cli.execution.answering:resume", "Go on with a paused one."),
        "retry": ("perdure.cli.execution.replaying:retry", "Run what failed again, in a new execution."),
        "replay": ("perdure.cli.execution.replaying:replay", "Run it again, or parts of it, repaired if wanted."),
        "diff": ("perdure.cli.execution.comparing:diff", "Say how it differs from another one."),
        "export": ("perdure.cli.execution.exporting:export", "Write executions to a file, or one as a fixture."),
        "replays": ("perdure.cli.execution.replaying:replays", "List the replays of an execution."),
        "nodes": ("perdure.cli.execution.reading:nodes", "List its node runs."),
        "why": ("perdure.cli.execution.reading:why", "Say what it is waiting for, or who holds it up."),
        "artifacts": ("perdure.cli.execution.reading:artifacts", "List, or fetch, the files it published."),
    },
)
def execution() -> None:
    """Runs of flows: start, watch, look into, cancel.

    An execution is named by its id or its number; `-` names the newest one. Cancel, retry, replay, tag and delete take many of
    them, or the options of `list` to choose them by.
    """
