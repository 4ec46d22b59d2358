"""`perdure store check`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from perdure.cli.event_loop import run_loop
from perdure.cli.exits import ERROR, Exit
from perdure.cli.output import print_json
from perdure.cli.serving import HOME, chosen_settings, settings_options
from perdure.cli.store_places import contents_of, store_place
from perdure.cli.transfer import open_transfer
from perdure.settings import ServerSettings
from perdure.store.checking import Checked, check_store
from perdure.store.copying.places import opened_source


@click.command()
@click.option("--quick", is_flag=True, help="Do not read artifacts and large values, only see that they are there.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print what was found."
)
@settings_options(HOME)
def check(quick: bool, output: str, flags: Mapping[str, Any]) -> None:
    """Look the whole store through, also while servers use it: pages and indexes of a file, what belongs to what,
    events without gaps, counters, durations, operations, artifacts and large values by their SHA-256.

    It changes nothing. Exit code 1 when something is wrong; each problem says what to do.
    """
    found = run_loop(_checked(chosen_settings(flags), quick=quick))
    if output == "json":
        print_json(found)
    elif not found.problems:
        click.echo(f"{found.place} is sound: {found.executions:,} executions, {found.contents:,} contents")
    for problem in found.problems if output == "text" else ():
        click.echo(f"{problem.code}: {problem.detail}\n  → {problem.hint}")
    if found.problems:
        raise Exit(ERROR)


async def _checked(settings: ServerSettings, *, quick: bool) -> Checked:
    place = store_place(settings)
    async with opened_source(place, contents_of(settings), at_rest=False) as source:
        with open_transfer(sys.stderr) as watcher:
            return await check_store(source, watcher=watcher, in_file=isinstance(place, Path), reads_contents=not quick)
