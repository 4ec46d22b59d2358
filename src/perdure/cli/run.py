"""`perdure run FILE`."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop

from perdure.api.graphs import graph_nodes
from perdure.base.clock import to_rfc3339
from perdure.base.ids import id_text
from perdure.cli.asking import asking
from perdure.cli.exits import ERROR, INTERRUPTED, OK, STOPPED, Exit
from perdure.cli.failures import exit_of
from perdure.cli.findings import print_findings
from perdure.cli.flow_files import FlowFile, read_flow_file
from perdure.cli.foreground import Foreground, begin, take_up
from perdure.cli.inputs import parse_inputs, parse_tags
from perdure.cli.live import LineView, open_view
from perdure.cli.output import age, note, print_json
from perdure.cli.progress import Progress
from perdure.cli.rehearsing import rehearse
from perdure.cli.serving import ENGINE, as_options, chosen_settings, settings_options
from perdure.ending import ending_surely
from perdure.engine.engine import Engine
from perdure.errors import InvalidFlow, MalformedDocument, Problem
from perdure.local import local_engine
from perdure.log import configure_logging
from perdure.model.event import EventType
from perdure.model.states import ExecutionStatus
from perdure.nodes.attempt_threads import AttemptThreads
from perdure.settings import ServerSettings
from perdure.store.records import ExecutionRecord

LEFT_SHOWN = 5


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("-i", "--input", "inputs", multiple=True, metavar="KEY=VALUE|KEY=@FILE|FILE|-",
              help="A value (JSON where it parses, else text), a value from a file, or the whole input as JSON.")  # fmt: skip
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag to find it by.")
@click.option("--resume", metavar="EXECUTION",
              help="Go on with this unfinished execution of FILE's flow, with the definition it was started with.")  # fmt: skip
@click.option("--cancel", metavar="EXECUTION", help="Cancel this unfinished execution of FILE's flow, and clean up.")
@click.option("--fixture", type=click.Path(path_type=Path, dir_okay=False), metavar="FIXTURE",
              help="Run FILE, or else the fixture's own definition, from what FIXTURE recorded: nodes with side effects do not run.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Print the output alone, and no events.")
@settings_options(ENGINE)
def run(
    file: Path | None,
    inputs: tuple[str, ...],
    tags: tuple[str, ...],
    resume: str | None,
    cancel: str | None,
    fixture: Path | None,
    quiet: bool,
    flags: Mapping[str, Any],
) -> None:
    """Run the flow in FILE here and now, on the local store, and print its output as JSON.

    It is as durable as on a server: after Ctrl-C, a crash or kill -9 the same command goes on where it was (with the
    newest unfinished execution of the same definition and input), and touches no other execution. Those that an edit
    of FILE left unfinished are told, with the commands that go on with them or cancel them. Python nodes find their
    modules beside FILE.

    At a terminal it asks you for the approvals and answers that the flow waits for.

    With --fixture nothing happens outside: it tells how what comes out differs from what was recorded, and ends with 1
    if it does.
    """
    if fixture is not None:
        if inputs or tags or resume is not None or cancel is not None:
            raise click.UsageError("--fixture brings its input and its results; give at most FILE with it")
        rehearse(fixture, file)
        return
    if file is None:
        raise click.UsageError("Missing argument 'FILE'.")
    named = resume if resume is not None else cancel
    if named is not None and ((resume is not None and cancel is not None) or inputs or tags):
        raise click.UsageError("--resume and --cancel name an execution that has its input and tags; give one of them")
    settings = chosen_settings(flags)
    if "log_level" not in flags and "PERDURE_LOG_LEVEL" not in os.environ:
        settings = msgspec.structs.replace(settings, log_level="warning")
    configure_logging(settings)
    flow_file = read_flow_file(file)
    given, tagged = parse_inputs(inputs), parse_tags(tags)

    async def begun(engine: Engine) -> Foreground:
        if named is None:
            return await begin(
                engine, document=flow_file.data, media_type=flow_file.media_type, input=given, tags=tagged
            )
        found = await take_up(engine, named, flow=flow_file.flow_id())
        if cancel is not None:
            await found.cancel()
        return found

    again = ["perdure", "run", str(file), *as_options(flags)]
    with ending_surely() as ending, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_run(flow_file, settings, begun, again, quiet=quiet))
        if cancel is not None and code == STOPPED:
            code = OK
        ending(code)
    if code:
        raise Exit(code)


async def _run(
    file: FlowFile,
    settings: ServerSettings,
    begun: Callable[[Engine], Awaitable[Foreground]],
    again: Sequence[str],
    *,
    quiet: bool,
) -> int:
    main = asyncio.current_task()
    assert main is not None
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, main.cancel)
    loop.set_default_executor(AttemptThreads())
    try:
        async with local_engine(settings, module_folders=[Path(file.path).parent.absolute()]) as engine:
            try:
                foreground = await begun(engine)
                _tell_left(await foreground.left_behind(), foreground, again)
                await _show(foreground, quiet=quiet)
            except (InvalidFlow, MalformedDocument) as error:
                problems = error.problems or (Problem(error.code, error.message),)
                print_findings(file.path, problems, file.text, err=True)
                return ERROR
            except asyncio.CancelledError:
                note("\nStopping: what runs may end, the rest is kept. Ctrl-C again stops at once.")
                raise
            outcome = await foreground.outcome()
    except asyncio.CancelledError:
        note(f"Stopped. Go on with: {shlex.join(['perdure', *sys.argv[1:]])}")
        return INTERRUPTED
    if outcome.status is ExecutionStatus.COMPLETED:
        print_json(outcome.output)
    elif outcome.error is not None:
        place = f" in {outcome.error['node']}" if outcome.error.get("node") else ""
        note(f"{outcome.status}{place}: {outcome.error['code']}: {outcome.error['message']}")
        if outcome.error.get("stack"):
            note(outcome.error["stack"].rstrip())
    else:
        note(str(outcome.status))
    return exit_of(outcome.status)


def _tell_left(left: Sequence[ExecutionRecord], foreground: Foreground, again: Sequence[str]) -> None:
    """Name what an edit left unfinished: nothing here goes on with it by itself."""
    if not left:
        return
    note(f"unfinished executions of other versions of {foreground.flow.id} (this is version {foreground.version}):")
    for record in left[:LEFT_SHOWN]:
        since = age(to_rfc3339(record.started_at or record.created_at))
        note(f"  {id_text(record.id)}  version {record.flow_version}, {record.status}, begun {since} ago")
    if len(left) > LEFT_SHOWN:
        note(f"  … and {len(left) - LEFT_SHOWN} more")
    id = id_text(left[0].id) if len(left) == 1 else "ID"
    note(f"  go on with it: {shlex.join([*again, '--resume', id])}")
    note(f"  or end it:     {shlex.join([*again, '--cancel', id])}")


async def _show(foreground: Foreground, *, quiet: bool) -> None:
    """Follow it to its end on stderr; what happened before it was taken up is not told again."""
    seen = await foreground.last_seq() if foreground.resumed else 0
    progress = Progress(graph_nodes(foreground.flow))
    title = f"{foreground.flow.id} version {foreground.version}  {foreground.id}"
    opened = (
        LineView(progress, stream=sys.stderr, quiet=True)
        if quiet
        else open_view(progress, title=title, stream=sys.stderr)
    )
    with opened as view:
        if isinstance(view, LineView) and not quiet:
            note(f"{'going on with' if foreground.resumed else 'running'} {title}")
        async with asking(foreground, view) as may_ask:
            async for event in foreground.events():
                if event.seq <= seen:
                    progress.add(event)
                else:
                    view.show(event)
                if event.type == EventType.NODE_SUSPENDED:
                    may_ask()
