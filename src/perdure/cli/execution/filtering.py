"""The options by which executions are chosen: the same for `list` and `export`."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from perdure.base.clock import SystemClock
from perdure.cli.completing import complete_flow
from perdure.cli.inputs import parse_moment, parse_tags
from perdure.client.filters import TextFilters
from perdure.model.states import ExecutionKind, ExecutionStatus

F = TypeVar("F", bound=Callable[..., Any])

_MOMENTS = {
    "after": "created_after", "before": "created_before", "started_after": "started_after",
    "started_before": "started_before", "finished_after": "finished_after", "finished_before": "finished_before",
}  # fmt: skip
_PLAIN = (
    "flow", "namespace", "trigger", "kind", "parent", "root", "replay_of", "worker", "min_duration", "max_duration", "q",
    "input_contains", "output_contains",
)  # fmt: skip
_OPTIONS = (
    click.option("--flow", metavar="FLOW", shell_complete=complete_flow, help="Runs of one flow."),
    click.option("--namespace", metavar="NAME", help="Runs of one namespace's flows."),
    click.option(
        "--status", "statuses", multiple=True, type=click.Choice([*map(str, ExecutionStatus)]), help="May be given often."
    ),
    click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="All tags given must be there."),
    click.option("--trigger", metavar="KIND[:ID]", help="What started it: schedule, or schedule:nightly."),
    click.option("--parent", metavar="ID", help="Children of one execution."),
    click.option("--root", metavar="ID", help="One execution and all below it."),
    click.option("--replay-of", metavar="ID", help="Replays of one execution."),
    click.option("--worker", metavar="ID", help="What one worker runs now."),
    click.option(
        "--kind", type=click.Choice([*map(str, ExecutionKind), "any"]), default=str(ExecutionKind.FLOW), show_default=True,
        help="Units are node runs of an execution that are made elsewhere.",
    ),
    click.option("--after", metavar="TIME", help="Created after a time (RFC 3339), or within the last (10m)."),
    click.option("--before", metavar="TIME", help="Created before a time, or so long ago."),
    click.option("--started-after", metavar="TIME", help="Started after a time, or within the last."),
    click.option("--started-before", metavar="TIME", help="Started before a time, or so long ago."),
    click.option("--finished-after", metavar="TIME", help="Ended after a time, or within the last."),
    click.option("--finished-before", metavar="TIME", help="Ended before a time, or so long ago."),
    click.option("--min-duration", metavar="DURATION", help="Took, or takes, so long at least (30s, 1h30m)."),
    click.option("--max-duration", metavar="DURATION", help="So long at most."),
    click.option("-q", "--text", "q", metavar="TEXT", help="Holds it in input, output or error; three characters or more."),
    click.option("--input-contains", metavar="TEXT", help="Holds it in the input."),
    click.option("--output-contains", metavar="TEXT", help="Holds it in the output."),
)  # fmt: skip


def filter_options(function: F) -> F:
    """A command's options for choosing executions; they arrive as one argument, `filters`, as the client takes them."""

    @wraps(function)
    def command(**given: Any) -> Any:
        clock = SystemClock()
        moments = {
            name: parse_moment(text, clock, ago=True, option=f"--{option.replace('_', '-')}")
            for option, name in _MOMENTS.items()
            if (text := given.pop(option)) is not None
        }
        plain = {name: given.pop(name) for name in _PLAIN}
        chosen: Any = {"status": given.pop("statuses"), "tags": parse_tags(given.pop("tags")), **plain, **moments}
        filters: TextFilters = {name: value for name, value in chosen.items() if value not in (None, (), {})}  # type: ignore[assignment]
        return function(filters=filters, **given)

    decorated: Any = command
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    found: F = decorated
    return found
