"""`perdure store compact`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from perdure.cli.event_loop import run_loop
from perdure.cli.output import note, print_json, size
from perdure.cli.serving import HOME, chosen_settings, settings_options
from perdure.cli.store_places import store_place
from perdure.store.compacting import compact_store


@click.command()
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print what was done.")
@settings_options(HOME)
def compact(output: str, flags: Mapping[str, Any]) -> None:
    """Give back the space that deleted executions have left.

    New executions take that space anyway: it is worth it after much was deleted for good. A SQLite file is written
    anew, which needs its size again for a while; stop its server before. In PostgreSQL servers and workers go on.
    """
    place = store_place(chosen_settings(flags))
    done = run_loop(compact_store(place))
    if output == "json":
        print_json(done)
        return
    click.echo(f"{done.place}: {size(done.before_bytes)} before, {size(done.after_bytes)} now")
    if not isinstance(place, Path):
        note(
            "autovacuum does the same all the time; PostgreSQL keeps free space for new rows: what stays large "
            "is given back by VACUUM FULL, which stops everybody meanwhile"
        )
