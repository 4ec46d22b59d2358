"""`perdure worker list`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import click

from perdure.cli.output import Column, age, format_option, print_list
from perdure.cli.session import server_command
from perdure.client.client import AsyncClient
from perdure.wire.system import Worker

COLUMNS = (
    Column("NAME", lambda worker: worker.name),
    Column("STATUS", lambda worker: worker.status),
    Column("HOST", lambda worker: f"{worker.host}:{worker.pid}"),
    Column("QUEUES", lambda worker: "all" if worker.queues is None else ",".join(worker.queues)),
    Column("TAGS", lambda worker: ",".join(worker.tags)),
    Column("OWNED", lambda worker: f"{worker.owned}/{worker.slots}"),
    Column("STARTED", lambda worker: age(worker.started_at)),
    Column("SEEN", lambda worker: age(worker.stopped_at or worker.heartbeat_at)),
    Column("VERSION", lambda worker: worker.version),
)


@click.command("list")
@click.option("--all", "everyone", is_flag=True, help="Those that have stopped, too.")
@format_option
@server_command
async def list_(*, client: AsyncClient, everyone: bool, output: str) -> None:
    """List the workers of the server's store: what they take, what they own, when they were heard of."""

    async def workers() -> AsyncIterator[Worker]:
        for worker in await client.system.workers():
            if everyone or worker.stopped_at is None:
                yield worker

    empty = "no worker is running; start one with `perdure worker`, or a server without --no-worker"
    await print_list(workers(), COLUMNS, output, name=lambda worker: worker.id, empty=empty)
