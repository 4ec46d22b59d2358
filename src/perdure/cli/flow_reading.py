"""`perdure flow list | show | graph`."""

from __future__ import annotations

from collections.abc import Mapping

import click

from perdure.cli.completing import complete_flow
from perdure.cli.findings import finding_lines
from perdure.cli.graphs import FORMATS, draw
from perdure.cli.output import Column, age, format_option, print_list, print_one, print_yaml
from perdure.cli.session import server_command
from perdure.client.client import AsyncClient
from perdure.wire.flows import Flow, FlowDetail, FlowVersionDetail

COLUMNS = (
    Column("FLOW", lambda flow: flow.id),
    Column("VERSION", lambda flow: str(flow.version)),
    Column("CHANGED", lambda flow: age(flow.updated_at)),
    Column("SOURCE", lambda flow: flow.source or "api"),
    Column("DESCRIPTION", lambda flow: (flow.description or "").strip().partition("\n")[0]),
)


@click.command("list")
@click.option("--namespace", metavar="NAME", help="Flows of one namespace.")
@format_option
@server_command
async def list_(*, client: AsyncClient, namespace: str | None, output: str) -> None:
    """List flows, and say what is broken in the folders that they come from."""
    flows = client.flows.list(namespace=namespace)
    empty = (
        "no flows yet; put one there with `perdure flow apply FILE`, or serve a folder with `perdure serve --flows DIR`"
    )
    await print_list(flows, COLUMNS, output, name=lambda flow: flow.id, empty=empty)
    if output == "table":
        await _tell_broken(client)


@click.command()
@click.argument("flow_id", metavar="FLOW", shell_complete=complete_flow)
@click.option("--version", type=click.IntRange(1), metavar="N", help="An older version.")
@format_option
@server_command
async def show(*, client: AsyncClient, flow_id: str, version: int | None, output: str) -> None:
    """Show the definition of FLOW."""
    if version is None:
        flow = await client.flows.get(flow_id)
        print_one(flow, output, name=lambda found: found.id, card=_card)
        definition = flow.definition
    else:
        old = await client.flows.version(flow_id, version)
        print_one(old, output, name=lambda found: found.flow, card=_version_card)
        definition = old.definition
    if output == "table":
        click.echo()
        print_yaml(definition)


@click.command()
@click.argument("flow_id", metavar="FLOW", shell_complete=complete_flow)
@click.option("--format", "form", type=click.Choice(FORMATS), default="ascii", show_default=True, help="How to draw.")
@server_command
async def graph(*, client: AsyncClient, flow_id: str, form: str) -> None:
    """Draw the graph of FLOW."""
    click.echo(draw(await client.flows.graph(flow_id), form))


async def _tell_broken(client: AsyncClient) -> None:
    for source in (await client.system.info()).sources:
        for file in source.broken:
            for line in finding_lines(file.path, file.errors):
                click.echo(line, err=True)


def _card(flow: FlowDetail) -> Mapping[str, str]:
    return {**_shared(flow), "version": str(flow.version), "hash": flow.content_hash}


def _shared(flow: Flow) -> dict[str, str]:
    return {"flow": flow.id, "description": flow.description or "–", "source": flow.source or "api"}


def _version_card(version: FlowVersionDetail) -> Mapping[str, str]:
    return {
        "flow": version.flow,
        "version": str(version.number),
        "created": version.created_at,
        "hash": version.content_hash,
    }
