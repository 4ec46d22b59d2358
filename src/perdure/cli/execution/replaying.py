"""`perdure execution retry | replay | replays`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from msgspec import UNSET

from perdure.cli.completing import complete_execution
from perdure.cli.execution.many import Chosen, act_on_many, exit_as_done, many_options
from perdure.cli.execution.naming import execution_argument, named_execution
from perdure.cli.execution.reading import LIST_COLUMNS
from perdure.cli.execution.starting import show_started
from perdure.cli.inputs import parse_edits, parse_inputs
from perdure.cli.output import Column, format_option, note, print_list, print_one, print_table
from perdure.cli.session import server_command
from perdure.client.client import AsyncClient
from perdure.client.execution import AsyncExecutionHandle
from perdure.wire.executions import ExecutionSummary
from perdure.wire.replays import PlannedNode, ReplayPlan

_REASONS = {
    "recorded": "its result is taken over",
    "edited": "its output was edited",
    "from_start": "everything runs",
    "asked": "you asked for it",
    "failed": "it failed",
    "not_finished": "it had not finished",
    "undone": "what it did was undone",
    "new_node": "the version has it anew",
    "definition_changed": "its definition changed",
    "input_edited": "the edited input reaches it",
    "not_an_ancestor": "what is begun with does not need it",
}


def _why(one: PlannedNode) -> str:
    text = f"it needs {', '.join(one.because)}" if one.because else _REASONS.get(one.reason, one.reason)
    if one.type == "flow" and one.reason == "failed":
        text += "; what failed in its child runs again"
    if one.action == "run" and one.reused_runs:
        return f"{text}; {one.reused_runs} of its items keep their results"
    return text


PLAN_COLUMNS = (
    Column("NODE", lambda one: one.node),
    Column("TYPE", lambda one: one.type),
    Column("ACTION", lambda one: one.action),
    Column("WHY", _why),
)

_edits = click.option(
    "--edit", "edits", multiple=True, metavar="NODE=VALUE|NODE=@FILE|FILE|-",
    help="Go on with this as the node's output (JSON where it parses, else text). FILE is a JSON object of outputs by node.",
)  # fmt: skip
_inputs = click.option(
    "-i", "--input", "inputs", multiple=True, metavar="KEY=VALUE|KEY=@FILE|FILE|-",
    help="Another value in the input, or another input as a whole (JSON).",
)  # fmt: skip
_executions_argument = click.argument(
    "execution_ids", metavar="[EXECUTION]...", nargs=-1, shell_complete=complete_execution
)
_version = click.option(
    "--version", default="same", show_default=True, metavar="same|latest|NUMBER", help="Of the flow."
)
_wait = click.option(
    "--wait", "waits", is_flag=True, help="Follow it to its end on stderr, print it then, and exit as it ended."
)


@click.command()
@_executions_argument
@_version
@_edits
@_inputs
@_wait
@many_options
@format_option
@server_command
async def retry(
    *,
    client: AsyncClient,
    chosen: Chosen,
    version: str,
    edits: tuple[str, ...],
    inputs: tuple[str, ...],
    waits: bool,
    output: str,
) -> None:
    """Run what failed in an execution again, in a new one: what had completed keeps its results.

    \b
    perdure execution retry - --wait
    perdure execution retry 17 --version latest --dry-run
    perdure execution retry --flow reports/digest --status failed --after 1d
    """
    asked = _asked("failed", edits=edits, version=version, reuse="independent")
    if chosen.single is None:
        await _replay_many(client, "retry", chosen, asked, inputs=inputs, waits=waits, output=output)
        return
    handle = await named_execution(client, chosen.single)
    asked["input"] = _edited_input(handle, inputs) if inputs else UNSET
    await _replay(handle, asked, dry_run=chosen.dry_run, waits=waits, output=output)


@click.command()
@_executions_argument
@click.option("--from", "begin", multiple=True, metavar="NODE", help="Begin with this node; may be given often.")
@_version
@_edits
@_inputs
@click.option("--ancestors-only", is_flag=True,
              help="Reuse only what the nodes of --from need; all the rest runs.")  # fmt: skip
@_wait
@many_options
@format_option
@server_command
async def replay(
    *,
    client: AsyncClient,
    chosen: Chosen,
    begin: tuple[str, ...],
    version: str,
    edits: tuple[str, ...],
    inputs: tuple[str, ...],
    ancestors_only: bool,
    waits: bool,
    output: str,
) -> None:
    """Run an execution again as a new one: from its start, from nodes of your choice, or behind outputs that you edit.

    What does not depend on them is taken over and does not run again.

    \b
    perdure execution replay 17 --from publish
    perdure execution replay 17 --edit digest=@mended.json --version latest --wait
    """
    reuse = "ancestors" if ancestors_only else "independent"
    asked = _asked(list(begin) or None, edits=edits, version=version, reuse=reuse)
    if chosen.single is None:
        await _replay_many(client, "replay", chosen, asked, inputs=inputs, waits=waits, output=output)
        return
    handle = await named_execution(client, chosen.single)
    asked["input"] = _edited_input(handle, inputs) if inputs else UNSET
    await _replay(handle, asked, dry_run=chosen.dry_run, waits=waits, output=output)


@click.command()
@execution_argument
@click.option("--limit", type=click.IntRange(1), metavar="N", default=20, show_default=True, help="At most so many.")
@format_option
@server_command
async def replays(*, client: AsyncClient, execution_id: str, limit: int, output: str) -> None:
    """List the replays of EXECUTION, newest first."""
    handle = await named_execution(client, execution_id)
    await print_list(handle.replays(limit=limit), LIST_COLUMNS, output, name=_id, empty="no replays")


def _asked(begin: Sequence[str] | str | None, *, edits: tuple[str, ...], version: str, reuse: str) -> dict[str, Any]:
    if version not in {"same", "latest"} and not (version.isascii() and version.isdigit()):
        raise click.BadParameter(f"{version!r} is neither same nor latest nor a number", param_hint="--version")
    return {
        "begin": begin,
        "outputs": parse_edits(edits) or None,
        "version": version if version in {"same", "latest"} else int(version),
        "reuse": reuse,
    }


async def _replay_many(
    client: AsyncClient,
    action: str,
    chosen: Chosen,
    asked: dict[str, Any],
    *,
    inputs: tuple[str, ...],
    waits: bool,
    output: str,
) -> None:
    if waits:
        raise click.UsageError(
            "--wait follows one execution; of many, see what the replays become with `execution list`"
        )
    if any("=" in text for text in inputs):
        raise click.UsageError("of many executions the input is replaced as a whole: give a file to --input")
    arguments = {"version": asked["version"]}
    if inputs:
        arguments["input"] = parse_inputs(inputs)
    if asked["outputs"] is not None:
        arguments["outputs"] = asked["outputs"]
    if action == "replay":
        arguments["reuse"] = asked["reuse"]
        if asked["begin"] is not None:
            arguments["from"] = asked["begin"]
    exit_as_done(await act_on_many(client, action, chosen, arguments=arguments, output=output))


def _edited_input(handle: AsyncExecutionHandle, inputs: tuple[str, ...]) -> Any:
    """Values by name are put into the original's input; a file is another input."""
    given = parse_inputs(inputs)
    by_name = all("=" in text for text in inputs)
    recorded = handle.record.input
    return {**recorded, **given} if by_name and isinstance(recorded, dict) and isinstance(given, dict) else given


async def _replay(
    handle: AsyncExecutionHandle, asked: dict[str, Any], *, dry_run: bool, waits: bool, output: str
) -> None:
    if not dry_run:
        await show_started(await handle.replay(**asked), waits=waits, output=output)
        return
    plan = await handle.plan_replay(**asked)
    if output != "table":
        print_one(plan, output, name=lambda found: found.execution, card=lambda _: {})
        return
    print_table(plan.nodes, PLAN_COLUMNS)
    note(_summary(plan))


def _summary(plan: ReplayPlan) -> str:
    return (
        f"version {plan.flow_version} of {plan.flow}: {plan.reused} nodes reused, {plan.run} run; nothing was started"
    )


def _id(entry: ExecutionSummary) -> str:
    return entry.id
