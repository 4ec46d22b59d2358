"""The options by which executions are chosen: the same wherever many are meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

import click

from perdure.base.clock import SystemClock
from perdure.cli.completing import complete_flow
from perdure.cli.inputs import parse_moment, parse_tag_filters
from perdure.model.states import ExecutionKind, ExecutionStatus

F = TypeVar("F", bound=Callable[..., Any])

_MOMENTS = {
    "after": "created_after", "before": "created_before", "started_after": "started_after",
    "started_before": "started_before", "finished_after": "finished_after", "finished_before": "finished_before",
}  # fmt: skip
_PLAIN = (
    "flow", "namespace", "trigger", "kind", "parent", "root", "replay_of", "worker", "min_duration", "max_duration",
)  # fmt: skip
_TEXTS = ("q", "input_contains", "output_contains")
_OPTIONS = (
    click.option("--flow", metavar="FLOW", shell_complete=complete_flow, help="Runs of one flow."),
    click.option("--namespace", metavar="NAME", help="Runs of one namespace's flows."),
    click.option(
        "--status", "statuses", multiple=True, type=click.Choice([*map(str, ExecutionStatus)]), metavar="STATUS",
        help=f"{', '.join(ExecutionStatus)}. May be given often.",
    ),
    click.option("--tag", "tags", multiple=True, metavar="KEY[=VALUE]", help="Has this tag, or one of this key; of several, all of them."),
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
    click.option("--before", metavar="TIME", help="Created before a time, or longer ago than that (10m)."),
    click.option("--started-after", metavar="TIME", help="Started after a time, or within the last (10m)."),
    click.option("--started-before", metavar="TIME", help="Started before a time, or longer ago than that (10m)."),
    click.option("--finished-after", metavar="TIME", help="Ended after a time, or within the last (10m)."),
    click.option("--finished-before", metavar="TIME", help="Ended before a time, or longer ago than that (10m)."),
    click.option("--min-duration", metavar="DURATION", help="Took, or has taken so far, at least that long (30s, 1h30m)."),
    click.option("--max-duration", metavar="DURATION", help="Took, or has taken so far, at most that long."),
)  # fmt: skip
_TEXT_OPTIONS = (
    click.option("-q", "--text", "q", metavar="TEXT", help="Has that text in its input, output or error; three characters or more."),
    click.option("--input-contains", metavar="TEXT", help="Has that text in its input."),
    click.option("--output-contains", metavar="TEXT", help="Has that text in its output."),
)  # fmt: skip


def filter_options(function: F) -> F:
    """A command's options for choosing executions; they arrive as one argument, `filters`, as the client takes them."""
    return _decorated(function, (*_OPTIONS, *_TEXT_OPTIONS), (*_PLAIN, *_TEXTS))


def count_options(function: F) -> F:
    """The same but for texts, which cannot be counted by."""
    return _decorated(function, _OPTIONS, _PLAIN)


def _decorated(function: F, options: Sequence[Callable[[Any], Any]], plain: Sequence[str]) -> F:
    @wraps(function)
    def command(**given: Any) -> Any:
        clock = SystemClock()
        moments = {
            name: parse_moment(text, clock, ago=True, option=f"--{option.replace('_', '-')}")
            for option, name in _MOMENTS.items()
            if (text := given.pop(option)) is not None
        }
        kept = {name: given.pop(name) for name in plain}
        chosen: Any = {"status": given.pop("statuses"), "tags": parse_tag_filters(given.pop("tags")), **kept, **moments}
        return function(filters={name: value for name, value in chosen.items() if value not in (None, (), {})}, **given)

    decorated: Any = command
    for option in reversed(options):
        decorated = option(decorated)
    found: F = decorated
    return found
