"""`perdure bench`: measure this machine; `perdure bench seed`: fill a store."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from perdure.base.clock import SystemClock
from perdure.bench import main
from perdure.cli.event_loop import run_loop
from perdure.cli.exits import INTERRUPTED, Exit
from perdure.cli.output import note
from perdure.cli.serving import HOME, chosen_settings, settings_options
from perdure.cli.transfer import open_transfer
from perdure.ending import ending_surely
from perdure.store.probes import seed_store
from perdure.store.seeding import Drawing


class BenchGroup(click.Group):
    """Whatever is no command of its own is an argument of `run`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=BenchGroup)
def bench() -> None:
    """Measure this machine against the budgets (`perdure bench [NAME]...`), or fill a store with history.

    `perdure bench chain --quick` is `perdure bench run chain --quick`.
    """


@bench.command(short_help="Measure this machine, with all benches or those named.")
@click.argument("names", metavar="[NAME]...", nargs=-1, type=click.Choice([*main.BENCHES]))
@click.option("--quick", is_flag=True, help="Less than a minute, with less to measure.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How to print the report.")
@click.option(
    "--store",
    metavar="URL",
    help="A PostgreSQL database without a store, to be measured instead of SQLite.  [PERDURE_BENCH_STORE]",
    envvar="PERDURE_BENCH_STORE",
)
@click.option(
    "--home",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="A folder on the disk to be measured.  [.]",
)
def run(names: tuple[str, ...], quick: bool, output: str, store: str | None, home: Path | None) -> None:
    """Measure this machine against the budgets, beside what it can do at best; all benches, or those named."""
    if code := main.run(names, store=store, as_json=output == "json", quick=quick, home=home):
        raise Exit(code)


@bench.command(short_help="Fill a store with a long history.")
@click.argument("executions", metavar="N", type=click.IntRange(1))
@click.option("--add", "adds", is_flag=True, help="Add to the executions that stand in that store already.")
@settings_options({name: HOME[name] for name in ("home", "store")})
def seed(executions: int, adds: bool, flags: Mapping[str, Any]) -> None:
    """Fill a store with a history of N executions: of 200 flows in three workspaces, ended over the last 90 days.

    To see how lists, counts and searches of that size feel, and to measure them. A SQLite store must not be in use.
    """
    settings = chosen_settings(flags)
    place = settings.shared_store() or settings.store_path()
    drawing = Drawing(workspace="default", executions=executions, now=SystemClock().now())
    with ending_surely() as ending:
        try:
            run_loop(_seeded(place, drawing, adds=adds, ending=ending))
        except KeyboardInterrupt:
            raise Exit(INTERRUPTED) from None
    note(f"{executions:,} executions stand in {settings.store_shown()}")


async def _seeded(place: Path | str, drawing: Drawing, *, adds: bool, ending: Callable[[int], None]) -> None:
    written = 0
    try:
        with open_transfer(sys.stderr) as bar:
            bar.begin("executions", drawing.executions)

            def told(done: int) -> None:
                nonlocal written
                bar.advance(done - written, "")
                written = done

            await seed_store(place, drawing, told=told, adds=adds)
    except asyncio.CancelledError:
        note("stopped; that store is unfinished, its counts are wrong: throw it away")
        # The database may be in the middle of a long statement.
        ending(INTERRUPTED)
        raise
