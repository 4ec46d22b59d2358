"""`perdure store copy`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
import msgspec

from perdure.artifacts.local import LocalStorage
from perdure.artifacts.shared import CHUNK_BYTES
from perdure.base.clock import SystemClock
from perdure.cli.event_loop import run_loop
from perdure.cli.output import note, print_json, short_duration, size
from perdure.cli.transfer import open_transfer
from perdure.store.copying import places
from perdure.store.copying.copier import copy_store
from perdure.store.copying.folders import Folders
from perdure.store.copying.interface import Copy
from perdure.store.copying.places import Place, opened_source, opened_target, parse_place, place_text

ARTIFACTS = "artifacts"


@click.command()
@click.argument("source")
@click.argument("target")
@click.option("--artifacts", "source_folder", type=click.Path(path_type=Path), metavar="DIR",
              help="The folder in which SOURCE keeps artifacts and large values.  [beside a SQLite file; in PostgreSQL]")  # fmt: skip
@click.option("--to-artifacts", "target_folder", type=click.Path(path_type=Path), metavar="DIR",
              help="The folder in which TARGET is to keep them.  [beside a SQLite file; in PostgreSQL]")  # fmt: skip
@click.option(
    "--without-missing", is_flag=True, help="Copy although artifacts or large values are missing at the source."
)
@click.option(
    "--retire", is_flag=True, help="Let nobody start on the SQLite source any more, and name them the new place."
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print what was done.")
def copy(
    source: str,
    target: str,
    source_folder: Path | None,
    target_folder: Path | None,
    without_missing: bool,
    retire: bool,
    output: str,
) -> None:
    """Copy the whole store SOURCE to TARGET, each sqlite:PATH or postgresql://user@host:port/database.

    Stop what runs on SOURCE before; it is locked meanwhile, and only read. TARGET must be empty. All rows, artifacts
    and large values are copied, then read again and compared at both places; a copy that is cut off or not the same
    leaves nothing at TARGET: run it again. Numbers go on after the highest. What has not ended goes on
    wherever a server or worker is started: start them on one of the two only.

    A password is better kept out of the command: asyncpg takes PGPASSWORD and PGPASSFILE.
    """
    from_place, to_place = parse_place(source), parse_place(target)
    if retire and not isinstance(from_place, Path):
        raise click.UsageError("--retire is for a SQLite source; of a PostgreSQL one, stop its servers and workers")
    began = time.perf_counter()
    done = run_loop(
        _copied(
            from_place, to_place, _folders(source_folder), _folders(target_folder), without_missing=without_missing,
            retiring=retire,
        )
    )  # fmt: skip
    seconds = time.perf_counter() - began
    if output == "json":
        print_json({**msgspec.to_builtins(done), "retired": retire, "seconds": round(seconds, 3)})
        return
    _tell(done, seconds, to_place, target_folder, retired=retire)


def _folders(artifacts: Path | None) -> Folders:
    own = None if artifacts is None else LocalStorage(artifacts)
    return Folders(lambda database: own or LocalStorage(database.parent / ARTIFACTS), own)


async def _copied(
    from_place: Place,
    to_place: Place,
    from_folders: Folders,
    to_folders: Folders,
    *,
    without_missing: bool,
    retiring: bool,
) -> Copy:
    async with (
        opened_source(from_place, from_folders) as source,
        opened_target(to_place, to_folders, chunk_bytes=CHUNK_BYTES) as target,
    ):
        with open_transfer(sys.stderr) as watcher:
            done = await copy_store(
                source, target, clock=SystemClock(), watcher=watcher, without_missing=without_missing
            )
        if retiring and isinstance(from_place, Path):
            # The lock is still ours: nobody begins between the copy and this.
            places.retire(from_place, to=places.place_text(to_place))
        return done


def _tell(done: Copy, seconds: float, to_place: Place, folder: Path | None, *, retired: bool) -> None:
    rows = sum(table.rows for table in done.tables.values())
    click.echo(
        f"copied {done.executions:,} executions: {rows:,} rows and {done.contents:,} contents "
        f"({size(done.content_bytes)}) in {short_duration(seconds)}; both places hold the same"
    )
    if done.contents_missing:
        note(f"{done.contents_missing:,} contents were missing at the source, and are missing in the copy")
    kept = "" if folder is None else f" --artifacts {folder}"
    click.echo(f"go on there: perdure serve --store {place_text(to_place)}{kept}")
    if retired:
        click.echo(f"{done.source} is retired: nothing starts on it any more")
    elif done.unfinished:
        note(
            f"{done.unfinished:,} executions that have not ended stand at both places: start servers and workers on one "
            "of them only, or what they do is done twice"
        )
