"""`perdure execution stats`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import click

from perdure.cli.execution.filtering import count_options
from perdure.cli.output import Column, duration, format_option, note, print_one, print_table
from perdure.cli.session import server_command
from perdure.client.client import AsyncClient
from perdure.client.filters import Filters

GROUPS = ("status", "flow", "namespace", "trigger", "hour", "day")
_PERCENTILES = ("p50", "p95", "p99")


@click.command()
@count_options
@click.option(
    "--by",
    "groups",
    multiple=True,
    type=click.Choice(GROUPS),
    metavar="GROUP",
    default=("status",),
    show_default=True,
    help=f"{', '.join(GROUPS)}. May be given up to three times.",
)
@click.option("--durations", is_flag=True, help="With p50, p95 and p99 of how long those took that ended.")
@click.option("--quick", is_flag=True, help="Look at the newest 50,000 only where no counter knows the answer.")
@format_option
@server_command
async def stats(
    *, client: AsyncClient, filters: Filters, groups: tuple[str, ...], durations: bool, quick: bool, output: str
) -> None:
    """Count executions by status, flow, namespace, trigger, hour or day."""
    found = await client.executions.stats(group_by=groups, durations=durations, exact=not quick, **filters)
    if output != "table":
        print_one(found, output, name=lambda one: str(sum(row["count"] for row in one.data)), card=lambda _: {})
    elif found.data:
        print_table(found.data, _columns(groups, durations=durations, rates="throughput_per_s" in found.data[0]))
    else:
        note("no executions")
    if not found.exact:
        note("counted among the newest 50,000 only; without --quick all are")


def _columns(groups: tuple[str, ...], *, durations: bool, rates: bool) -> list[Column]:
    columns = [Column(group.upper(), partial(_text, group), is_status=group == "status") for group in groups]
    columns.append(Column("COUNT", partial(_text, "count")))
    if rates:
        columns.append(Column("PER SECOND", _rate))
    if durations:
        columns += [Column(share.upper(), partial(_took, share)) for share in _PERCENTILES]
    return columns


def _text(name: str, row: Mapping[str, Any]) -> str:
    return str(row[name])


def _rate(row: Mapping[str, Any]) -> str:
    return f"{row['throughput_per_s']:.3g}"


def _took(share: str, row: Mapping[str, Any]) -> str:
    took = row["duration_ms"]
    return "–" if took is None else duration(took[share])
