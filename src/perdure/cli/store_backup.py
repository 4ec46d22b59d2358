"""`perdure store backup`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from perdure.artifacts.local import LocalStorage
from perdure.base.clock import SystemClock
from perdure.cli.event_loop import run_loop
from perdure.cli.output import note, print_json, short_duration, size
from perdure.cli.serving import HOME, chosen_settings, settings_options
from perdure.cli.store_places import contents_of, store_place
from perdure.cli.transfer import open_transfer
from perdure.store.backups.take import take_backup


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--without-missing", is_flag=True, help="Back up although artifacts or large values are missing, without those."
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print what was done.")
@settings_options(HOME)
def backup(folder: Path, without_missing: bool, output: str, flags: Mapping[str, Any]) -> None:
    """Back the store up into the new folder DIR, as it is at one moment. Servers and workers go on meanwhile.

    The backup of a PostgreSQL store is the same as that of a file: `perdure store restore` makes either from either.
    DIR appears when all is in it and on the disk: a backup that is cut off leaves nothing of that name.
    """
    settings = chosen_settings(flags)
    began = time.perf_counter()
    with open_transfer(sys.stderr) as watcher:
        taken = run_loop(
            take_backup(
                store_place(settings),
                folder,
                folders=contents_of(settings),
                storage=LocalStorage,
                clock=SystemClock(),
                watcher=watcher,
                without_missing=without_missing,
            )
        )
    seconds = time.perf_counter() - began
    if output == "json":
        print_json({**msgspec.to_builtins(taken), "path": str(folder), "seconds": round(seconds, 3)})
        return
    click.echo(
        f"backed up {taken.executions:,} executions ({size(taken.size_bytes)}) and {taken.contents:,} contents "
        f"({size(taken.content_bytes)}) in {short_duration(seconds)}: {folder}"
    )
    if taken.contents_missing:
        note(f"{taken.contents_missing:,} contents were missing in the store, and are missing in the backup")
