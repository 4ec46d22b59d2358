"""`perdure execution list | show | nodes | why | artifacts`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path

import click

from perdure.cli.drafts import opened_whole
from perdure.cli.execution.filtering import filter_options
from perdure.cli.execution.naming import execution_argument, named_execution
from perdure.cli.explaining import explanation_lines
from perdure.cli.lines import queue_name, run_name
from perdure.cli.output import (
    Column,
    age,
    duration,
    format_option,
    note,
    one_line,
    print_entry,
    print_list,
    print_one,
    print_row,
    print_table,
    size,
)
from perdure.cli.session import server_command
from perdure.client.client import AsyncClient
from perdure.client.filters import TextFilters
from perdure.model.states import TERMINAL, ExecutionKind, NodeStatus
from perdure.wire.artifacts import Artifact
from perdure.wire.executions import Execution, ExecutionSummary
from perdure.wire.nodes import ExecutionGraphNode, NodeRun

LIST_COLUMNS = (
    Column("ID", lambda execution: execution.id),
    Column("NO", lambda execution: str(execution.number)),
    Column("FLOW", lambda execution: f"{execution.flow}@{execution.flow_version}"),
    Column("STATUS", lambda execution: execution.status, is_status=True),
    Column("AGE", lambda execution: age(execution.created_at)),
    Column("TOOK", lambda execution: duration(execution.duration_ms)),
    Column("REASON", lambda execution: execution.reason or ""),
)
WATCHED_WIDTHS = (36, 6, 24, 11, 6, 6, 0)
"""Of the list's columns, where what comes is not known yet."""
WATCH_EVERY_S = 1.0
NODE_COLUMNS = (
    Column("NODE", lambda run: run_name(run.node, run.ordinal, label=run.label)),
    Column("TYPE", lambda run: run.type),
    Column("STATUS", lambda run: run.status, is_status=True),
    Column("ATTEMPT", lambda run: str(run.attempt)),
    Column("TOOK", lambda run: duration(run.duration_ms)),
    Column("RESULT", lambda run: _result(run)),  # noqa: PLW0108
)
GRAPH_COLUMNS = (
    Column("NODE", lambda node: node.id),
    Column("TYPE", lambda node: node.type),
    Column("STATUS", lambda node: node.status or "waiting", is_status=True),
    Column("RUNS", lambda node: _runs(node)),  # noqa: PLW0108
    Column("ATTEMPTS", lambda node: str(node.attempts)),
)
ENDED_GRAPH_COLUMNS = tuple(
    Column("STATUS", lambda node: node.status or "not begun", is_status=True) if column.is_status else column
    for column in GRAPH_COLUMNS
)
"""Of an execution that has ended: nothing waits any more."""
ARTIFACT_COLUMNS = (
    Column("ID", lambda artifact: artifact.id),
    Column("NAME", lambda artifact: artifact.name),
    Column("NODE", lambda artifact: run_name(artifact.node, artifact.ordinal)),
    Column("TYPE", lambda artifact: artifact.media_type),
    Column("SIZE", lambda artifact: size(artifact.size_bytes)),
)


@click.command("list")
@filter_options
@click.option("--limit", type=click.IntRange(1), metavar="N", default=20, show_default=True, help="At most so many.")
@click.option("--watch", "watches", is_flag=True, help="Go on, and print each one again when its status changes.")
@click.option("--all", "everything", is_flag=True, help="All of them, page after page.")
@format_option
@server_command
async def list_(
    *, client: AsyncClient, filters: TextFilters, limit: int, everything: bool, watches: bool, output: str
) -> None:
    """List executions, newest first."""
    listed = partial(client.executions.list, limit=None if everything else limit, **filters)
    if watches:
        await _watch(listed, output)
    else:
        await print_list(listed(), LIST_COLUMNS, output, name=_id, empty="no executions")


@click.command()
@execution_argument
@format_option
@server_command
async def show(*, client: AsyncClient, execution_id: str, output: str) -> None:
    """Show EXECUTION: how it stands, its input and output, its nodes, its error."""
    handle = await named_execution(client, execution_id)
    print_one(handle.record, output, name=_id, card=execution_card)
    if output == "table":
        click.echo()
        graph = await handle.graph()
        print_table(graph.nodes, ENDED_GRAPH_COLUMNS if graph.status in TERMINAL else GRAPH_COLUMNS)


@click.command()
@execution_argument
@click.option("--node", metavar="NODE", help="The runs of one node only.")
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice([*map(str, NodeStatus)]), help="May be given often."
)
@click.option("--limit", type=click.IntRange(1), metavar="N", default=1000, show_default=True, help="At most so many.")
@format_option
@server_command
async def nodes(
    *,
    client: AsyncClient,
    execution_id: str,
    node: str | None,
    statuses: tuple[str, ...],
    limit: int,
    output: str,
) -> None:
    """List the node runs of EXECUTION: one for each node, one for each item of a foreach."""
    handle = await named_execution(client, execution_id)
    source = (run async for run in handle.nodes(node=node) if not statuses or run.status in statuses)
    await print_list(_first(source, limit), NODE_COLUMNS, output, name=_run_name, empty="no node has run yet")


@click.command()
@execution_argument
@format_option
@server_command
async def why(*, client: AsyncClient, execution_id: str, output: str) -> None:
    """Say exactly what EXECUTION is waiting for, or who holds it up."""
    handle = await named_execution(client, execution_id)
    explanation = await handle.why()
    if output != "table":
        print_one(explanation, output, name=lambda found: found.execution, card=lambda _: {})
        return
    for line in explanation_lines(explanation):
        click.echo(line)


@click.command()
@execution_argument
@click.option(
    "--fetch", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write them into this folder."
)
@click.option("--cat", "wanted", metavar="NAME", help="Write the one of this name to stdout.")
@format_option
@server_command
async def artifacts(
    *, client: AsyncClient, execution_id: str, folder: Path | None, wanted: str | None, output: str
) -> None:
    """List the files that EXECUTION published; --fetch or --cat gets them."""
    handle = await named_execution(client, execution_id)
    if wanted is not None:
        await _write_named(client, [found async for found in handle.artifacts()], wanted)
    elif folder is not None:
        async for artifact in handle.artifacts():
            click.echo(str(await _fetch(client, artifact, folder)))
    else:
        await print_list(handle.artifacts(), ARTIFACT_COLUMNS, output, name=_id, empty="no artifacts")


def execution_card(execution: Execution) -> Mapping[str, str]:
    """What a person wants to know of one execution, line by line."""
    lines = {
        "id": execution.id,
        "number": str(execution.number),
        "flow": f"{execution.flow} version {execution.flow_version}",
        "status": execution.status + (f" ({execution.reason})" if execution.reason else ""),
        "created": f"{execution.created_at} ({age(execution.created_at)} ago)",
    }
    if execution.started_at is not None:
        lines["took" if execution.finished_at else "running for"] = duration(execution.duration_ms)
    if execution.recoveries:
        lines["recoveries"] = str(execution.recoveries)
    if execution.requires or execution.queue != "default":
        lines["queue"] = queue_name(execution.queue, execution.requires)
    if execution.tags:
        lines["tags"] = " ".join(f"{key}={value}" for key, value in execution.tags.items())
    if execution.parent is not None:
        lines["unit of" if execution.kind == ExecutionKind.UNIT else "parent"] = execution.parent
    if execution.replay_of is not None:
        lines["replay of"] = execution.replay_of + _asked(execution)
    lines["input"] = one_line(execution.input)
    if execution.output is not None:
        lines["output"] = one_line(execution.output, limit=2_000)
    if execution.error is not None:
        error = execution.error
        lines["error"] = f"{error.code}{f' in {error.node}' if error.node else ''}: {error.message}"
        if error.stack:
            lines["stack"] = error.stack.rstrip()
    return lines


def _asked(execution: Execution) -> str:
    """How its replay was asked for."""
    asked = execution.replay
    if asked is None:
        return ""
    begin = asked.begin if isinstance(asked.begin, str) else ", ".join(asked.begin or ())
    parts = [f"from {begin}"] if begin else []
    parts += ["with another input"] if asked.input_edited else []
    parts += [f"with another output of {', '.join(asked.edited)}"] if asked.edited else []
    whole = "from the start" if asked.begin is None else "of all that it had"
    return f" ({', '.join(parts) or whole})"


async def _watch(listed: Callable[[], AsyncIterator[ExecutionSummary]], output: str) -> None:
    """Each execution when it is first seen and whenever its status has changed, until Ctrl-C."""
    if output in {"json", "yaml"}:
        raise click.UsageError("--watch never ends, so it prints table, jsonl or name")
    statuses: dict[str, str] = {}
    if output == "table":
        print_row([column.title for column in LIST_COLUMNS], WATCHED_WIDTHS)
    while True:
        changed = [entry async for entry in listed() if statuses.get(entry.id) != entry.status]
        for entry in reversed(changed):
            statuses[entry.id] = entry.status
            if output == "table":
                print_row([column.value(entry) for column in LIST_COLUMNS], WATCHED_WIDTHS)
            else:
                print_entry(entry, output, name=_id)
        sys.stdout.flush()
        await asyncio.sleep(WATCH_EVERY_S)


async def _write_named(client: AsyncClient, found: list[Artifact], name: str) -> None:
    for artifact in found:
        if artifact.name == name:
            stdout = sys.stdout.buffer
            async for chunk in client.artifacts.chunks(artifact.id):
                stdout.write(chunk)
            stdout.flush()
            return
    names = ", ".join(artifact.name for artifact in found) or "none"
    raise click.UsageError(f"there is no artifact {name!r} (there: {names})")


async def _fetch(client: AsyncClient, artifact: Artifact, folder: Path) -> Path:
    """Write one artifact below the folder."""
    target = _place(artifact, folder)
    with opened_whole(target, option="--fetch") as file:
        async for chunk in client.artifacts.chunks(artifact.id):
            file.write(chunk)
    note(f"{artifact.name}: {size(artifact.size_bytes)}")
    return target


def _place(artifact: Artifact, folder: Path) -> Path:
    """A file below the folder; the names that a node chose can lead nowhere else."""
    parts = [part for part in Path(artifact.name).parts if part not in {"..", "/", "."}]
    target = folder.joinpath(*parts) if parts else folder / artifact.id
    if not target.resolve().is_relative_to(folder.resolve()):
        target = folder / artifact.id
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


async def _first(source: AsyncIterator[NodeRun], limit: int) -> AsyncIterator[NodeRun]:
    count = 0
    async for run in source:
        yield run
        count += 1
        if count == limit:
            return


def _id(entry: ExecutionSummary | Artifact) -> str:
    return entry.id


def _result(run: NodeRun) -> str:
    """What became of it; of one whose attempts a unit makes, where that is."""
    if run.error:
        return run.error.message
    if run.unit is not None:
        if run.unit.worker is not None:
            return f"running on worker {run.unit.worker_name or run.unit.worker}"
        place = f"in queue {queue_name(run.unit.queue, run.unit.requires)}"
        return place if run.unit.status not in TERMINAL else f"its unit is {run.unit.status}"
    return "" if run.output is None else one_line(run.output)


def _run_name(run: NodeRun) -> str:
    return run_name(run.node, run.ordinal, label=run.label)


def _runs(node: ExecutionGraphNode) -> str:
    if node.runs <= 1:
        return str(node.runs)
    return f"{node.runs} ({', '.join(f'{count} {status}' for status, count in node.by_status.items())})"
