"""`perdure execution diff`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from perdure.base.codec import encode_text
from perdure.base.texts import cut
from perdure.cli.execution.naming import execution_argument, named_execution
from perdure.cli.output import Column, duration, format_option, print_one, print_table
from perdure.cli.session import server_command
from perdure.client.client import AsyncClient
from perdure.wire.diffs import Difference, Differences, ExecutionDiff, ExecutionSide, NodeDifference, NodeSide

_SHOWN = 60
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def _told(side: NodeSide | None) -> str:
    if side is None:
        return "not run"
    many = f" ×{side.runs}" if side.runs > 1 else ""
    return f"{side.status}{many}, {duration(side.duration_ms)}"


def _change(node: NodeDifference) -> str:
    parts: list[str] = [] if node.change == "same" else [node.change]
    if node.definition_changed:
        parts.append("other definition")
    if node.differing_runs > 1:
        parts.append(f"{node.differing_runs} runs differ")
    return ", ".join(parts) or "same"


NODE_COLUMNS = (
    Column("NODE", lambda node: node.node),
    Column("CHANGE", _change),
    Column("BEFORE", lambda node: _told(node.before)),
    Column("AFTER", lambda node: _told(node.after)),
)


@click.command()
@execution_argument
@click.option("--with", "other", metavar="EXECUTION|last_success", default="last_success", show_default=True,
              help="What it is compared with: another execution, or the last success of its flow before it.")  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Nodes without a difference too.")
@format_option
@server_command
async def diff(*, client: AsyncClient, execution_id: str, other: str, everything: bool, output: str) -> None:
    """Say how EXECUTION differs from another one: versions, input, output, and node by node."""
    handle = await named_execution(client, execution_id)
    found = await handle.diff(other)
    if output != "table":
        print_one(found, output, name=lambda one: one.before.execution.id, card=lambda _: {})
        return
    for title, side in (("before", found.before), ("after", found.after)):
        click.echo(f"{title + ':':<8} {_title(side)}")
    click.echo()
    nodes = [node for node in found.nodes if everything or node.change != "same"]
    if nodes:
        print_table(nodes, NODE_COLUMNS)
    for line in _lines(found):
        click.echo(line)


def _title(side: ExecutionSide) -> str:
    execution = side.execution
    error = "" if side.error is None else f", {side.error.code} in {side.error.node or 'the flow'}"
    return f"{execution.id}  version {execution.flow_version}, {execution.status}{error}, {duration(execution.duration_ms)}"


def _lines(found: ExecutionDiff) -> Iterator[str]:
    parts: list[tuple[str, Differences]] = [("input", found.input), ("output", found.output)]
    parts += [(f"nodes.{node.node}.output", node.output) for node in found.nodes]
    for name, differences in parts:
        if differences.data:
            yield ""
            yield name
            yield from (f"  {_line(one)}" for one in differences.data)
            if differences.more:
                yield "  … and more"


def _line(one: Difference) -> str:
    place = one.pointer or "/"
    if one.change == "added":
        return f"{_SIGNS[one.change]} {place}: {_value(one.after)}"
    if one.change == "removed":
        return f"{_SIGNS[one.change]} {place}: {_value(one.before)}"
    return f"{_SIGNS[one.change]} {place}: {_value(one.before)} → {_value(one.after)}"


def _value(value: object) -> str:
    return cut(encode_text(value), _SHOWN)
