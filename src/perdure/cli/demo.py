"""`perdure demo`."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import click
import uvloop

from perdure.auth.roles import Role
from perdure.auth.tokens import new_secret, secret_hash
from perdure.base.clock import HOUR, SystemClock
from perdure.base.ids import new_id
from perdure.cli.execution.following import follow
from perdure.cli.exits import INTERRUPTED, Exit
from perdure.cli.failures import exit_of
from perdure.cli.output import Column, note, print_table, short_duration
from perdure.client.client import AsyncClient
from perdure.client.execution import AsyncExecutionHandle
from perdure.client.profiles import DEFAULT_URL
from perdure.log import configure_logging
from perdure.model.states import ExecutionStatus
from perdure.server import Server
from perdure.settings import ServerSettings
from perdure.store.commands import CreateToken, RevokeToken
from perdure.wire.artifacts import Artifact

FLOW = "examples/licences"
COLUMNS = (
    Column("FAMILY", lambda row: row[0]),
    Column("DISTRIBUTIONS", lambda row: str(row[1])),
    Column("WHICH", lambda row: row[2]),
)


@click.command()
@click.option("--home", type=click.Path(file_okay=False, path_type=Path), help="Where to keep the store.  [.perdure]")
def demo(home: Path | None) -> None:
    """See a real flow run: start a server here, audit the licences of every Python distribution that is installed
    beside it, watch it live, look at the result, and stop again."""
    folder = examples_folder() / "licences"
    chosen = home or Path(os.environ.get("PERDURE_HOME") or ".perdure")
    settings = ServerSettings(home=chosen, port=0, flows=[folder], log_level="error")
    configure_logging(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_demo(settings, folder))
    if code:
        raise Exit(code)


def examples_folder() -> Path:
    """The examples: inside the package where it is installed from a wheel, else those of the checkout."""
    packaged = Path(__file__).parents[1] / "examples"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "examples"


async def _demo(settings: ServerSettings, folder: Path) -> int:
    async with Server(settings) as server, AsyncExitStack() as undo:
        click.echo(f"A server is up at {server.url}; its store is {settings.store_path()}.")
        click.echo(f"It runs the flow {FLOW}, defined in {_relative(folder)}.\n")
        client = await undo.enter_async_context(
            AsyncClient(server.url, token=await _token(server, undo), trigger="cli")
        )
        handle = await client.executions.start(FLOW)
        try:
            await follow(handle, stream=sys.stdout)
        except asyncio.CancelledError:
            note(f"\nStopped; the execution {handle.id} goes on with the next server on this store.")
            return INTERRUPTED
        if handle.status != ExecutionStatus.COMPLETED:
            error = handle.record.error
            note(f"The execution is {handle.status}: {error.message if error else handle.record.reason}")
            note(f"Look into it with: {_serve(settings, folder)}, then perdure execution show {handle.id}")
            return exit_of(handle.status)
        _print_result(handle, [artifact async for artifact in handle.artifacts()])
    _print_how_to_go_on(handle, settings, folder)
    return 0


async def _token(server: Server, undo: AsyncExitStack) -> str | None:
    """None on an open server; else a token that is good for this demo alone."""
    if await server.services.authority.is_open():
        return None
    now = SystemClock().now()
    secret, token_id = new_secret(), new_id()
    recorder = server.engine.recorder
    await recorder.execute(
        CreateToken(
            at=now, id=token_id, name="demo", sha256=secret_hash(secret), role=Role.OPERATOR, workspace=None,
            expires_at=now + HOUR,
        )
    )  # fmt: skip
    undo.push_async_callback(recorder.execute, RevokeToken(at=now, id=token_id))
    return secret


def _print_result(handle: AsyncExecutionHandle, artifacts: list[Artifact]) -> None:
    record = handle.record
    output: dict[str, Any] = record.output
    rows = [(family, count, _which(family, output)) for family, count in output["families"].items()]
    seconds = (record.duration_ms or 0) / 1000
    click.echo(f"\n{output['total']} distributions were audited in {short_duration(seconds)}:\n")
    print_table(rows, COLUMNS)
    click.echo("\nReports (artifacts): " + ", ".join(artifact.name for artifact in artifacts))


def _which(family: str, output: dict[str, Any]) -> str:
    names = output["unknown"] if family == "unknown" else output["copyleft"].get(family, [])
    return ", ".join(names)


def _print_how_to_go_on(handle: AsyncExecutionHandle, settings: ServerSettings, folder: Path) -> None:
    url = DEFAULT_URL
    number = handle.record.number
    lines = [
        ("a server that stays, on the same store", _serve(settings, folder)),
        ("this execution, with its nodes", f"perdure execution show {number}"),
        ("its events, as they happened", f"perdure execution events {number}"),
        ("the reports, into a folder", f"perdure execution artifacts {number} --fetch reports"),
        ("once more, live", f"perdure execution start {FLOW} --wait"),
        ("the same by HTTP", f"{url}/api/v1/executions/{number}"),
        ("the API's reference", f"{url}/docs"),
    ]
    width = max(len(title) for title, _ in lines)
    click.echo("\nThe server has stopped; nothing is left running. Go on with:\n")
    for title, command in lines:
        click.echo(f"  {title:<{width}}  {command}")


def _serve(settings: ServerSettings, folder: Path) -> str:
    home = "" if settings.home == Path(".perdure") else f" --home {settings.home}"
    return f"perdure serve{home} --flows {_relative(folder)}"


def _relative(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
