"""`perdure store migrate`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import click

from perdure.cli.event_loop import run_loop
from perdure.cli.output import print_json
from perdure.cli.serving import HOME, chosen_settings, settings_options
from perdure.cli.store_places import store_place
from perdure.store.migrating import Migrated, migrate_store


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print what was done.")
@settings_options(HOME)
def migrate(dry_run: bool, output: str, flags: Mapping[str, Any]) -> None:
    """Bring a store's tables up to date; a store that has none yet gets them.

    A SQLite store is brought up to date by each server that starts on it. A PostgreSQL store that older programs may
    still use is changed by this command alone: run it once, from any machine, before the newer servers and workers
    start. Several at a time take turns; one that is killed leaves nothing half done. It also says which workers
    are alive, and whether they can go on.
    """
    done = run_loop(migrate_store(store_place(chosen_settings(flags)), dry_run=dry_run))
    if output == "json":
        print_json(done)
        return
    for line in _lines(done):
        click.echo(line)


def _lines(done: Migrated) -> list[str]:
    if not done.migrations:
        return [f"{done.place} is up to date: schema {done.after}"]
    would = "would be brought" if done.dry_run else "brought"
    lines = [f"{done.place}: {would} from schema {done.before} to {done.after}"]
    lines += [f"  {name}" for name in done.migrations]
    own = version("perdure")
    for worker in done.workers:
        age = "this version" if worker.version == own else f"perdure {worker.version or '(unknown)'}"
        lines.append(f"worker {worker.name} on {worker.host} is alive ({age})")
    if done.workers and done.needs is not None:
        verb = "would be" if done.dry_run else "are"
        lines.append(f"those whose perdure does not know schema {done.needs} {verb} refused: stop and upgrade them")
    elif done.workers:
        lines.append("they can go on; upgrade them when it suits")
    return lines
