"""`perdure store restore`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from perdure.artifacts.local import LocalStorage
from perdure.artifacts.shared import CHUNK_BYTES
from perdure.base.clock import SystemClock
from perdure.cli.event_loop import run_loop
from perdure.cli.output import note, print_json, short_duration
from perdure.cli.serving import HOME, chosen_settings, settings_options
from perdure.cli.store_places import contents_of, store_place
from perdure.cli.transfer import open_transfer
from perdure.store.backups.restore import restore_backup


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print what was done.")
@settings_options(HOME)
def restore(folder: Path, output: str, flags: Mapping[str, Any]) -> None:
    """Make the store from the backup DIR: a file or a PostgreSQL store, whichever it was made from.

    There must be no store yet. The backup is only read, and compared with what was made of it; a restore that
    is cut off leaves nothing: run it again. What had not ended goes on once a server or worker is started.
    """
    settings = chosen_settings(flags)
    began = time.perf_counter()
    with open_transfer(sys.stderr) as watcher:
        done = run_loop(
            restore_backup(
                folder,
                store_place(settings),
                folders=contents_of(settings),
                storage=LocalStorage,
                chunk_bytes=CHUNK_BYTES,
                clock=SystemClock(),
                watcher=watcher,
            )
        )
    seconds = time.perf_counter() - began
    if output == "json":
        print_json({**msgspec.to_builtins(done), "seconds": round(seconds, 3)})
        return
    click.echo(
        f"restored {done.executions:,} executions and {done.contents:,} contents in "
        f"{short_duration(seconds)}: {done.target}"
    )
    if done.contents_missing:
        note(f"{done.contents_missing:,} contents were missing when the backup was made")
    if done.unfinished:
        note(f"{done.unfinished:,} executions that had not ended go on when a server or worker starts")
